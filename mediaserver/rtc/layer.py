"""One rendition's video as RTP: packetised once, numbered once, paced, and sent to cohorts.

Viewers of a layer who share a payload type form a cohort, for which headers are built once per packet.
A joiner starts at the keyframe of the cached group of pictures, sent at three times real time, and
moves into its cohort when it has caught up; where the group is too long or too large to replay, it
waits for the next keyframe. Joiners who are at the same picture are served together: the more there
are, the less each costs, so that a thousand who come at once do catch up. A keyframe that more wait for
than begin in one turn of the loop is held back until all of them have begun. Nothing is ever
renumbered: a keyframe followed by a jump would leave references missing that draw no picture loss
indication.

A viewer that moves to another layer follows its old one until there is a keyframe of the new one, its
cut: it gets the old layer's pictures up to the cut and the new layer's from there, so that no picture is
missing, doubled or out of order however far one layer is behind the other. While it follows, it gets
no picture that the new layer has not come to yet: the cut may be there.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mediaserver.media import Packet, Track
from mediaserver.protocol.rtp_video import packetize
from mediaserver.rtc.line import Line
from mediaserver.rtc.sender import (
    HEADER_BYTES,
    SLICE_S,
    TAG_BYTES,
    Cohort,
    OutPacket,
    Route,
    Run,
    Sender,
    lay_out,
)
from mediaserver.rtc.wishes import Wishes

if TYPE_CHECKING:
    from mediaserver.rtc.viewer import Viewer

DATAGRAM_BYTES = 1216  # 53 of them are the most that one GSO send takes; passes every usual path
MAX_PAYLOAD_BYTES = DATAGRAM_BYTES - HEADER_BYTES - TAG_BYTES
GROUP_PACKETS = 16  # what leaves back to back
TICK_S = 0.0025
DRAIN_TICKS = 8  # a keyframe is spread over at most 20 ms
CATCH_UP_SPEED = 3.0
CATCH_UP_PACKETS = 12  # per tick: 45 Mbit/s at most
REPLAYS = 512  # pieces laid out for joiners and followers: 7 MB at most
LATE_S = 0.1  # a keyframe is held back no longer: a thousand viewers begin in a tenth of this
HOLD_S = 1.0  # a layer further behind than this is not waited for


@dataclass(frozen=True, slots=True)
class Cut:
    """The keyframe at which a viewer begins a layer."""

    index: int
    media_s: float
    at: float  # monotonic seconds when it came


class Layer:
    """One rendition and the viewers who get its pictures, wait for them, or are about to."""

    def __init__(
        self,
        name: str,
        line: Line,
        sender: Sender,
        request_keyframe: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """`name` is the rendition's suffix, empty for the source."""
        self.name = name
        self.line = line
        self.clock = clock
        self.wishes = Wishes(request_keyframe, clock)
        self.track: Track | None = None
        self.viewers: set[Viewer] = set()  # each of them is in one of the next, or in its cohort
        self.waiting: set[Viewer] = set()
        self.joiners: set[Viewer] = set()
        self.followers: set[Viewer] = set()
        self.coming: set[Viewer] = set()  # those who follow another layer meanwhile
        self.running = False  # whether somebody reads the rendition and feeds this
        self.on_wanted: Callable[[], None] = lambda: None
        self.wanted_until = 0.0
        self.fed_at = clock()  # or begun
        self.reached_s = math.inf  # media time of its newest picture, once there is one
        self.cohorts: dict[int, Cohort] = {}  # by payload type
        self._sender = sender
        self._pending: deque[OutPacket] = deque()
        self._late: deque[Viewer] = deque()  # of those who wait, whose keyframe has come
        self._admitted_at = 0.0
        self._turn = 0  # which joiners come first
        self._replays: dict[tuple[int, int, int], list[Run]] = {}
        self._timer: asyncio.TimerHandle | None = None

    # -- whether it is needed --------------------------------------------------------------------

    def want(self, seconds: float = 0.0) -> None:
        """See that the rendition is read, for so long at least."""
        self.wanted_until = max(self.wanted_until, self.clock() + seconds)
        if not self.running:
            self.on_wanted()

    def wanted(self, now: float) -> bool:
        return bool(self.viewers or self.coming or now < self.wanted_until)

    def heard(self, since: float) -> bool:
        """Whether pictures have come since then."""
        return self.running and self.reached_s < math.inf and self.fed_at > since

    def begin(self) -> None:
        """The rendition is read from now on."""
        self.running = True
        self.fed_at = self.clock()
        self.reached_s = math.inf

    def stop(self) -> None:
        """It is read no longer; what comes after a new beginning does not follow on."""
        self.running = False
        self._pending.clear()
        self._replays.clear()
        self.line.stop()

    # -- what comes in ---------------------------------------------------------------------------

    def feed(self, packet: Packet) -> None:
        """Packetise one picture and send it on its way; raises ProtocolError."""
        payloads = packetize(packet, MAX_PAYLOAD_BYTES)
        self.fed_at = now = self.clock()
        self.track = packet.track
        line = self.line
        if packet.keyframe:
            self._release_pending(len(self._pending))
            self._replays.clear()
        frame = line.append(packet, payloads, now)
        line.last_pts = packet.pts
        self.reached_s = line.last_media_s
        if packet.keyframe and frame:
            self._admit(frame[0], now)
        self._pending.extend(frame)
        for layer in {viewer.layer for viewer in self.coming}:
            layer._arm()
        self._release_group()

    def _admit(self, first: OutPacket, now: float) -> None:
        """A keyframe: those who wait begin with it, those who come have their cut."""
        cut = Cut(first.index, first.media_s, now)
        for viewer in self.coming:
            if viewer.cut is None and viewer.shown_s < cut.media_s:
                viewer.cut = cut
        self._late.clear()
        self._admitted_at = now
        begun: list[Viewer] = []
        for viewer in [each for each in self.waiting if each.may_begin(first.media_s, now)]:
            if self.clock() - now > SLICE_S:
                self._late.append(viewer)
                continue
            self.waiting.discard(viewer)
            viewer.begin_video(self.line, first.index, self.line.keyframe_octets)
            begun.append(viewer)
        self._enter(begun)
        uncut = {viewer for viewer in self.coming if viewer.cut is None}
        self.wishes.open &= self.waiting | uncut  # the others have what they asked for

    # -- who watches -----------------------------------------------------------------------------

    def join(self, viewer: Viewer) -> None:
        """A viewer starts: from the cached keyframe or the next one."""
        self.viewers.add(viewer)
        self.want()
        if not self.line.replayable():
            self.wait(viewer)
            return
        start = self.line.ring[self.line.keyframe_index]
        self._catch_up_from(viewer, start.index, start.media_s, self.line.keyframe_octets)

    def wait(self, viewer: Viewer) -> None:
        """No video until the next keyframe."""
        self.viewers.add(viewer)
        self.want()
        self.waiting.add(viewer)
        self.wishes.add(viewer)

    def skip(self, viewer: Viewer) -> None:
        """A viewer whose link can't carry this any longer: no video until the next keyframe."""
        if viewer not in self.waiting:
            self._pause(viewer)
            self.wait(viewer)

    def follow(self, viewer: Viewer, target: Layer) -> None:
        """Let a viewer go over to `target` with its next keyframe."""
        viewer.position = self.sent(viewer)
        self.joiners.discard(viewer)
        self._leave_cohort(viewer)
        viewer.target, viewer.cut = target, None
        viewer.shown_s = self._shown_s(viewer.position)
        self.followers.add(viewer)
        target.coming.add(viewer)
        target.want()
        target.wishes.add(viewer)
        self._arm()

    def stay(self, viewer: Viewer) -> None:
        """A viewer that was to go over goes on here after all."""
        if viewer in self.followers:
            self._unfollow(viewer)
            viewer.catch_up_from(viewer.position, self.line.last_media_s, self.clock())
            self.joiners.add(viewer)
            self._arm()

    def remove(self, viewer: Viewer) -> None:
        """A viewer leaves, for good or for another layer; batches in flight may still reach it."""
        if viewer in self.viewers:
            if viewer not in self.waiting:
                self._pause(viewer)
            self.viewers.discard(viewer)
            self.waiting.discard(viewer)
        self.wishes.discard(viewer)

    def sent(self, viewer: Viewer) -> int:
        """The index after the last one that was sent to a viewer of this layer."""
        apart = viewer in self.joiners or viewer in self.followers
        return viewer.position if apart else self.line.released

    def close(self) -> None:
        self.wishes.close()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._pending.clear()

    @property
    def pixels(self) -> int:
        """Of a picture; 0 while that is not known."""
        return self.track.width * self.track.height if self.track is not None else 0

    def housekeep(self, now: float) -> None:
        """About once a second: rate and ring."""
        if self.running:
            self.line.measure(now)
        self.prune(now)

    def prune(self, now: float) -> None:
        """Let go of what nobody can ask for any more."""
        apart = self.joiners | self.followers if self.followers else self.joiners
        positions: Iterable[int] = (viewer.position for viewer in apart)
        if self.coming:
            cuts = [viewer.cut.index for viewer in self.coming if viewer.cut is not None]
            positions = [*positions, *cuts]
        self.line.prune(now, min(positions, default=self.line.next_index))

    def _pause(self, viewer: Viewer) -> None:
        sent = self.sent(viewer)
        viewer.shown_s = max(viewer.shown_s, self._shown_s(sent))
        self._unfollow(viewer)
        self.joiners.discard(viewer)
        self._leave_cohort(viewer)
        viewer.pause_video(sent, self.line.octets - self.line.octets_from(sent))

    def _unfollow(self, viewer: Viewer) -> None:
        self.followers.discard(viewer)
        if viewer.target is not None:
            viewer.target.coming.discard(viewer)
            viewer.target.wishes.discard(viewer)
        viewer.target = viewer.cut = None

    def _shown_s(self, position: int) -> float:
        last = self.line.ring.get(position - 1)
        return last.media_s if last is not None else self.line.last_media_s

    def _enter(self, viewers: Iterable[Viewer]) -> None:
        entering: dict[int, list[Route]] = {}
        for viewer in viewers:
            if viewer.video is not None:
                entering.setdefault(viewer.payload_types[0], []).append(viewer.video)
        for payload_type, routes in entering.items():
            self.cohorts[payload_type] = Cohort((*self.cohorts.get(payload_type, ()), *routes))

    def _leave_cohort(self, viewer: Viewer) -> None:
        payload_type, own = viewer.payload_types[0], viewer.video
        routes = self.cohorts.get(payload_type, ())
        if own in routes:
            rest = self.cohorts[payload_type] = Cohort([each for each in routes if each is not own])
            if not rest:
                del self.cohorts[payload_type]

    # -- what goes out ---------------------------------------------------------------------------

    def _release(self, packets: Sequence[OutPacket]) -> None:
        line = self.line
        line.released = packets[-1].index + 1
        for payload_type, routes in self.cohorts.items():
            self._sender.submit(lay_out(packets, payload_type, line.ssrc), routes)
        self.prune(packets[-1].at)
        if self.followers:
            self._arm()

    def _release_group(self) -> None:
        if self._late and self.clock() - self._admitted_at < LATE_S:
            self._arm()
            return
        self._release_pending(max(GROUP_PACKETS, -(-len(self._pending) // DRAIN_TICKS)))
        if self._pending or self._late:
            self._arm()

    def _release_pending(self, count: int) -> None:
        pending = self._pending
        group = [pending.popleft() for _ in range(min(count, len(pending)))]
        if group:
            self._release(group)

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.clock()
        self._begin_late(now)
        self._release_group()
        if self._serve_apart(now) or self._late or self.joiners:
            self._arm()

    def _begin_late(self, now: float) -> None:
        """Those whose keyframe came in a turn of the loop that had too many of them."""
        line = self.line
        begun: list[Viewer] = []
        while self._late and self.clock() - now < SLICE_S:
            viewer = self._late.popleft()
            start = line.ring.get(line.keyframe_index)
            if viewer in self.waiting and start is not None:
                self.waiting.discard(viewer)
                self.wishes.discard(viewer)
                viewer.begin_video(line, start.index, line.keyframe_octets)
                viewer.catch_up_from(start.index, start.media_s, now)
                begun.append(viewer)
        if line.released <= line.keyframe_index:
            self._enter(begun)
        else:
            self.joiners.update(begun)

    def _serve_apart(self, now: float) -> bool:
        """One step for each follower, and for the joiners of each picture, or for as many as fit in a
        pass; the others come first next time. Whether there is more to do."""
        steps: list[list[Viewer]] = [[each] for each in self.followers]
        if not self._sender.behind:
            steps += self._abreast()
        more = False
        for number in range(len(steps)):
            viewers = steps[(self._turn + number) % len(steps)]
            if viewers[0] in self.followers:
                more |= self._follow(viewers[0], now)
            else:
                self._catch_up(viewers, now)
            if self.clock() - now > SLICE_S:
                self._turn += number + 1
                return True
        return more

    def _abreast(self) -> Iterable[list[Viewer]]:
        """The joiners, together with whom else is at the same packet."""
        places: dict[tuple[int, int], list[Viewer]] = {}
        for viewer in self.joiners:
            places.setdefault((viewer.payload_types[0], viewer.position), []).append(viewer)
        return places.values()

    def _catch_up_from(self, viewer: Viewer, index: int, media_s: float, octets: int) -> None:
        now = self.clock()
        viewer.begin_video(self.line, index, octets)
        viewer.catch_up_from(index, media_s, now)
        self.joiners.add(viewer)
        self._catch_up([viewer], now)
        if viewer in self.joiners:
            self._arm()

    def _catch_up(self, viewers: Sequence[Viewer], now: float) -> None:
        """Send joiners at one packet what is due to the first; then they may be none any more."""
        due_s = max(
            each.catch_up_media_s + CATCH_UP_SPEED * (now - each.catch_up_began) for each in viewers
        )
        if not self._send_apart(viewers, lambda packet: packet.media_s <= due_s):
            return
        if viewers[0].position >= self.line.released:
            self.joiners.difference_update(viewers)
            self._enter(viewers)

    def _follow(self, viewer: Viewer, now: float) -> bool:
        """Send what is due to a follower, and let it go at its cut; True when there is more to do."""
        line, target, cut = self.line, viewer.target, viewer.cut
        assert target is not None
        begun = viewer.position

        def due(packet: OutPacket) -> bool:
            if cut is not None:
                return packet.media_s < cut.media_s
            return packet.media_s <= target.reached_s or packet.at <= now - HOLD_S

        if not self._send_apart([viewer], due):
            return False
        if viewer.position > begun:
            viewer.shown_s = self._shown_s(viewer.position)
            return True
        if cut is None:
            return viewer.position < line.released  # until it has been held for long enough
        following = line.ring.get(viewer.position)
        if following is None:
            passed = now - cut.at > HOLD_S
        else:
            passed = following.media_s >= cut.media_s
        if passed:
            self._hand_over(viewer, target, cut)
        return not passed

    def _hand_over(self, viewer: Viewer, target: Layer, cut: Cut) -> None:
        self.remove(viewer)
        target.viewers.add(viewer)
        viewer.on_layer(target, kept=True)
        if cut.index == target.line.keyframe_index and cut.index in target.line.ring:
            octets = target.line.keyframe_octets
        elif cut.index in target.line.ring:
            octets = target.line.octets - target.line.octets_from(cut.index)
        else:
            target.wait(viewer)
            return
        target._catch_up_from(viewer, cut.index, cut.media_s, octets)

    def _send_apart(self, viewers: Sequence[Viewer], due: Callable[[OutPacket], bool]) -> bool:
        """Send viewers at one packet the rest of the picture, if due; False when the ring has let go."""
        line, position = self.line, viewers[0].position
        packets: list[OutPacket] = []
        while position < line.released and len(packets) < CATCH_UP_PACKETS:
            packet = line.ring.get(position)
            if packet is None:  # let go of meanwhile: the ring is bounded
                self._skip_some(viewers)
                return False
            if not due(packet):
                break
            packets.append(packet)
            position += 1
            if packet.marker:  # so that all stop at the same packets
                break
        if packets:
            for viewer in viewers:
                viewer.position = position
            routes = [each.video for each in viewers if each.video is not None]
            self._sender.submit(self._replay(packets, viewers[0].payload_types[0]), routes)
        return True

    def _skip_some(self, viewers: Sequence[Viewer]) -> None:
        """As many as fit in a pass; the others when their turn comes again."""
        began_at = self.clock()
        for viewer in viewers:
            self.skip(viewer)
            if self.clock() - began_at > SLICE_S:
                return

    def _replay(self, packets: Sequence[OutPacket], payload_type: int) -> list[Run]:
        """Laid out once for all who need it."""
        key = payload_type, packets[0].index, len(packets)
        runs = self._replays.get(key)
        if runs is None:
            if len(self._replays) >= REPLAYS:
                self._replays.clear()
            runs = self._replays[key] = lay_out(packets, payload_type, self.line.ssrc)
        return runs
