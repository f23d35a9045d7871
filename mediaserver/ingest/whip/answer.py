"""What of a publisher's offer is taken, and what its RTP means then (RFC 9725, 8853, 8852).

Every video payload type that we can read is answered, the one to favour first, and a publisher may
change its codec as it goes. It is told what its path carries by transport-wide feedback where it
offers that, else by a flat REMB where it offers goog-remb: without either a browser stays near
300 kbit/s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mediaserver.media import Codec, Kind
from mediaserver.protocol import rtcp_transport_cc, sdp
from mediaserver.rtc.transport import FEEDBACK

# Where libwebrtc begins before it has measured; from its own 300 kbit/s it scales 720p down to 180p
# and is still at 360p ten seconds later.
START_BITRATE = {"x-google-start-bitrate": "1200"}  # kbit/s
ONE_BYTE_IDS = range(1, 15)  # of header extensions (RFC 8285 §4.2)
MAX_LAYERS = 4  # browsers send three
MAX_RID_CHARACTERS = 64
OTHER_RENDITIONS = frozenset({"aac", "opus"})  # of the same stream, by other makers
REPAIRED_RID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"  # RFC 8852 §3.2


@dataclass(frozen=True, slots=True)
class Terms:
    """What an offer and its answer agree on.

    By payload type: the codec of `video`, which are `audio`, in `repairs` the payload type of what is
    brought again (RFC 4588), and under `numbering` the id of the header extension with the
    transport-wide number. `layers`: by rid, what the layer is called in the hub; without simulcast
    empty. `rid` and `repaired_rid` are ids of header extensions. `remb`: the publisher heeds REMB.
    `reduced_size`: feedback may go without a report (RFC 5506).
    """

    video: Mapping[int, Codec] = field(default_factory=dict)
    audio: frozenset[int] = frozenset()
    repairs: Mapping[int, int] = field(default_factory=dict)
    numbering: Mapping[int, int] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
    rid: int = 0
    repaired_rid: int = 0
    remb: bool = False
    reduced_size: bool = False


def accept(offer: sdp.Offer) -> tuple[list[sdp.AnswerMedia | None], Terms]:
    """One video and one audio track: what the answer says of each m-line, and what that means."""
    medias: list[sdp.AnswerMedia | None] = []
    taken: dict[Kind, dict[int, Codec]] = {}
    repairs: dict[int, int] = {}
    numbering: dict[int, int] = {}
    feedback: set[str] = set()
    layers: dict[str, str] = {}
    extmaps: Mapping[str, int] = {}
    reduced_size = True
    for media in offer.medias:
        kind: Kind = "video" if media.kind == "video" else "audio"
        codecs = {} if kind in taken else _codecs(media)
        if not codecs:
            medias.append(None)
            continue
        if kind == "video":
            layers = _layers(media)
        answer = _answer(media, codecs, layers if kind == "video" else {})
        medias.append(answer)
        taken[kind] = codecs
        repairs |= {again: first for first, again in media.rtx.items() if again in answer.payloads}
        if (number := answer.extmaps.get(rtcp_transport_cc.EXTENSION)) is not None:
            numbering |= dict.fromkeys(answer.payloads, number)
        if kind == "video":
            extmaps = answer.extmaps
        feedback.update(*(answer.payloads[each].rtcp_fb for each in codecs))
        reduced_size = reduced_size and media.rtcp_rsize
    return medias, Terms(
        taken.get("video", {}),
        frozenset(taken.get("audio", {})),
        repairs,
        numbering,
        layers,
        extmaps.get(sdp.RID_EXTENSION, 0),
        extmaps.get(REPAIRED_RID_EXTENSION, 0),
        "goog-remb" in feedback,
        reduced_size,
    )


def _codecs(media: sdp.OfferMedia) -> dict[int, Codec]:
    """The payload types that are taken, in the offer's order."""
    if not media.usable or media.direction not in ("sendonly", "sendrecv"):
        return {}
    if media.kind == "video":
        return dict(sdp.offered_video(media))
    opus = sdp.choose_opus(media) if media.kind == "audio" else None
    return {} if opus is None else {opus: "opus"}


def _layers(media: sdp.OfferMedia) -> dict[str, str]:
    """By rid the rendition's name; empty where there is no simulcast to be had."""
    sent = {rid for rid, direction in media.rids if direction == "send"}
    rids = [rid for rid in dict.fromkeys(media.simulcast) if rid in sent][:MAX_LAYERS]
    if len(rids) < 2 or media.extmaps.get(sdp.RID_EXTENSION, 0) not in ONE_BYTE_IDS:
        return {}
    names = {rid: _rendition(rid) for rid in rids}
    return names if len(set(names.values())) == len(names) else {}


def _rendition(rid: str) -> str:
    """`sdp` takes only rids of letters, digits, - and _ (RFC 8851 §10)."""
    name = f"layer-{rid}" if rid.lower() in OTHER_RENDITIONS else rid
    return name[:MAX_RID_CHARACTERS]


def _answer(
    media: sdp.OfferMedia, codecs: Mapping[int, Codec], layers: Mapping[str, str]
) -> sdp.AnswerMedia:
    extmaps = _extmaps(media, codecs, layers)
    feedback = FEEDBACK
    numbered = rtcp_transport_cc.EXTENSION in extmaps
    if numbered:  # its own estimate then: a REMB beside it would only be a ceiling
        feedback = FEEDBACK - {"goog-remb"} | {rtcp_transport_cc.RTCP_FB}
    payloads: dict[int, sdp.Codec] = {}
    for payload_type in codecs:
        codec = sdp.with_feedback(media.payloads[payload_type], feedback)
        if media.kind == "audio":
            codec = sdp.receiving_opus(codec)
        elif numbered:
            codec = sdp.with_settings(codec, START_BITRATE)
        payloads[payload_type] = codec
        again = sdp.choose_rtx(media, payload_type)
        if again is not None:
            payloads[again] = sdp.with_feedback(media.payloads[again], frozenset())
    return sdp.AnswerMedia("recvonly", payloads, extmaps=extmaps, rids=tuple(layers))


def _extmaps(
    media: sdp.OfferMedia, codecs: Mapping[int, Codec], layers: Mapping[str, str]
) -> dict[str, int]:
    wanted = []
    if any(rtcp_transport_cc.RTCP_FB in media.payloads[each].rtcp_fb for each in codecs):
        wanted.append(rtcp_transport_cc.EXTENSION)
    if layers:
        wanted += [sdp.MID_EXTENSION, sdp.RID_EXTENSION, REPAIRED_RID_EXTENSION]
    found = {uri: media.extmaps.get(uri, 0) for uri in wanted}
    return {uri: identifier for uri, identifier in found.items() if identifier in ONE_BYTE_IDS}
