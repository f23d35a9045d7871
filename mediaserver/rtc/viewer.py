"""One WebRTC viewer of a broadcast: its routes, its retransmissions and their budget.

A NACK is answered from the ring of the viewer's layer: by RTX (RFC 4588) where the viewer takes it, else
with the very same packet (RFC 4585 §6.2.1), once per round trip at most and within its `Budget`. Over
budget its link is too thin for what it gets; so it is when packets queue up in it: the round trip has
grown, and its own estimate (REMB) is below the rate; neither sign alone is enough.

It then goes to a lower layer; where there is none, to the next keyframe, as its `Patience` says. Audio
is kept, and mended first. Who was cut off for a moment is told by its silence, and goes on at once. It
goes up again after a probe, made of old packets sent again. On another layer its numbers go on without
a hole by an offset of its own, and for a while it may still ask for what it got of the layer before.

NACKs are only noted when they come and answered in the sender's passes, so that many viewers who lost
packets at once don't hold the loop.

Under one key an SRTP index is never used for other bytes: a packet of before a pause, or of another
layer, never goes by the route of after it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mediaserver.protocol import rtcp
from mediaserver.rtc.address import Address
from mediaserver.rtc.broadcast import Broadcast
from mediaserver.rtc.budget import Budget, Key
from mediaserver.rtc.layer import Cut, Layer
from mediaserver.rtc.line import Line
from mediaserver.rtc.link import MAX_RTT_S, Link
from mediaserver.rtc.overflow import Overflow
from mediaserver.rtc.patience import Patience
from mediaserver.rtc.probe import Probe
from mediaserver.rtc.rtx import Rtx
from mediaserver.rtc.sender import HEADER_BYTES, TAG_BYTES, OutPacket, Route
from mediaserver.rtc.srtp import Srtp

WRAP_GUARD = 4096  # whoever would start closer to the wrap and lose packets would guess ROC wrong
NACKED_AT_ONCE = 512  # sequence numbers noted of a viewer; one NACK can name 6,000
MIN_RESEND_S = 0.02
DEFAULT_RTT_S = 0.1
CUT_OFF_S = 2.0  # reports come more often than this: whoever was silent longer had no link at all
QUEUE_S = 0.3  # how much longer than the shortest a round trip is when packets queue up
SOUND_AGAIN = 30  # newest frames of sound, of which some may be lost unnoticed: 0.6 s
SOUND_AT_ONCE = 6  # of them, so as to fit in between two pictures
PROBE_LOOK = 32  # newest packets, of which the largest is sent again as a probe
RENUMBER_AFTER = 0x4000  # packets unsent: at 0x8000 a viewer's guess at the roll-over count fails


@dataclass(slots=True)
class Part:
    """What a viewer got of the layer before, and by which route."""

    line: Line
    route: Route
    first: int
    end: int  # the index after the last


class Viewer:
    """Where one viewer stands in a broadcast; created when its DTLS is connected."""

    def __init__(
        self,
        broadcast: Broadcast,
        srtp: Srtp,
        address: Address,
        payload_types: tuple[int, int],
        send: Callable[[bytes], None],
        rtx_payload_type: int = -1,
    ) -> None:
        """`rtx_payload_type` is -1 where the viewer takes no RTX for video."""
        self.broadcast = broadcast
        self.payload_types = payload_types  # video, audio; -1 where the viewer takes none
        self.video: Route | None = None
        self.audio: Route | None = None
        self.layer: Layer = broadcast.source
        self.target: Layer | None = None  # the layer it is on its way to
        self.cut: Cut | None = None  # where it begins with that
        self.rises = False  # whether its last move is to a higher layer
        self.shown_s = -math.inf  # media time of the last picture of the layer before
        self.position = 0  # of a joiner or follower: the next index
        self.catch_up_media_s = 0.0
        self.catch_up_began = 0.0
        self.link = Link(probes=rtx_payload_type >= 0)
        self.probe: Probe | None = None
        self.rtt_s = DEFAULT_RTT_S
        self.moves = 0  # from layer to layer
        self.nacked = 0
        self.resent = 0
        self.skips = 0
        self.plis = 0
        self._srtp = srtp
        self._address = address
        self._send = send
        self._first = {"video": 0, "audio": 0}
        self._line = self.layer.line
        self._before: Part | None = None
        self._paused_at = 0
        self._paused_counts = (0, 0)
        self.more_sent = (0, 0)  # packets and octets, beyond what its layer's line counts
        self._rtx: Rtx | None = None
        if rtx_payload_type >= 0:
            self._rtx = Rtx(srtp, address, rtx_payload_type, broadcast.rtx_ssrc)
        self._noted: deque[tuple[Line, int]] = deque()  # sequence numbers asked for
        self._due: deque[tuple[Route, OutPacket]] = deque()  # what of them is to be sent
        self._mending = False  # whether the sender has us on its list
        self._budget = Budget(broadcast.clock())
        self._overflow = Overflow()
        self._sound_again = 0  # the index from which sound may be sent again unasked
        self._patience = Patience()
        self._heard_at = broadcast.clock()

    def move(self, address: Address) -> None:
        """The viewer came from a new address (Wi-Fi to mobile)."""
        self._address = address
        before = self._before.route if self._before is not None else None
        rtx = self._rtx.route if self._rtx is not None else None
        for route in (self.video, self.audio, before, rtx):
            if route is not None:
                route.move(address)
        self.link.on_path()

    def leave(self) -> None:
        """Nothing more is sent again."""
        self.probe = None
        self._noted.clear()
        self._due.clear()

    def on_layer(self, layer: Layer, *, kept: bool) -> None:
        """From its next keyframe on it is `layer`'s; `kept`: what it got before is of use still."""
        if kept and self.video is not None:
            self._before = Part(self._line, self.video, self._first["video"], self._paused_at)
        else:
            self._before = None
        self.layer = layer
        self.moves += 1
        self.link.on_moved(self.rises, self.broadcast.clock())

    def begin_video(self, line: Line, index: int, octets: int) -> None:
        """Video goes on, or begins, at this index: nothing of `line` before it is sent, or sent again.

        `octets` is what the line counts before it.
        """
        if self.payload_types[0] < 0:
            return
        if self.video is None:
            self.video = self._new_route(index)
        elif self._renumbers(line, index):
            self.video = self.video.resumed(index, self._paused_at)
            packets, before = self._paused_counts
            self.more_sent = packets - line.packets_before(index), before - octets
        self._line = line
        self._first["video"] = index
        self._heard_at = self.broadcast.clock()  # who gets no video has little to report

    def pause_video(self, index: int, octets: int) -> None:
        """Nothing from this index on was sent; `begin_video` says where it goes on."""
        self._paused_at = index
        packets, more = self.more_sent
        self._paused_counts = self._line.packets_before(index) + packets, octets + more

    def _renumbers(self, line: Line, index: int) -> bool:
        """Whether numbers have to go on, for other layers have others; or to save a roll-over."""
        assert self.video is not None
        apart = line is not self._line or self.more_sent != (0, 0)
        return apart or index - self._paused_at >= RENUMBER_AFTER

    def begin_audio(self, index: int) -> None:
        if self.payload_types[1] >= 0 and self.audio is None:
            self.audio = self._new_route(index)
            self._first["audio"] = index

    def catch_up_from(self, position: int, media_s: float, now: float) -> None:
        self.position = position
        self.catch_up_media_s = media_s
        self.catch_up_began = now

    def report(self, compound: bytes) -> None:
        """Send an RTCP compound."""
        if compound:
            self._send(self._srtp.protect_rtcp(compound))

    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None:
        """What the viewer reports; packets about other SSRCs are ignored."""
        if now - self._heard_at > CUT_OFF_S and not self.broadcast.waits(self):
            self._patience.forgive(now)
        self._heard_at = now
        told = False
        for packet in packets:
            match packet:
                case rtcp.ReceiverReport() | rtcp.SenderReport():
                    self._on_report(packet.reports, now)
                    told = True
                case rtcp.Nack():
                    self._on_nack(packet)
                case rtcp.Pli(media_ssrc=ssrc):
                    self._on_picture_loss([ssrc])
                case rtcp.Fir(entries=entries):
                    self._on_picture_loss([ssrc for ssrc, _ in entries])
                case rtcp.Remb():
                    self.link.on_remb(packet.bitrate, now)
                    told = True
        if told:
            if self.probe is not None:
                self.probe.on_report(now)
            self.broadcast.ladder.consider(self, now)

    @property
    def remb_bps(self) -> int:
        """The viewer's estimate of its link; 0 until it has told."""
        return self.link.remb_bps

    @property
    def mending(self) -> bool:
        """Whether something is to be sent again."""
        return self._mending

    def report_now(self) -> None:
        """Send the sender reports of now, for a round trip that is of now too."""
        self.report(self.broadcast.sender_reports(self.broadcast.utc_s(), self))

    def forgive_losses(self) -> None:
        """What was lost to a probe of ours may be mended in full."""
        self._budget.fill()

    def send_probe(self, octets: int) -> int:
        """Send about so many bytes of old packets again; how many it were. 0: there are none."""
        rtx, route = self._rtx, self.video
        if rtx is None or route is None or self.broadcast.waits(self):
            return 0
        newest = self.layer.sent(self)
        ring = self._line.ring
        recent = (ring.get(index) for index in range(newest - PROBE_LOOK, newest))
        had = [each for each in recent if each is not None and each.index >= self._first["video"]]
        largest = max(had, key=lambda each: len(each.payload), default=None)
        spent = 0
        while largest is not None and spent < octets:
            packet = rtx.wrap(largest, route.offset)
            if not self.broadcast.sender.send_one(packet, rtx.payload_type, rtx.ssrc, rtx.route):
                break
            spent += len(packet.payload) + HEADER_BYTES + TAG_BYTES
        return spent

    def _new_route(self, index: int) -> Route:
        near_wrap = (index & 0xFFFF) >= 0x10000 - WRAP_GUARD
        offset = 0x10000 - (index & 0xFFFF) if near_wrap else 0
        return Route(self._srtp, self._address, index, offset)

    def _on_picture_loss(self, ssrcs: Sequence[int]) -> None:
        if self.broadcast.video.ssrc in ssrcs:
            self.plis += 1
            self.broadcast.ask_keyframe(self)

    def _on_report(self, blocks: Sequence[rtcp.ReportBlock], now: float) -> None:
        broadcast = self.broadcast
        video, audio, rtx = broadcast.video.ssrc, broadcast.audio.ssrc, broadcast.rtx_ssrc
        for block in blocks:
            if block.ssrc in (video, rtx):
                highest, missing = block.highest_sequence, block.cumulative_lost
                self.link.on_loss(block.ssrc, highest, missing, now)
        for block in blocks:
            if block.ssrc in (video, audio):
                rtt_s = rtcp.round_trip_s(block, rtcp.ntp_from_utc_ms(broadcast.utc_s() * 1000))
                if rtt_s is not None and rtt_s < MAX_RTT_S:
                    self.rtt_s = 0.75 * self.rtt_s + 0.25 * rtt_s
                    self.link.on_rtt(rtt_s, now)
                    self._watch_queue(now)

    def _watch_queue(self, now: float) -> None:
        """Skip when the link holds more and more of what was sent."""
        broadcast = self.broadcast
        if self.video is None or broadcast.waits(self) or not self._may_skip(now):
            return
        rate_bps = 8 * broadcast.sent_bytes_per_s(self)
        if self.link.queued_s > QUEUE_S and 0 < self.remb_bps < rate_bps:
            self._skip(now)

    def _on_nack(self, nack: rtcp.Nack) -> None:
        broadcast = self.broadcast
        line = broadcast.video if nack.media_ssrc == broadcast.video.ssrc else broadcast.audio
        if nack.media_ssrc != line.ssrc:
            return
        if self.probe is not None and line is not broadcast.audio:
            self.probe.on_nack(len(nack.sequences))
        room = NACKED_AT_ONCE - len(self._noted)
        self._noted.extend((line, sequence) for sequence in nack.sequences[:room])
        if self._noted and not self._mending:
            self._mending = True
            broadcast.sender.mend(self)

    def mend(self, deadline: float) -> bool:
        """Send again what was asked for, until the deadline; False when some is left."""
        clock = self.broadcast.clock
        while self._due or self._noted:
            if not self._due:
                self._look_up(clock())
            while self._due:
                if clock() > deadline:
                    return False
                if not self._resend(*self._due.popleft()):
                    self._due.clear()  # the socket is full, or the packet too old
        self._mending = False
        return True

    def _look_up(self, now: float) -> None:
        """Take what was noted; what the budget allows of it becomes due, audio first."""
        audio = self.audio
        found = [
            each for line, sequence in self._noted if (each := self._find(line, sequence, now))
        ]
        self.nacked += len(self._noted)
        self._noted.clear()
        budget, rate = self._budget, self.broadcast.sent_bytes_per_s(self)
        budget.refill(rate, self._patience.skips_in_a_row, now)
        costs = [
            budget.cost(self._key(*each), len(each[1].payload))
            for each in found
            if each[0] is not audio
        ]
        overflows = self._overflows(found, now)
        if budget.exceeds(sum(costs)) and self._may_skip(now):
            self._skip(now)  # what could be mended of its video would be of no use
            found = [each for each in found if each[0] is audio]
        if overflows:
            found += self._lost_sound(now)
        found.sort(key=lambda each: each[0] is not audio)
        for route, packet in found:
            if not budget.spend(self._key(route, packet), len(packet.payload), now):
                return
            self._due.append((route, packet))

    def _overflows(self, found: Sequence[tuple[Route, OutPacket]], now: float) -> bool:
        """Whether what is asked for now tells of a full queue, and not of a burst of ours."""
        if self.probe is not None or self in self.layer.joiners:
            self._overflow.forget()
            return False
        for each in found:
            self._overflow.ask(self._key(*each), now)
        return self._overflow.likely(now)

    def _lost_sound(self, now: float) -> list[tuple[Route, OutPacket]]:
        """Sound that a full queue may have dropped: where it drops all, its viewer misses nothing yet.

        The oldest first, some at a time; none twice.
        """
        route, line = self.audio, self.broadcast.audio
        if route is None:
            return []
        oldest = max(self._sound_again, self._first["audio"], line.released - SOUND_AGAIN)
        self._sound_again = min(oldest + SOUND_AT_ONCE, line.released)
        packets = (line.ring.get(index) for index in range(oldest, self._sound_again))
        return [(route, packet) for packet in packets if packet is not None]

    def _find(self, line: Line, sequence: int, now: float) -> tuple[Route, OutPacket] | None:
        """The packet that the viewer means, if it should have it again now, and its route."""
        audio = line is self.broadcast.audio
        route = self.audio if audio else self.video
        if route is None or (not audio and self.broadcast.waits(self)):
            return None
        end = line.released if audio else self.layer.sent(self)
        number = _number(sequence, end + route.offset)
        found = self._before_number(number) if not audio else None
        if found is None:
            index = number - route.offset
            packet = (line if audio else self._line).ring.get(index)
            if packet is None or not self._first["audio" if audio else "video"] <= index < end:
                return None
            found = route, packet
        if self._budget.spent_since((audio, number), now - max(self.rtt_s, MIN_RESEND_S)):
            return None
        return found

    def _before_number(self, number: int) -> tuple[Route, OutPacket] | None:
        """A packet of the layer before, by its number; None where it is not one of those."""
        part = self._before
        if part is None:
            return None
        index = number - part.route.offset
        packet = part.line.ring.get(index) if part.first <= index < part.end else None
        return (part.route, packet) if packet is not None else None

    def _key(self, route: Route, packet: OutPacket) -> Key:
        """What the budget knows a packet by."""
        return route is self.audio, packet.index + route.offset

    def _resend(self, route: Route, packet: OutPacket) -> bool:
        """Send one packet again; False when it didn't leave. Looked at anew: it may have waited."""
        broadcast = self.broadcast
        send_one, audio = broadcast.sender.send_one, route is self.audio
        if audio:
            sent = send_one(packet, self.payload_types[1], broadcast.audio.ssrc, route)
        elif broadcast.waits(self) or not self._is_of_use(route, packet):
            return True
        elif self._rtx is not None:
            rtx = self._rtx
            sent = send_one(rtx.wrap(packet, route.offset), rtx.payload_type, rtx.ssrc, rtx.route)
        else:
            sent = send_one(packet, self.payload_types[0], broadcast.video.ssrc, route)
        self.resent += sent
        return sent

    def _is_of_use(self, route: Route, packet: OutPacket) -> bool:
        """Whether the route of a packet of video is one of now."""
        if route is self.video:
            return packet.index >= self._first["video"]
        return self._before is not None and route is self._before.route

    def _may_skip(self, now: float) -> bool:
        """Whether what its link can't carry is what it has now, and not a probe or a layer before."""
        settled = self.probe is None and self.link.settled(now)
        return settled and self._patience.may_skip(now)

    def _skip(self, now: float) -> None:
        """To a lower layer; where there is none, to the next keyframe."""
        self.skips += 1
        self._overflow.forget()
        ladder = self.broadcast.ladder
        if (target := ladder.lower(self, now)) is not None:
            self._patience.on_fall(now)
            ladder.fall(self, target)
        else:
            self._patience.on_skip(now)
            self.broadcast.skip_to_keyframe(self)

    def may_ask(self, now: float) -> bool:
        """Whether a keyframe may be asked for on this viewer's account; then not again for a while."""
        return self._patience.may_ask(now)

    def may_begin(self, media_s: float, now: float) -> bool:
        """Whether video may go on with a keyframe of this media time: later than what was shown."""
        return media_s > self.shown_s and self._patience.may_begin(now)


def _number(sequence: int, newest: int) -> int:
    """The number on the wire, wraps counted, that a viewer means by 16 bits of it."""
    number = (newest & ~0xFFFF) | sequence
    return number if number <= newest else number - 0x10000
