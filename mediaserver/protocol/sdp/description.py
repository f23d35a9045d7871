"""What an SDP offer says and how its m-lines are answered, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Setup = Literal["active", "passive"]
MID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:mid"  # RFC 8843 §15.1
RID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"  # RFC 8852
DEFAULT_MAX_MESSAGE_BYTES = 65_536  # RFC 8841 §6.1
RTP_PROTOCOLS = frozenset(
    ("UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF")
)
DIGESTS = frozenset(
    {"sha-256", "sha-384", "sha-512"}
)  # of certificates' fingerprints (RFC 8122 §5)
MIN_UFRAG, MIN_PWD = 4, 22  # characters
DATA_PROTOCOLS = frozenset(("UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP"))


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload type: `fmtp` in the order offered, its names in lower case."""

    name: str
    clock_rate: int
    channels: int = 1
    fmtp: Mapping[str, str] = field(default_factory=dict)
    rtcp_fb: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ICE candidate (RFC 8839 §5.1); `address` may be an mDNS name."""

    address: str
    port: int
    priority: int
    foundation: str = "1"
    component: int = 1
    protocol: str = "udp"
    type: str = "host"
    tcp_type: str = ""


@dataclass(frozen=True, slots=True)
class OfferMedia:
    """One m-line with what the session and its bundle give it.

    `payloads` is in the order of preference and includes rtx, red and the like; `rtx` maps a
    payload type to the one of its retransmissions, `rtx_ssrcs` an SSRC likewise (FID groups).
    `mid`, `cname`, `setup` and the ICE fields are empty when absent. `bundled`: it may share the
    session's one transport. `rids` are (rid, "send" or "recv"), `simulcast` the rids that the
    offerer wants to send. `max_message_size` is in bytes, 0 for no limit.
    """

    kind: str
    mid: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    direction: Direction
    payloads: dict[int, Codec]
    rtx: dict[int, int]
    ssrcs: tuple[int, ...]
    rtx_ssrcs: dict[int, int]
    cname: str
    extmaps: dict[str, int]
    ice_ufrag: str
    ice_pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: str
    candidates: tuple[Candidate, ...]
    end_of_candidates: bool
    rids: tuple[tuple[str, str], ...]
    simulcast: tuple[str, ...]
    rtcp_mux: bool
    rtcp_mux_only: bool
    rtcp_rsize: bool
    bundled: bool
    sctp_port: int | None
    max_message_size: int

    @property
    def is_data(self) -> bool:
        """Whether it is a section of WebRTC data channels."""
        return self.protocol in DATA_PROTOCOLS and (
            "webrtc-datachannel" in self.formats or self.sctp_port is not None
        )

    @property
    def usable(self) -> bool:
        """Whether it could be accepted here at all: not stopped, bundled, over DTLS, with mux.

        The credentials have a length (RFC 8839 §5.4), and one fingerprint is of a digest in DIGESTS.
        """
        known = any(name in DIGESTS for name, _ in self.fingerprints)
        credentials = len(self.ice_ufrag) >= MIN_UFRAG and len(self.ice_pwd) >= MIN_PWD
        if not self.bundled or not known or not credentials:
            return False
        if self.is_data:
            return self.sctp_port != 0
        return self.protocol in RTP_PROTOCOLS and self.rtcp_mux


@dataclass(frozen=True, slots=True)
class Offer:
    """`bundle` is the mids of the first BUNDLE group, `session_id` that of the o= line."""

    session_id: str
    bundle: tuple[str, ...]
    ice_lite: bool
    ice_options: frozenset[str]
    medias: tuple[OfferMedia, ...]


@dataclass(frozen=True, slots=True)
class AnswerMedia:
    """How one m-line is accepted.

    `payloads` are written as they stand (rtpmap, fmtp, rtcp-fb), so they are taken from the offer
    and cut down first. `ssrc` and `rtx_ssrc` are those of what we send, each used by one m-line
    only. `rids` are the simulcast layers we receive; browsers then insist on RID_EXTENSION among
    the `extmaps`. `max_message_size`, in bytes, is for data channels alone.
    """

    direction: Direction = "inactive"
    payloads: Mapping[int, Codec] = field(default_factory=dict)
    ssrc: int | None = None
    rtx_ssrc: int | None = None
    extmaps: Mapping[str, int] = field(default_factory=dict)
    rids: tuple[str, ...] = ()
    max_message_size: int = DEFAULT_MAX_MESSAGE_BYTES
