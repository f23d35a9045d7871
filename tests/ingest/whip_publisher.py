"""A light WHIP publisher: RTP of packets it is given, kept for a while and sent again when asked for."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.webrtc_client import AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.media import Packet
from mediaserver.protocol import rtcp, rtp
from mediaserver.protocol.h264 import AvcConfig, split_length_prefixed
from mediaserver.protocol.rtp_h264 import packetize

RING_PACKETS = 2048
MAX_PAYLOAD_BYTES = 1100


@dataclass
class Numbering:
    """One SSRC's next sequence number and first timestamp."""

    payload_type: int
    ssrc: int = field(default_factory=lambda: secrets.randbits(32))
    sequence: int = field(default_factory=lambda: secrets.randbits(16))
    first_timestamp: int = field(default_factory=lambda: secrets.randbits(32))
    ring: dict[int, bytes] = field(default_factory=dict)


@dataclass
class WhipPublisher(WebRtcClient):
    """Connect it with the answer to `offer()`, then `publish` packets."""

    on_keyframe_request: Callable[[], None] = lambda: None
    plis: int = 0
    resent: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.video = Numbering(VIDEO_PAYLOAD_TYPE)
        self.audio = Numbering(AUDIO_PAYLOAD_TYPE)

    def offer(self, data: bool = False) -> str:
        return super().offer(data).replace("a=recvonly", "a=sendonly")

    def publish(self, packet: Packet) -> None:
        """Send one access unit, or one frame of Opus."""
        if packet.track.kind == "audio":
            self.send_rtp(self.audio, packet.payload, True, packet.pts)
            return
        nals = list(split_length_prefixed(packet.payload))
        if packet.keyframe:
            config = AvcConfig.parse(packet.track.config)
            nals = [*config.sps, *config.pps, *nals]
        for payload, padding, marker in packetize(nals, MAX_PAYLOAD_BYTES):
            self.send_rtp(self.video, payload, marker, packet.dts, padding)

    def send_rtp(
        self, line: Numbering, payload: bytes, marker: bool, pts: int, padding: bool = False
    ) -> None:
        """Send one payload under the line's next number."""
        timestamp = (line.first_timestamp + pts) & 0xFFFFFFFF
        header = rtp.serialize_header(
            line.payload_type, marker, line.sequence, timestamp, line.ssrc, padding
        )
        line.ring[line.sequence] = header + payload
        if len(line.ring) > RING_PACKETS:
            del line.ring[next(iter(line.ring))]
        self._protect_and_send(header + payload)
        line.sequence = (line.sequence + 1) & 0xFFFF

    def report(self, line: Numbering, pts: int, utc_ms: float) -> None:
        """A sender report: `pts` was at `utc_ms`."""
        timestamp = (line.first_timestamp + pts) & 0xFFFFFFFF
        report = rtcp.SenderReport(line.ssrc, rtcp.ntp_from_utc_ms(utc_ms), timestamp, 0, 0)
        self.send_rtcp(rtcp.serialize_sender_report(report, "test"))

    def datagram_received(self, data: bytes, addr: object) -> None:
        before = len(self.reports)
        super().datagram_received(data, addr)
        for packet in self.reports[before:]:
            match packet:
                case rtcp.Nack():
                    self._on_nack(packet)
                case rtcp.Pli():
                    self.plis += 1
                    self.on_keyframe_request()

    def _on_nack(self, nack: rtcp.Nack) -> None:
        line = self.video if nack.media_ssrc == self.video.ssrc else self.audio
        for sequence in nack.sequences:
            if (packet := line.ring.get(sequence)) is not None:
                self.resent += 1
                self._protect_and_send(packet)

    def _protect_and_send(self, packet: bytes) -> None:
        assert self.srtp is not None
        self._send(self.srtp.protect(packet))
