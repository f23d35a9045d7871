"""One RTP stream (SSRC) towards viewers: numbered once, kept for a while for who asks again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from mediaserver.media import Packet
from mediaserver.protocol import rtcp
from mediaserver.protocol.rtp_payload import RtpPayload
from mediaserver.rtc.sender import OutPacket

RING_S = 1.5  # a retransmission later than this comes too late for any player
RING_BYTES = 16 << 20
GOP_S = 2.5
GOP_BYTES = 2 << 20


@dataclass(slots=True)
class Line:
    """One SSRC as its cohorts get it: its numbering and its ring of sent packets."""

    clock_rate: int
    ssrc: int = field(default_factory=lambda: secrets.randbits(31) | 1)
    # starts in the lower half, so that no viewer meets a wrap soon
    next_index: int = field(default_factory=lambda: secrets.randbelow(0x4000) + 1)
    timestamp_offset: int = field(default_factory=lambda: secrets.randbits(32))
    ring: dict[int, OutPacket] = field(default_factory=dict)
    ring_bytes: int = 0
    released: int = 0
    keyframe_index: int = -1
    keyframe_octets: int = 0  # sent before it
    gop_bytes: int = 0
    packets: int = 0
    octets: int = 0
    bytes_per_s: float = 0.0
    last_pts: int = 0
    last_media_s: float = -1.0  # decode time of the newest packet
    _first: int = 0
    _oldest: int = 0
    _rate_octets: int = 0
    _rate_at: float = 0.0

    def __post_init__(self) -> None:
        self._first = self._oldest = self.released = self.next_index

    def append(self, packet: Packet, payloads: Sequence[RtpPayload], now: float) -> list[OutPacket]:
        """Number the payloads of one picture, or frame of sound."""
        first = self.next_index
        starts = packet.keyframe and packet.track.kind == "video"
        if starts and payloads:
            self.keyframe_index = first
            self.keyframe_octets = self.octets
            self.gop_bytes = 0
        timestamp = (packet.pts + self.timestamp_offset) & 0xFFFFFFFF
        media_s = packet.dts / packet.track.clock_rate
        frame: list[OutPacket] = []
        size = padded = 0
        for index, (payload, padding, marker) in enumerate(payloads, first):
            frame.append(
                OutPacket(index, timestamp, payload, marker, padding, now, media_s, starts)
            )
            starts = False
            size += len(payload)
            if padding:
                padded += payload[-1]
        self.ring.update(zip(range(first, first + len(frame)), frame, strict=True))
        self.last_media_s = media_s
        self.next_index += len(frame)
        self.ring_bytes += size
        self.gop_bytes += size
        self.packets += len(frame)
        self.octets += size - padded
        return frame

    def packets_before(self, index: int) -> int:
        """How many packets stand before this index."""
        return index - self._first

    def octets_from(self, index: int) -> int:
        """Bytes of payload, without padding, from this index on to the newest."""
        packets = (self.ring.get(each) for each in range(index, self.next_index))
        return sum(_octets(packet) for packet in packets if packet is not None)

    def stop(self) -> None:
        """What follows won't continue what was sent: no joiner may start before it."""
        self.keyframe_index = -1
        self._rate_at = 0.0

    def prune(self, now: float, hold: int) -> None:
        """Let go of what no viewer can ask for any more; a joiner still needs what follows `hold`."""
        keep = min(hold, self.keyframe_index if self.replayable() else self.next_index)
        while self._oldest < self.released:
            oldest = self.ring[self._oldest]
            fresh = oldest.at > now - RING_S or self._oldest >= keep
            if fresh and self.ring_bytes < RING_BYTES:
                return
            del self.ring[self._oldest]
            self.ring_bytes -= len(oldest.payload)
            self._oldest += 1

    def replayable(self) -> bool:
        """Whether a joiner may start at the last keyframe."""
        start = self.ring.get(self.keyframe_index)
        if start is None or self.gop_bytes > GOP_BYTES:
            return False
        return self.ring[self.next_index - 1].media_s - start.media_s <= GOP_S

    def measure(self, now: float) -> None:
        """Update the rate; called about once a second."""
        elapsed = now - self._rate_at
        if self._rate_at and elapsed > 0.2:
            rate = (self.octets - self._rate_octets) / elapsed
            self.bytes_per_s = rate if not self.bytes_per_s else (self.bytes_per_s + rate) / 2
        self._rate_at, self._rate_octets = now, self.octets

    def report(
        self, utc_s: float, epoch_ms: float, packets: int = 0, octets: int = 0
    ) -> rtcp.SenderReport:
        """Ties RTP time to UTC by the publisher's clock, never by arrival (RFC 3550 §6.4.1).

        `epoch_ms` is the UTC of media time 0, the same for all lines: so their sync is exact.
        `packets` and `octets` are added to the line's own, for a viewer who came from another.
        """
        ticks = round((utc_s * 1000 - epoch_ms) * self.clock_rate / 1000)
        timestamp = (ticks + self.timestamp_offset) & 0xFFFFFFFF
        ntp = rtcp.ntp_from_utc_ms(utc_s * 1000)
        return rtcp.SenderReport(
            self.ssrc,
            ntp,
            timestamp,
            (self.packets + packets) & 0xFFFFFFFF,
            (self.octets + octets) & 0xFFFFFFFF,
        )


def _octets(packet: OutPacket) -> int:
    """Of the payload, without its padding (RFC 3550 §6.4.1)."""
    return len(packet.payload) - (packet.payload[-1] if packet.padding else 0)
