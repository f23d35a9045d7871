"""Which of an m-line's payload types to take, and how its codec is answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from mediaserver.protocol.sdp.description import Codec, OfferMedia

_PROFILE_LEVEL = re.compile(r"[0-9a-fA-F]{6}").fullmatch


def choose_h264(media: OfferMedia, profile_level_id: str = "") -> int | None:
    """The payload type for H.264, None if there is none.

    Packetization mode 1 before mode 0; among equals the profile nearest to that of the stream,
    `profile_level_id` (six hex digits), from above before from below; then the offer's order.
    Browsers decode every profile whatever they negotiated, so it orders and never excludes.

    Mode 0 means single NAL units, without FU-A (RFC 6184 §6.2). A passthrough can't make an encoder's
    slices smaller, so a slice that is larger than a packet goes as FU-A there too: every receiver that
    offers mode 0 alone and is built on libwebrtc reads FU-A whatever was negotiated, and for any other
    the alternative would be no picture at all.
    """
    wanted = _profile_rank(profile_level_id)

    def badness(payload_type: int) -> tuple[bool, bool, int]:
        fmtp = media.payloads[payload_type].fmtp
        distance = 0
        if wanted is not None:
            # RFC 6184 §8.1: without the parameter it is Baseline, level 1.
            distance = (_profile_rank(fmtp.get("profile-level-id", "42000a")) or 0) - wanted
        return fmtp.get("packetization-mode", "0") != "1", distance < 0, abs(distance)

    return min(payload_types(media, "h264", ("0", "1")), key=badness, default=None)


def choose_opus(media: OfferMedia) -> int | None:
    """The payload type for Opus (RFC 7587), None if there is none."""
    return next(iter(payload_types(media, "opus", ("0",))), None)


def choose_rtx(media: OfferMedia, payload_type: int) -> int | None:
    """The payload type of retransmissions of `payload_type` (RFC 4588 §8.6), None without.

    Only where the codec is also asked for again: RTX is of no use without NACK (§8.1).
    """
    rtx = media.rtx.get(payload_type)
    if rtx is None or rtx not in payload_types(media, "rtx", ("0",)):
        return None
    original = media.payloads[payload_type]
    same_clock = media.payloads[rtx].clock_rate == original.clock_rate
    return rtx if same_clock and "nack" in original.rtcp_fb else None


def payload_types(media: OfferMedia, name: str, modes: tuple[str, ...]) -> list[int]:
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
