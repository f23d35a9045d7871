"""What is accepted of a WHEP offer (draft-ietf-wish-whep §4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from mediaserver.media import Track
from mediaserver.protocol import sdp
from mediaserver.rtc.broadcast import Broadcast
from mediaserver.rtc.transport import FEEDBACK

MAX_MESSAGE_BYTES = 16 << 10


@dataclass(slots=True)
class Accepted:
    """What was agreed upon with a viewer: payload types, -1 where there is none.

    `sctp` is the viewer's SCTP port and its largest message in bytes. `codec` is that of the video,
    empty where the stream had none yet; `sound_alone`: it was offered and there is none.
    """

    video: int = -1
    audio: int = -1
    rtx: int = -1
    sctp: tuple[int, int] | None = None
    codec: str = ""
    sound_alone: bool = False


def accept(
    offer: sdp.Offer, broadcast: Broadcast, video: Track | None, sound_alone: bool
) -> tuple[list[sdp.AnswerMedia | None], Accepted]:
    """An answer to each m-line, None where it gets port 0.

    `video` is the stream's, None while it has none: H.264 is accepted then, as it may come yet, unless
    the stream is one of `sound_alone`.
    """
    accepted = Accepted()
    medias: list[sdp.AnswerMedia | None] = []
    for media in offer.medias:
        if sound_alone and media.kind == "video":
            accepted.sound_alone = True
            medias.append(None)
        else:
            medias.append(_accept_media(media, accepted, broadcast, video))
    return medias, accepted


def _accept_media(
    media: sdp.OfferMedia, accepted: Accepted, broadcast: Broadcast, video: Track | None
) -> sdp.AnswerMedia | None:
    if media.usable and media.kind == "application" and accepted.sctp is None:
        accepted.sctp = (media.sctp_port or 5000, media.max_message_size)
        return sdp.AnswerMedia(max_message_size=MAX_MESSAGE_BYTES)
    if media.usable and media.direction in ("recvonly", "sendrecv"):
        if media.kind == "video" and accepted.video < 0:
            return _accept_video(media, accepted, broadcast, video)
        if media.kind == "audio" and accepted.audio < 0:
            return _accept_audio(media, accepted, broadcast)
    return None


def _accept_video(
    media: sdp.OfferMedia, accepted: Accepted, broadcast: Broadcast, track: Track | None
) -> sdp.AnswerMedia | None:
    payload_type = sdp.choose_video(media, track) if track else sdp.choose_h264(media)
    if payload_type is None:
        return None
    accepted.video = payload_type
    accepted.codec = track.codec if track else "h264"
    codecs = {payload_type: sdp.with_feedback(media.payloads[payload_type], FEEDBACK)}
    rtx = sdp.choose_rtx(media, payload_type)
    if rtx is None:
        return sdp.AnswerMedia("sendonly", codecs, ssrc=broadcast.video.ssrc)
    accepted.rtx = rtx
    codecs[rtx] = sdp.with_feedback(media.payloads[rtx], frozenset())
    return sdp.AnswerMedia(
        "sendonly", codecs, ssrc=broadcast.video.ssrc, rtx_ssrc=broadcast.rtx_ssrc
    )


def _accept_audio(
    media: sdp.OfferMedia, accepted: Accepted, broadcast: Broadcast
) -> sdp.AnswerMedia | None:
    payload_type = sdp.choose_opus(media)
    if payload_type is None:
        return None
    accepted.audio = payload_type
    codec = sdp.with_feedback(media.payloads[payload_type], FEEDBACK)
    return sdp.AnswerMedia("sendonly", {payload_type: codec}, ssrc=broadcast.audio.ssrc)
