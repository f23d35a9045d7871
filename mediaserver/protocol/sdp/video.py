"""Which video payload types of an m-line to take: one for a viewer, all that we know of a publisher.

A codec's level never excludes: what browsers offer there is a default, not what they can decode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mediaserver.media import Codec as CodecName
from mediaserver.media import Track
from mediaserver.protocol.sdp.codecs import choose_h264, payload_types
from mediaserver.protocol.sdp.description import Codec, OfferMedia
from mediaserver.protocol.sdp.lines import parse_number

# RFC 6184 §8.1, RFC 7741 §6.1, RFC 9628 §6, RFC 7798 §7.1, RTP Payload Format for AV1 §7.2
_NAMES: tuple[CodecName, ...] = ("h264", "h265", "vp8", "vp9", "av1")
_FAVOURED_RANKS = {"1": 0, "0": 1}  # of H.264 by packetization-mode, before all others
_RANKS = {"1": 2, "0": 3}  # with the others
_OTHERS_RANK, _VP8_RANK = 2, 4
_MAIN, _MAIN_10, _MAIN_STILL_PICTURE = 1, 2, 3  # H.265 general_profile_idc (Annex A)


def offered_video(media: OfferMedia) -> list[tuple[int, CodecName]]:
    """Every payload type that can be taken from a publisher, with its codec; the one to favour first.

    The offer's order stands, as browsers send by the answer's, with two exceptions. VP8 comes last,
    since HLS has no place for it. And an offer that begins with VP8 is a browser's default and no
    choice: of such H.264 comes first, which every viewer has.
    Retransmissions belong to the payload types they repeat (`OfferMedia.rtx`).
    """
    found = [
        (payload_type, name)
        for name in _NAMES
        for payload_type in payload_types(media, name, ("0", "1"))
        if _receivable(media.payloads[payload_type])
    ]
    order = {payload_type: place for place, payload_type in enumerate(media.payloads)}
    _, first = min(found, key=lambda choice: order[choice[0]], default=(0, ""))
    h264_ranks = _FAVOURED_RANKS if first == "vp8" else _RANKS

    def rank(choice: tuple[int, CodecName]) -> tuple[int, int]:
        payload_type, codec = choice
        if codec == "h264":
            mode = media.payloads[payload_type].fmtp.get("packetization-mode", "0")
            return h264_ranks[mode], order[payload_type]
        return _VP8_RANK if codec == "vp8" else _OTHERS_RANK, order[payload_type]

    return sorted(found, key=rank)


def _receivable(codec: Codec) -> bool:
    """Whether its payloads are in decoding order, in one RTP stream (H.265, RFC 7798 §7.1)."""
    reordered = codec.fmtp.get("sprop-max-don-diff", "0") != "0"
    interleaved = codec.fmtp.get("sprop-depack-buf-nalus", "0") != "0"
    return not reordered and not interleaved and _single_stream(codec)


def _single_stream(codec: Codec) -> bool:
    return codec.fmtp.get("tx-mode", "SRST").upper() == "SRST"


def choose_video(media: OfferMedia, track: Track) -> int | None:
    """The payload type for a stream's video, None if the viewer has none that fits.

    H.264 as `choose_h264` says. Of the others the decoder's profile must be able to hold the
    stream's (and its tier, with AV1 and H.265); the least that does is taken.
    """
    if track.codec == "h264":
        return choose_h264(media, track.config[1:4].hex())
    excess = _EXCESS.get(track.codec)
    if excess is None:
        return None
    fitting = {
        payload_type: surplus
        for payload_type in payload_types(media, track.codec, ("0",))
        if (surplus := excess(media.payloads[payload_type], track.config)) is not None
    }
    return min(fitting, key=lambda payload_type: fitting[payload_type], default=None)


def _parameter(codec: Codec, name: str, default: int) -> int:
    number = parse_number(codec.fmtp.get(name, ""), 0xFF)
    return default if number is None else number


def _vp8_excess(codec: Codec, config: bytes) -> int | None:
    return 0


def _vp9_excess(codec: Codec, config: bytes) -> int | None:
    """VP9's profiles are bit depths and chroma formats, none of which contains another."""
    return 0 if _parameter(codec, "profile-id", 0) == config[0] else None


def _av1_excess(codec: Codec, config: bytes) -> int | None:
    """Decoders of a profile have those below it (AV1 §A.2), and likewise of a tier (§A.3)."""
    profile = _parameter(codec, "profile", 0) - (config[1] >> 5)
    tier = _parameter(codec, "tier", 0) - (config[2] >> 7)
    return 2 * profile + tier if profile >= 0 and tier >= 0 else None


def _h265_excess(codec: Codec, config: bytes) -> int | None:
    """Main 10 decoders have Main, and both have Main Still Picture (H.265 §A.3)."""
    ours, offered = config[1] & 0x1F, _parameter(codec, "profile-id", _MAIN)
    tier = _parameter(codec, "tier-flag", 0) - (config[1] >> 5 & 1)
    holds = {_MAIN: (_MAIN, _MAIN_STILL_PICTURE), _MAIN_10: (_MAIN, _MAIN_10, _MAIN_STILL_PICTURE)}
    if ours not in holds.get(offered, (offered,)) or tier < 0 or not _single_stream(codec):
        return None
    return 2 * (offered != ours) + tier


_EXCESS: Mapping[str, Callable[[Codec, bytes], int | None]] = {
    "vp8": _vp8_excess,
    "vp9": _vp9_excess,
    "av1": _av1_excess,
    "h265": _h265_excess,
}
