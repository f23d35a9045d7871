"""A light client that takes retransmissions of video in a stream of their own (RFC 4588)."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.media import VIDEO_CLOCK_RATE
from mediaserver.protocol import rtp, rtp_rtx, sdp
from mediaserver.rtc.receiver import RtpReceiver


def with_rtx(text: str) -> str:
    """A light client's offer, with retransmissions of video in a stream of their own."""
    return (
        text.replace("RTP/SAVPF 96\r\n", "RTP/SAVPF 96 97\r\n")
        .replace("a=rtpmap:96 ", "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:96 ")
    )  # fmt: skip


class Repairs(RtpReceiver):
    """Hands retransmissions to the receiver of their originals, as they come."""

    def __init__(self, original: RtpReceiver, ssrc: int) -> None:
        super().__init__(VIDEO_CLOCK_RATE, lambda packet, gap: None, lambda ssrc, lost: None)
        self.original = original
        self.original_ssrc = ssrc

    def receive(self, packet: rtp.RtpPacket, now: float) -> None:
        sequence, payload = rtp_rtx.parse(packet.payload)
        self.received += 1
        again = replace(packet, sequence=sequence, payload=payload, ssrc=self.original_ssrc)
        self.original.receive(again, now)


class RtxClient(WebRtcClient):
    """A light client that takes retransmissions in a stream of their own."""

    repairs: Repairs

    def offer(self, data: bool = True) -> str:
        return with_rtx(super().offer(data))

    async def connect(
        self, answer: sdp.Offer, *, port: int | None = None, data: bool = True
    ) -> None:
        await super().connect(answer, port=port, data=data)
        ((ssrc, rtx_ssrc),) = answer.medias[0].rtx_ssrcs.items()
        self.repairs = self._receivers[rtx_ssrc] = Repairs(self._receivers[ssrc], ssrc)
