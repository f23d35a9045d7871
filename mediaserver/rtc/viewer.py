"""One WebRTC viewer of a broadcast: its routes, its retransmissions and their budget.

A NACK is answered from the broadcast's ring with the very same packet (RFC 4585 §6.2.1), each packet
at most once per round trip and all of them within a fifth of the stream's rate: without that budget a
link that is too thin for the stream collapses under its own mending. Over budget the viewer goes to the
next keyframe; audio is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mediaserver.protocol import rtcp
from mediaserver.rtc.broadcast import Broadcast
from mediaserver.rtc.sender import Address, Route
from mediaserver.rtc.srtp import Srtp

WRAP_GUARD = 4096  # whoever would start closer to the wrap and lose packets would guess ROC wrong
NACK_SHARE = 0.2
NACK_BURST_BYTES = 48 << 10  # one damaged keyframe of a 720p stream can be mended at once
NACKED_AT_ONCE = 512  # sequence numbers looked at in one NACK, which can name 6,000
MIN_RESEND_S = 0.02
DEFAULT_RTT_S = 0.1
MAX_RTT_S = 10.0  # beyond it the report is wrong, or the viewer beyond help
SKIP_PAUSE_S = 1.0
RESENT_REMEMBERED = 1024
RENUMBER_AFTER = 0x4000  # packets unsent: at 0x8000 a viewer's guess at the roll-over count fails


class Viewer:
    """Where one viewer stands in a broadcast; created when its DTLS is connected."""

    def __init__(
        self,
        broadcast: Broadcast,
        srtp: Srtp,
        address: Address,
        payload_types: tuple[int, int],
        send: Callable[[bytes], None],
    ) -> None:
        self.broadcast = broadcast
        self.payload_types = payload_types  # video, audio; -1 where the viewer takes none
        self.video: Route | None = None
        self.audio: Route | None = None
        self.position = 0
        self.catch_up_media_s = 0.0
        self.catch_up_began = 0.0
        self.rtt_s = DEFAULT_RTT_S
        self.remb_bps = 0
        self.nacked = 0
        self.resent = 0
        self.skips = 0
        self.plis = 0
        self._srtp = srtp
        self._address = address
        self._send = send
        self._first = {"video": 0, "audio": 0}
        self._paused_at = 0
        self._tokens = float(NACK_BURST_BYTES)
        self._tokens_at = broadcast.clock()
        self._sent_again: dict[tuple[int, int], float] = {}
        self._skipped_at = -SKIP_PAUSE_S

    def move(self, address: Address) -> None:
        """The viewer came from a new address (Wi-Fi to mobile)."""
        self._address = address
        for route in (self.video, self.audio):
            if route is not None:
                route.address = address

    def begin_video(self, index: int) -> None:
        """Video goes on, or begins, at this index: nothing before it will be sent or sent again."""
        if self.payload_types[0] < 0:
            return
        if self.video is None:
            self.video = self._new_route(index)
        elif index - self._paused_at >= RENUMBER_AFTER:
            self.video = self.video.resumed(index, self._paused_at)
        self._first["video"] = index

    def pause_video(self, index: int) -> None:
        """Nothing from this index on was sent; `begin_video` says where it goes on."""
        self._paused_at = index

    def begin_audio(self, index: int) -> None:
        if self.payload_types[1] >= 0 and self.audio is None:
            self.audio = self._new_route(index)
            self._first["audio"] = index

    def catch_up_from(self, media_s: float, now: float) -> None:
        self.position = self._first["video"]
        self.catch_up_media_s = media_s
        self.catch_up_began = now

    def report(self, compound: bytes) -> None:
        """Send an RTCP compound."""
        if compound:
            self._send(self._srtp.protect_rtcp(compound))

    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None:
        """What the viewer reports; packets about other SSRCs are ignored."""
        for packet in packets:
            match packet:
                case rtcp.ReceiverReport() | rtcp.SenderReport():
                    self._on_report(packet.reports)
                case rtcp.Nack():
                    self._on_nack(packet, now)
                case rtcp.Pli(media_ssrc=ssrc):
                    self._on_picture_loss([ssrc])
                case rtcp.Fir(entries=entries):
                    self._on_picture_loss([ssrc for ssrc, _ in entries])
                case rtcp.Remb():
                    self.remb_bps = packet.bitrate

    def _new_route(self, index: int) -> Route:
        near_wrap = (index & 0xFFFF) >= 0x10000 - WRAP_GUARD
        offset = 0x10000 - (index & 0xFFFF) if near_wrap else 0
        return Route(self._srtp, self._address, index, offset)

    def _on_picture_loss(self, ssrcs: Sequence[int]) -> None:
        if self.broadcast.video.ssrc in ssrcs:
            self.plis += 1
            self.broadcast.request_keyframe()

    def _on_report(self, blocks: Sequence[rtcp.ReportBlock]) -> None:
        ours = (self.broadcast.video.ssrc, self.broadcast.audio.ssrc)
        for block in blocks:
            if block.ssrc in ours:
                rtt_s = rtcp.round_trip_s(block, rtcp.ntp_from_utc_ms(time.time() * 1000))
                if rtt_s is not None and rtt_s < MAX_RTT_S:
                    self.rtt_s = 0.75 * self.rtt_s + 0.25 * rtt_s

    def _on_nack(self, nack: rtcp.Nack, now: float) -> None:
        broadcast = self.broadcast
        if nack.media_ssrc == broadcast.video.ssrc:
            line, route, payload_type = broadcast.video, self.video, self.payload_types[0]
            first = self._first["video"]
        elif nack.media_ssrc == broadcast.audio.ssrc:
            line, route, payload_type = broadcast.audio, self.audio, self.payload_types[1]
            first = self._first["audio"]
        else:
            return
        if route is None or (line is broadcast.video and broadcast.waits(self)):
            return
        self._refill(now)
        for sequence in nack.sequences[:NACKED_AT_ONCE]:
            self.nacked += 1
            packet = line.ring.get(_index(sequence, line.released, route.offset))
            if packet is None or packet.index < first or packet.index >= line.released:
                continue
            last = self._sent_again.get((line.ssrc, packet.index))
            if last is not None and now - last < max(self.rtt_s, MIN_RESEND_S):
                continue
            if self._tokens < len(packet.payload):
                self._over_budget(now)
                return
            if not broadcast.sender.send_one(packet, payload_type, line.ssrc, route):
                return  # the socket is full, or the packet too old: more would be no help
            self._tokens -= len(packet.payload)
            self._remember(line.ssrc, packet.index, now)
            self.resent += 1

    def _refill(self, now: float) -> None:
        earned = NACK_SHARE * self.broadcast.bytes_per_s * (now - self._tokens_at)
        self._tokens = min(self._tokens + earned, float(NACK_BURST_BYTES))
        self._tokens_at = now

    def _remember(self, ssrc: int, index: int, now: float) -> None:
        self._sent_again[(ssrc, index)] = now
        if len(self._sent_again) > RESENT_REMEMBERED:
            for key in list(self._sent_again)[: RESENT_REMEMBERED // 2]:
                del self._sent_again[key]

    def _over_budget(self, now: float) -> None:
        if now - self._skipped_at >= SKIP_PAUSE_S:
            self._skipped_at = now
            self.skips += 1
            self.broadcast.skip_to_keyframe(self)


def _index(sequence: int, released: int, offset: int) -> int:
    """The cohort's index of a 16-bit sequence number as this viewer sees it."""
    newest = released + offset
    index = (newest & ~0xFFFF) | sequence
    return (index if index <= newest else index - 0x10000) - offset
