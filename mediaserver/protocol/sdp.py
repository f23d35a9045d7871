"""SDP offers and answers of WebRTC (RFC 8866, 8829, 8839, 8843, 3264, 8841, 8840, 9725).

The parser reads what publishers and players really send and ignores what it does not know:
transport attributes at session level or only in the first bundled section, no candidates, mDNS
names, fmtp with blanks. What is structurally broken or over a limit is a ProtocolError.

An answer is written from the offer and one decision per m-line. An m-line that cannot be had is
answered with port 0; an offer is never refused whole for it (RFC 3264 §6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from mediaserver.errors import ProtocolError

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Setup = Literal["active", "passive"]

MAX_SDP_BYTES = 64 * 1024  # browsers offer 6 to 12 KiB
MAX_LINES = 4096  # browsers offer 150 to 400
MAX_MEDIAS = 16
MAX_PAYLOAD_TYPES = 128  # seven bits
MAX_CANDIDATES = 64  # of one m-line: more addresses than any host has
MAX_SSRCS = 64
MAX_EXTMAPS = 64
MAX_FINGERPRINTS = 16
MAX_RIDS = 16
MAX_ICE_BYTES = 256  # ufrag and pwd (RFC 8839 §5.4)
DEFAULT_MAX_MESSAGE_BYTES = 65_536  # RFC 8841 §6.1

MID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:mid"  # RFC 8843 §15.1
RID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"  # RFC 8852

_DIRECTIONS = frozenset(("sendrecv", "sendonly", "recvonly", "inactive"))
_RTP_PROTOCOLS = frozenset(
    ("UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF")
)
_DATA_PROTOCOLS = frozenset(("UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP"))
_MID = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}").fullmatch
_FINGERPRINT = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2}){15,63}").fullmatch
_PROFILE_LEVEL = re.compile(r"[0-9a-fA-F]{6}").fullmatch
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
# RFC 3551 table 4: payload types that need no rtpmap.
_STATIC = {0: ("PCMU", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000), 13: ("CN", 8000)}


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
    rtcp_rsize: bool
    bundled: bool
    sctp_port: int | None
    max_message_size: int

    @property
    def is_data(self) -> bool:
        """Whether it is a section of WebRTC data channels."""
        return self.protocol in _DATA_PROTOCOLS and (
            "webrtc-datachannel" in self.formats or self.sctp_port is not None
        )

    @property
    def usable(self) -> bool:
        """Whether it could be accepted here at all: not stopped, bundled, over DTLS, with mux."""
        if not self.bundled or not self.ice_ufrag or not self.ice_pwd or not self.fingerprints:
            return False
        return self.is_data or (self.protocol in _RTP_PROTOCOLS and self.rtcp_mux)


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


class _Section:
    """The lines of the session part, or of one m-line: attributes by name, in order."""

    __slots__ = ("attributes", "media")

    def __init__(self, media: str) -> None:
        self.media = media
        self.attributes: dict[str, list[str]] = {}

    def all(self, name: str) -> list[str]:
        return self.attributes.get(name, [])

    def first(self, name: str) -> str:
        values = self.attributes.get(name)
        return values[0] if values else ""


def parse(text: str | bytes) -> Offer:
    """Read an offer or an answer; ProtocolError if it is not SDP or exceeds a limit."""
    lines = _lines(text)
    if not lines or lines[0] != "v=0":
        raise ProtocolError("SDP does not begin with v=0")
    session, sections = _sections(lines)
    if not sections:
        raise ProtocolError("SDP without an m-line")
    origin = next((line for line in lines if line.startswith("o=")), "").split(" ")
    bundle = _bundle(session)
    mids = [_mid(section) for section in sections]
    named = [mid for mid in mids if mid]
    if len(set(named)) != len(named):
        raise ProtocolError("SDP with the same mid twice")
    # RFC 8843 §7.1.3: what belongs to the transport may stand in the first bundled section alone.
    tagged = [section for section, mid in zip(sections, mids, strict=True) if mid in bundle[:1]]
    medias = []
    for index, (section, mid) in enumerate(zip(sections, mids, strict=True)):
        bundled = mid in bundle if bundle else index == 0
        transport = [section, session, *(tagged if bundled else ())]
        medias.append(_media(section, session, transport, mid, bundled))
    return Offer(
        session_id=origin[1] if len(origin) > 1 else "",
        bundle=bundle,
        ice_lite="ice-lite" in session.attributes,
        ice_options=frozenset(session.first("ice-options").split()),
        medias=tuple(medias),
    )


def _lines(text: str | bytes) -> list[str]:
    if len(text) > MAX_SDP_BYTES:
        raise ProtocolError("SDP too large")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("SDP is not UTF-8") from error
    if _CONTROL(text):
        raise ProtocolError("SDP with control characters")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > MAX_LINES:
        raise ProtocolError("SDP with too many lines")
    return [line for line in lines if line]


def _sections(lines: Iterable[str]) -> tuple[_Section, list[_Section]]:
    session = section = _Section("")
    sections: list[_Section] = []
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            section.attributes.setdefault(name.strip(), []).append(value.strip())
        elif line.startswith("m="):
            if len(sections) == MAX_MEDIAS:
                raise ProtocolError("SDP with too many m-lines")
            section = _Section(line[2:])
            sections.append(section)
    return session, sections


def _bundle(session: _Section) -> tuple[str, ...]:
    for group in session.all("group"):
        kind, *mids = group.split()[: MAX_MEDIAS + 1] or ("",)
        if kind == "BUNDLE":
            return tuple(mids)
    return ()


def _mid(section: _Section) -> str:
    if "mid" not in section.attributes:
        return ""
    mid = section.first("mid")
    if not _MID(mid):
        raise ProtocolError("SDP with a malformed mid")
    return mid


def _media(
    section: _Section, session: _Section, transport: Sequence[_Section], mid: str, bundled: bool
) -> OfferMedia:
    kind, port, protocol, formats = _media_line(section.media)
    stopped = port == 0 and "bundle-only" not in section.attributes
    payloads = _payloads(section, formats) if protocol in _RTP_PROTOCOLS else {}
    ssrcs, cname = _ssrcs(section)
    return OfferMedia(
        kind=kind,
        mid=mid,
        port=port,
        protocol=protocol,
        formats=formats,
        direction=_direction(section, session),
        payloads=payloads,
        rtx=_rtx(payloads),
        ssrcs=ssrcs,
        rtx_ssrcs=_rtx_ssrcs(section),
        cname=cname,
        extmaps=_extmaps((section, session)),
        ice_ufrag=_ice(transport, "ice-ufrag"),
        ice_pwd=_ice(transport, "ice-pwd"),
        fingerprints=_fingerprints(transport),
        setup=_inherited(transport, "setup").lower(),
        candidates=tuple(_candidates(section.all("candidate"))),
        end_of_candidates="end-of-candidates" in section.attributes,
        rids=_rids(section),
        simulcast=_simulcast(section),
        rtcp_mux="rtcp-mux" in section.attributes or "rtcp-mux" in session.attributes,
        rtcp_rsize="rtcp-rsize" in section.attributes or "rtcp-rsize" in session.attributes,
        bundled=bundled and not stopped,
        sctp_port=_sctp_port(section, protocol, formats),
        max_message_size=_max_message_size(section),
    )


def _media_line(line: str) -> tuple[str, int, str, tuple[str, ...]]:
    fields = line.split()
    if len(fields) < 4 or len(fields) - 3 > MAX_PAYLOAD_TYPES:
        raise ProtocolError("SDP with a malformed m-line")
    port = _number(fields[1].partition("/")[0], 0xFFFF)
    if port is None:
        raise ProtocolError("SDP with a malformed port")
    return fields[0], port, fields[2].upper(), tuple(fields[3:])


def _number(text: str, limit: int) -> int | None:
    # int() alone would take signs, underscores, blanks, other scripts' digits and endless ones.
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if number <= limit else None


def _inherited(parts: Sequence[_Section], name: str) -> str:
    return next((part.first(name) for part in parts if name in part.attributes), "")


def _ice(parts: Sequence[_Section], name: str) -> str:
    value = _inherited(parts, name)
    if len(value) > MAX_ICE_BYTES:
        raise ProtocolError(f"SDP with an {name} too long")
    return value


def _fingerprints(parts: Sequence[_Section]) -> tuple[tuple[str, str], ...]:
    values = next((part.all("fingerprint") for part in parts if part.all("fingerprint")), [])
    if len(values) > MAX_FINGERPRINTS:
        raise ProtocolError("SDP with too many fingerprints")
    fingerprints = []
    for value in values:
        algorithm, _, digest = value.partition(" ")
        digest = digest.strip().upper()
        if not _FINGERPRINT(digest):
            raise ProtocolError("SDP with a malformed fingerprint")
        fingerprints.append((algorithm.lower(), digest))
    return tuple(fingerprints)


def _direction(section: _Section, session: _Section) -> Direction:
    for part in (section, session):
        for name in part.attributes:
            if name in _DIRECTIONS:
                return cast(Direction, name)
    return "sendrecv"


def _payloads(section: _Section, formats: tuple[str, ...]) -> dict[int, Codec]:
    maps = _by_payload_type(section.all("rtpmap"))
    parameters = _by_payload_type(section.all("fmtp"))
    feedback: dict[str, set[str]] = {}
    for line in section.all("rtcp-fb"):
        payload_type, _, value = line.partition(" ")
        feedback.setdefault(payload_type, set()).add(" ".join(value.split()))
    everywhere = feedback.get("*", set())
    payloads: dict[int, Codec] = {}
    for text in formats:
        number = _number(text, 127)
        if number is None:
            raise ProtocolError("SDP with a malformed payload type")
        mapped = _rtpmap(maps[number]) if number in maps else None
        name, clock_rate, channels = mapped or (*_STATIC.get(number, ("", 0)), 1)
        if name and number not in payloads:
            payloads[number] = Codec(
                name,
                clock_rate,
                channels,
                _fmtp(parameters.get(number, "")),
                frozenset(everywhere | feedback.get(text, set())),
            )
    return payloads


def _by_payload_type(lines: Iterable[str]) -> dict[int, str]:
    values: dict[int, str] = {}
    for line in lines:
        text, _, value = line.partition(" ")
        payload_type = _number(text, 127)
        if payload_type is not None and value:
            values.setdefault(payload_type, value.strip())
    return values


def _rtpmap(value: str) -> tuple[str, int, int] | None:
    name, *numbers = value.split("/")
    clock_rate = _number(numbers[0], 1_000_000_000) if numbers else None
    channels = _number(numbers[1], 255) if len(numbers) > 1 else 1
    if not name or not clock_rate:
        return None
    return name, clock_rate, channels or 1


def _fmtp(value: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in value.split(";"):
        name, _, setting = part.partition("=")
        if name.strip():
            parameters.setdefault(name.strip().lower(), setting.strip())
    return parameters


def _rtx(payloads: Mapping[int, Codec]) -> dict[int, int]:
    rtx: dict[int, int] = {}
    for payload_type, codec in payloads.items():
        if codec.name.lower() == "rtx":
            original = _number(codec.fmtp.get("apt", ""), 127)
            if original is not None and original in payloads:
                rtx.setdefault(original, payload_type)
    return rtx


def _ssrcs(section: _Section) -> tuple[tuple[int, ...], str]:
    ssrcs: dict[int, None] = {}
    cname = ""
    for line in section.all("ssrc"):
        text, _, attribute = line.partition(" ")
        ssrc = _number(text, 0xFFFF_FFFF)
        if ssrc is None:
            continue
        ssrcs[ssrc] = None
        if len(ssrcs) > MAX_SSRCS:
            raise ProtocolError("SDP with too many SSRCs")
        name, _, value = attribute.partition(":")
        if name == "cname" and not cname:
            cname = value
    return tuple(ssrcs), cname


def _rtx_ssrcs(section: _Section) -> dict[int, int]:
    pairs: dict[int, int] = {}
    for line in section.all("ssrc-group")[:MAX_SSRCS]:
        semantics, *texts = line.split()[:3] or ("",)
        ssrcs = [ssrc for text in texts if (ssrc := _number(text, 0xFFFF_FFFF)) is not None]
        if semantics == "FID" and len(ssrcs) == 2:
            pairs.setdefault(ssrcs[0], ssrcs[1])
    return pairs


def _extmaps(parts: Iterable[_Section]) -> dict[str, int]:
    extmaps: dict[str, int] = {}
    for part in parts:
        lines = part.all("extmap")
        if len(lines) > MAX_EXTMAPS:
            raise ProtocolError("SDP with too many header extensions")
        for line in lines:
            identifier, uri, *_ = [*line.split()[:2], "", ""]
            # RFC 8285 §5: 1 to 14, or to 255 in the two-byte form; a direction may follow.
            number = _number(identifier.partition("/")[0], 255)
            if number and uri:
                extmaps.setdefault(uri, number)
    return extmaps


def _candidates(lines: Iterable[str]) -> list[Candidate]:
    candidates = []
    for line in lines:
        fields = line.split()
        if len(fields) < 8 or fields[6] != "typ":
            continue
        foundation, _, protocol, _, address, _, _, kind, *rest = fields
        component, priority, port = (
            _number(fields[1], 256),
            _number(fields[3], 0xFFFF_FFFF),
            _number(fields[5], 0xFFFF),
        )
        if component is None or priority is None or port is None:
            continue
        options = dict(zip(rest[::2], rest[1::2], strict=False))
        candidates.append(
            Candidate(
                address,
                port,
                priority,
                foundation,
                component,
                protocol.lower(),
                kind,
                options.get("tcptype", ""),
            )
        )
        if len(candidates) > MAX_CANDIDATES:
            raise ProtocolError("SDP with too many candidates")
    return candidates


def _rids(section: _Section) -> tuple[tuple[str, str], ...]:
    rids = []
    for line in section.all("rid"):
        rid, direction, *_ = [*line.split()[:2], "", ""]
        if re.fullmatch(r"[A-Za-z0-9_-]{1,255}", rid) and direction in ("send", "recv"):
            rids.append((rid, direction))
    if len(rids) > MAX_RIDS:
        raise ProtocolError("SDP with too many rids")
    return tuple(rids)


def _simulcast(section: _Section) -> tuple[str, ...]:
    fields = section.first("simulcast").split()
    for direction, streams in zip(fields[::2], fields[1::2], strict=False):
        if direction == "send":
            # RFC 8853 §5.1: alternatives stand behind commas, paused streams behind a tilde.
            layers = [stream.split(",")[0].lstrip("~") for stream in streams.split(";")]
            return tuple(layer for layer in layers if layer)[:MAX_RIDS]
    return ()


def _sctp_port(section: _Section, protocol: str, formats: tuple[str, ...]) -> int | None:
    if protocol not in _DATA_PROTOCOLS:
        return None
    # Before RFC 8841 the port was the format, with an a=sctpmap.
    text = section.first("sctp-port") or formats[0]
    return _number(text, 0xFFFF)


def _max_message_size(section: _Section) -> int:
    size = _number(section.first("max-message-size"), 1 << 62)
    return DEFAULT_MAX_MESSAGE_BYTES if size is None else size


def setup_for(offered: str) -> Setup:
    """Our DTLS role (RFC 8842 §5): passive, the server, wherever the offer leaves the choice."""
    roles: dict[str, Setup] = {
        "actpass": "passive",
        "active": "passive",
        "passive": "active",
        "": "passive",  # RFC 4145 §4: the default is active
    }
    if offered not in roles:
        raise ProtocolError("SDP with a setup that makes no connection")
    return roles[offered]


def choose_h264(media: OfferMedia, profile_level_id: str = "") -> int | None:
    """The payload type for H.264, None if there is none.

    Packetization mode 1 before mode 0; among equals the profile nearest to that of the stream,
    `profile_level_id` (six hex digits), from above before from below; then the offer's order.
    Browsers decode every profile whatever they negotiated, so it orders and never excludes.
    """
    wanted = _profile_rank(profile_level_id)

    def badness(payload_type: int) -> tuple[bool, bool, int]:
        fmtp = media.payloads[payload_type].fmtp
        distance = 0
        if wanted is not None:
            # RFC 6184 §8.1: without the parameter it is Baseline, level 1.
            distance = (_profile_rank(fmtp.get("profile-level-id", "42000a")) or 0) - wanted
        return fmtp.get("packetization-mode", "0") != "1", distance < 0, abs(distance)

    return min(_payload_types(media, "h264", ("0", "1")), key=badness, default=None)


def choose_opus(media: OfferMedia) -> int | None:
    """The payload type for Opus (RFC 7587), None if there is none."""
    return next(iter(_payload_types(media, "opus", ("0",))), None)


def choose_rtx(media: OfferMedia, payload_type: int) -> int | None:
    """The payload type of retransmissions of `payload_type` (RFC 4588 §8.6), None without.

    Only where the codec is also asked for again: RTX is of no use without NACK (§8.1).
    """
    rtx = media.rtx.get(payload_type)
    if rtx is None or rtx not in _payload_types(media, "rtx", ("0",)):
        return None
    original = media.payloads[payload_type]
    same_clock = media.payloads[rtx].clock_rate == original.clock_rate
    return rtx if same_clock and "nack" in original.rtcp_fb else None


def _payload_types(media: OfferMedia, name: str, modes: tuple[str, ...]) -> list[int]:
    if not media.usable:
        return []
    return [
        payload_type
        for payload_type, codec in media.payloads.items()
        # RFC 5761 §4: with rtcp-mux, 64 to 95 would be taken for RTCP.
        if codec.name.lower() == name
        and not 64 <= payload_type <= 95
        and codec.fmtp.get("packetization-mode", "0") in modes
    ]


def _profile_rank(profile_level_id: str) -> int | None:
    if not _PROFILE_LEVEL(profile_level_id):
        return None
    profile, constraints = int(profile_level_id[:2], 16), int(profile_level_id[2:4], 16)
    if profile == 66:
        return 0 if constraints & 0x40 else 1  # constraint_set1: constrained baseline
    return {77: 2, 88: 2, 100: 3}.get(profile, 4)


def with_feedback(codec: Codec, feedback: frozenset[str]) -> Codec:
    """The codec with those of its rtcp-fb that we support."""
    return replace(codec, rtcp_fb=codec.rtcp_fb & feedback)


def with_settings(codec: Codec, settings: Mapping[str, str]) -> Codec:
    """The codec with these fmtp parameters added, over those that the offer gave it."""
    return replace(codec, fmtp={**codec.fmtp, **settings})


def receiving_opus(codec: Codec) -> Codec:
    """The fmtp of who receives all that Opus has (RFC 7587 §6.1 and §7.1).

    Each side says what it would get, so `stereo=1` stands whatever was offered; FEC where the other
    side knows of it. The sprop- parameters tell of what the offerer sends, and are not repeated.
    """
    offered = {name: v for name, v in codec.fmtp.items() if not name.startswith("sprop-")}
    return replace(codec, fmtp={**offered, "stereo": "1"})


def write_answer(
    offer: Offer,
    medias: Sequence[AnswerMedia | None],
    *,
    session_id: int,
    ice_ufrag: str,
    ice_pwd: str,
    fingerprint: str,
    setup: Setup,
    candidates: Sequence[Candidate],
    cname: str = "",
    stream_id: str = "",
    version: int = 1,
    ice_lite: bool = True,
) -> str:
    """The answer; `medias` stands beside `offer.medias`, None where an m-line is rejected.

    Only m-lines that are `usable` may be accepted. `fingerprint` is the SHA-256 of our
    certificate, `AA:BB:...`; `stream_id` and `cname` are one for all tracks, so that the player
    keeps them in step. Candidates stand in the first accepted section (RFC 8843 §7.1.3).
    """
    accepted = [
        media.mid
        for media, answer in zip(offer.medias, medias, strict=True)
        if answer is not None and media.mid
    ]
    lines = ["v=0", f"o=- {session_id} {version} IN IP4 0.0.0.0", "s=-", "t=0 0"]
    if ice_lite:
        lines.append("a=ice-lite")
    if accepted:
        if offer.bundle:
            lines.append("a=group:BUNDLE " + " ".join(accepted))
        lines.append(f"a=msid-semantic: WMS {stream_id}".rstrip())
    transport = [
        f"a=ice-ufrag:{ice_ufrag}",
        f"a=ice-pwd:{ice_pwd}",
        f"a=fingerprint:sha-256 {fingerprint}",
        f"a=setup:{setup}",
    ]
    gathered = [*map(_candidate_line, candidates), "a=end-of-candidates"]
    for media, answer in zip(offer.medias, medias, strict=True):
        if answer is None:
            lines += _rejected(media)
            continue
        lines += _accepted(media, answer, cname, stream_id, transport + gathered)
        gathered = []
    return "\r\n".join(lines) + "\r\n"


def _rejected(media: OfferMedia) -> list[str]:
    lines = [f"m={media.kind} 0 {media.protocol} {' '.join(media.formats)}", "c=IN IP4 0.0.0.0"]
    if media.mid:
        lines.append(f"a=mid:{media.mid}")
    return [*lines, "a=inactive"]


def _accepted(
    media: OfferMedia, answer: AnswerMedia, cname: str, stream_id: str, transport: list[str]
) -> list[str]:
    formats = media.formats if media.is_data else map(str, answer.payloads)
    lines = [f"m={media.kind} 9 {media.protocol} {' '.join(formats)}", "c=IN IP4 0.0.0.0"]
    if media.mid:
        lines.append(f"a=mid:{media.mid}")
    lines += transport
    if media.is_data:
        port = f"a=sctp-port:{media.sctp_port or 5000}"
        return [*lines, port, f"a=max-message-size:{answer.max_message_size}"]
    lines += (f"a={answer.direction}", "a=rtcp-mux")
    if media.rtcp_rsize:
        lines.append("a=rtcp-rsize")
    lines += (f"a=extmap:{identifier} {uri}" for uri, identifier in answer.extmaps.items())
    for payload_type, codec in answer.payloads.items():
        lines += _codec_lines(payload_type, codec)
    if answer.rids:
        lines += (f"a=rid:{rid} recv" for rid in answer.rids)
        lines.append("a=simulcast:recv " + ";".join(answer.rids))
    if answer.ssrc is not None and answer.direction in ("sendrecv", "sendonly"):
        lines += _source_lines(media, answer.ssrc, answer.rtx_ssrc, cname, stream_id)
    return lines


def _codec_lines(payload_type: int, codec: Codec) -> Iterator[str]:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    yield f"a=rtpmap:{payload_type} {codec.name}/{codec.clock_rate}{channels}"
    yield from (f"a=rtcp-fb:{payload_type} {kind}" for kind in sorted(codec.rtcp_fb))
    if codec.fmtp:
        settings = (f"{name}={value}" if value else name for name, value in codec.fmtp.items())
        yield f"a=fmtp:{payload_type} " + ";".join(settings)


def _source_lines(
    media: OfferMedia, ssrc: int, rtx_ssrc: int | None, cname: str, stream_id: str
) -> Iterator[str]:
    msid = f"{stream_id or '-'} {media.kind}"
    yield f"a=msid:{msid}"
    sources = [ssrc]
    if rtx_ssrc is not None:
        yield f"a=ssrc-group:FID {ssrc} {rtx_ssrc}"
        sources.append(rtx_ssrc)
    for source in sources:
        yield f"a=ssrc:{source} cname:{cname}"
        yield f"a=ssrc:{source} msid:{msid}"


def _candidate_line(candidate: Candidate) -> str:
    line = (
        f"a=candidate:{candidate.foundation} {candidate.component} {candidate.protocol}"
        f" {candidate.priority} {candidate.address} {candidate.port} typ {candidate.type}"
    )
    return f"{line} tcptype {candidate.tcp_type}" if candidate.tcp_type else line
