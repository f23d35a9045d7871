"""One seam for all video codecs in RTP: payloads to coded frames, and Packets to payloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet
from mediaserver.protocol import rtp_av1, rtp_h264_frames, rtp_h265, rtp_vp8, rtp_vp9
from mediaserver.protocol.rtp_payload import CodedFrame, RtpPayload

__all__ = ["CodedFrame", "RtpPayload", "VideoDepacketizer", "depacketizer", "packetize"]


class VideoDepacketizer(Protocol):
    """Payloads of one track in sequence order to coded frames; memory is bounded."""

    def feed(
        self, payload: bytes, marker: bool, timestamp: int, *, gap: bool = False
    ) -> list[CodedFrame]:
        """Take one payload, without padding; `gap`: packets just before it are lost.

        Returns the frames that it ends: usually none, or one at the marker; two when the marker
        before was lost. Raises ProtocolError; the open frame counts as damaged then.
        """


_DEPACKETIZERS: Mapping[str, Callable[[], VideoDepacketizer]] = {
    "h264": rtp_h264_frames.FrameDepacketizer,
    "h265": rtp_h265.depacketizer,
    "vp8": rtp_vp8.depacketizer,
    "vp9": rtp_vp9.depacketizer,
    "av1": rtp_av1.depacketizer,
}
_PACKETIZERS: Mapping[str, Callable[[Packet, int], list[RtpPayload]]] = {
    "h264": rtp_h264_frames.packetize,
    "h265": rtp_h265.packetize,
    "vp8": rtp_vp8.packetize,
    "vp9": rtp_vp9.packetize,
    "av1": rtp_av1.packetize,
}


def depacketizer(codec: str) -> VideoDepacketizer:
    """A new one for a codec of `media.Codec`; ProtocolError for one that is no video in RTP."""
    make = _DEPACKETIZERS.get(codec)
    if make is None:
        raise ProtocolError(f"{codec} in RTP is not known here")
    return make()


def packetize(packet: Packet, max_payload_bytes: int) -> list[RtpPayload]:
    """The payloads of one coded frame, in order, the marker on the last; raises ProtocolError.

    What a viewer needs to begin at a keyframe stands before it. All payloads are of one size but the
    last, as far as the format allows.
    """
    make = _PACKETIZERS.get(packet.track.codec)
    if make is None:
        raise ProtocolError(f"{packet.track.codec} in RTP is not known here")
    return make(packet, max_payload_bytes)
