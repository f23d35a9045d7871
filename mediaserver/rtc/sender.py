"""The batch sender: one frame to many viewers, as few Python steps and system calls as can be.

Performance-critical and therefore dense; measured by `hawker bench fanout`.

A `Batch` is a frame (or a paced piece of one) laid out once: the RTP headers, shared by all viewers of
a cohort, stand in one buffer, and each viewer only fills the slices between them with its own
ciphertext. SRTP with AEAD_AES_128_GCM (RFC 7714 §8.1): nonce = salt XOR (SSRC, ROC, SEQ), the header
is the associated data. Packets of equal size (the last may be shorter) leave by one sendmsg with
UDP_SEGMENT; a lone packet and audio go out plainly. A viewer with a sequence offset of its own gets its
own headers; a viewer that only knows AES_CM goes through libsrtp, packet by packet.

Under one key an SRTP index is never used for other bytes: a batch sent again, and a retransmission,
are the same bytes, and the offset of a route never changes; who goes on after a long skip gets another
route, whose numbers follow the old one's.

What can go wrong while sending: EIO or EINVAL mean that this route can't do GSO, so it falls back to
one sendto per packet; EAGAIN parks the batch where it stands until the socket is writable; anything
else costs this viewer this batch and is counted. The loop is held for PASS_S at a time, and what waits
longer than BACKLOG_S is dropped, so that a socket that never drains costs no memory.

What viewers ask for again is sent in the same passes: MEND_S of each before what is live, so that
neither keeps the other waiting, and whatever time is left after it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mediaserver.rtc.srtp import Srtp

Address = tuple[str, int]

TAG_BYTES = 16
HEADER_BYTES = 12
UDP_SEGMENT = 103  # linux/udp.h
GSO_SEGMENTS = 64  # UDP_MAX_SEGMENTS
GSO_BYTES = 65_507
PASS_S = 0.002  # the longest the loop is held
SLICE_S = 0.00125  # the sender's share of it; packetising and the last viewers have the rest
MEND_S = 0.0004  # of a slice, for retransmissions: 50 or so
CHECK_PACKETS = 64  # between two looks at the clock: 0.1 ms
BACKLOG_S = 0.25  # a batch older than this is no longer live: its viewers mend by NACK
_HEADER = struct.Struct("!BBHII")
_NO_GSO = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
_RETRY = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})


@dataclass(slots=True)
class OutPacket:
    """One RTP packet before its header: `index` counts on over the 16-bit wrap (ROC and SEQ)."""

    index: int
    timestamp: int
    payload: bytes
    marker: bool
    padding: bool
    at: float  # monotonic seconds when it was made
    media_s: float  # decode time on the media timeline
    starts_keyframe: bool

    def header(self, payload_type: int, ssrc: int, offset: int = 0) -> bytes:
        return _HEADER.pack(
            0xA0 if self.padding else 0x80,
            payload_type | 0x80 if self.marker else payload_type,
            (self.index + offset) & 0xFFFF,
            self.timestamp,
            ssrc,
        )


class Route:
    """How one SSRC reaches one viewer: address, key, and what its numbering differs by.

    `rollover` is the cohort's roll-over count at the join, so that the viewer begins at 0. `offset` is
    added to the cohort's indices; when it is not 0 the viewer has headers of its own.
    """

    __slots__ = ("address", "aead", "encrypt", "gso", "offset", "rollover", "salt", "srtp")

    def __init__(self, srtp: Srtp, address: Address, first_index: int, offset: int = 0) -> None:
        self.address = address
        self.srtp = srtp
        self.aead = srtp.aead
        self.encrypt = srtp.aead.encrypt_into if srtp.aead else None
        self.salt = srtp.salt
        self.offset = offset
        self.rollover = (first_index + offset) & ~0xFFFF
        self.gso = sys.platform == "linux" and srtp.aead is not None

    @property
    def shared(self) -> bool:
        return self.offset == 0 and self.aead is not None

    def resumed(self, index: int, paused_at: int) -> Route:
        """The route for going on at `index` with the number that `paused_at` would have had.

        A new one, so that batches in flight keep their numbers.
        """
        route = Route(self.srtp, self.address, index, self.offset + paused_at - index)
        route.rollover = self.rollover
        route.gso = self.gso
        return route


class Run:
    """Packets that leave together: all of one size but the last."""

    __slots__ = ("ancillary", "items", "segments", "view")

    def __init__(
        self,
        view: memoryview,
        segments: list[memoryview],
        items: list[tuple[int, bytes, bytes, memoryview]],
        segment_bytes: int,
    ) -> None:
        self.view = view
        self.segments = segments
        self.items = items  # (ssrc << 48 | index, header, payload, where the ciphertext goes)
        self.ancillary: list[tuple[int, int, bytes]] | None = None
        if len(segments) > 1:
            size = struct.pack("=H", segment_bytes)
            self.ancillary = [(socket.IPPROTO_UDP, UDP_SEGMENT, size)]


def lay_out(packets: Sequence[OutPacket], payload_type: int, ssrc: int) -> list[Run]:
    """Put the headers of `packets` in one buffer and cut it into runs that GSO can send."""
    sizes = [HEADER_BYTES + len(packet.payload) + TAG_BYTES for packet in packets]
    buffer = memoryview(bytearray(sum(sizes)))
    runs: list[Run] = []
    high = ssrc << 48
    first = position = 0
    while first < len(packets):
        size = sizes[first]
        limit = min(first + GSO_SEGMENTS, first + GSO_BYTES // size, len(packets))
        last = first + 1
        while last < limit and sizes[last] <= size:
            last += 1
            if sizes[last - 1] < size:
                break
        start = position
        segments: list[memoryview] = []
        items: list[tuple[int, bytes, bytes, memoryview]] = []
        for number in range(first, last):
            packet = packets[number]
            end = position + sizes[number]
            segment = buffer[position:end]
            header = packet.header(payload_type, ssrc)
            segment[:HEADER_BYTES] = header
            segments.append(segment)
            items.append((high | packet.index, header, packet.payload, segment[HEADER_BYTES:]))
            position = end
        runs.append(Run(buffer[start:position], segments, items, size))
        first = last
    return runs


def _protect(packet: OutPacket, payload_type: int, ssrc: int, route: Route) -> bytes:
    """The datagram of one packet for one viewer: the same bytes as those of a batch."""
    header = packet.header(payload_type, ssrc, route.offset)
    if route.aead is None:
        return route.srtp.protect(header + packet.payload)
    index = packet.index + route.offset - route.rollover
    nonce = (route.salt ^ (ssrc << 48 | index)).to_bytes(12, "big")
    return header + route.aead.encrypt(nonce, packet.payload, header)


class Batch:
    """Runs on their way to routes, and how far they got."""

    __slots__ = (
        "begun", "count", "done", "made_at", "octets", "routes", "run", "runs", "segment", "start",
    )  # fmt: skip

    def __init__(
        self, runs: list[Run], routes: Sequence[Route], start: int, made_at: float
    ) -> None:
        self.runs = runs
        self.routes = routes
        self.start = start  # who comes first: rotated, so that nobody is always last
        self.done = 0  # routes finished
        self.run = 0  # runs finished of the route being served
        self.segment = 0  # packets of that run that left one by one
        self.made_at = made_at
        self.begun = False
        self.count = sum(len(run.items) for run in runs)
        self.octets = sum(len(run.view) for run in runs)


class Mending(Protocol):
    """A viewer that has asked for packets again."""

    def mend(self, deadline: float) -> bool:
        """Send them by `Sender.send_one` until the deadline; False when some are left."""


class Sender:
    """Sends batches through one non-blocking UDP socket, in order, in slices of PASS_S."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._socket = sock
        self._clock = clock
        self._backlog: deque[Batch] = deque()
        self._mending: deque[Mending] = deque()  # each viewer once
        self._scheduled = False
        self._writer = False
        self._rotation = 0
        self.packets = 0
        self.octets = 0
        self.resent = 0  # of the packets
        self.errors = 0
        self.late_batches = 0
        self.gso_fallbacks = 0
        self.parked = 0
        self.passes = 0
        self.pass_s = 0.0  # by the wall clock
        self.pass_cpu_s = 0.0  # of this thread

    def submit(self, runs: list[Run], routes: Sequence[Route]) -> None:
        """Send `runs` to every route; what doesn't fit in this pass goes on in the next."""
        if not routes or not runs:
            return
        self._rotation += 1
        now = self._clock()
        self._backlog.append(Batch(runs, routes, self._rotation % len(routes), now))
        if not self._scheduled and not self._writer:
            self._pump()
        else:
            self._drop_late(now)

    def mend(self, viewer: Mending) -> None:
        """Have a viewer mended from the loop's next turn on; it must not be waiting already."""
        self._mending.append(viewer)
        if not self._scheduled and not self._writer:
            self._yield()

    def send_one(self, packet: OutPacket, payload_type: int, ssrc: int, route: Route) -> bool:
        """Send one packet to one viewer at once: a retransmission. False when it did not leave."""
        try:
            data = _protect(packet, payload_type, ssrc, route)
            self._socket.sendto(data, route.address)
        except OSError:
            self.errors += 1
            return False
        self.packets += 1
        self.resent += 1
        self.octets += len(data)
        return True

    def close(self) -> None:
        """Drop what waits; the socket belongs to the transport."""
        self._backlog.clear()
        self._mending.clear()
        self._unwatch()

    def _pump(self) -> None:
        self._scheduled = False
        began_at, cpu_at = time.perf_counter(), time.thread_time()
        self._pass()
        self.pass_s += time.perf_counter() - began_at
        self.pass_cpu_s += time.thread_time() - cpu_at
        self.passes += 1

    def _pass(self) -> None:
        now = self._clock()
        self._drop_late(now)
        deadline = now + SLICE_S
        if self._mending:
            self._mend(now + MEND_S)
        while self._backlog:
            batch = self._backlog[0]
            batch.begun = True
            if not self._serve(batch, deadline):
                return
            self._backlog.popleft()
            if self._backlog and self._clock() > deadline:
                self._yield()
                return
        if self._mending and not self._mend(deadline):
            self._yield()

    def _mend(self, deadline: float) -> bool:
        """Mend one viewer after the other; False when there is no more time and some are left."""
        while self._mending:
            if self._clock() > deadline:
                return False
            viewer = self._mending.popleft()
            if not viewer.mend(deadline):
                self._mending.append(viewer)
        return True

    def _drop_late(self, now: float) -> None:
        """Drop what has waited too long, but not a batch that some viewers already have."""
        backlog = self._backlog
        begun = backlog.popleft() if backlog and backlog[0].begun else None
        while backlog and now - backlog[0].made_at > BACKLOG_S:
            backlog.popleft()
            self.late_batches += 1
        if begun is not None:
            backlog.appendleft(begun)

    def _serve(self, batch: Batch, deadline: float) -> bool:
        """Send on; False when the batch has to wait for time or for the socket."""
        routes, runs = batch.routes, batch.runs
        total = len(routes)
        check_every = max(1, CHECK_PACKETS // batch.count)
        position = batch.start + batch.done
        sendmsg = self._socket.sendmsg
        while batch.done < total:
            route = routes[position % total]
            try:
                if route.shared and route.gso:
                    address, encrypt = route.address, route.encrypt
                    key = route.salt
                    base = route.rollover
                    while batch.run < len(runs):
                        run = runs[batch.run]
                        for index, header, payload, out in run.items:
                            encrypt(  # type: ignore[misc]
                                (key ^ (index - base)).to_bytes(12, "big"), payload, header, out
                            )
                        sendmsg((run.view,), run.ancillary or (), 0, address)
                        batch.run += 1
                else:
                    while batch.run < len(runs):
                        self._send_run(runs[batch.run], route, batch)
                        batch.run += 1
                        batch.segment = 0
            except OSError as exc:
                if exc.errno in _RETRY:
                    self._park()
                    return False
                if exc.errno in _NO_GSO and route.gso and runs[batch.run].ancillary:
                    route.gso = False
                    self.gso_fallbacks += 1
                    continue
                self.errors += 1
            else:
                self.packets += batch.count
                self.octets += batch.octets
            batch.run = batch.segment = 0
            batch.done += 1
            position += 1
            if (
                (batch.done % check_every == 0 or not route.shared)
                and batch.done < total
                and self._clock() > deadline
            ):
                self._yield()
                return False
        return True

    def _send_run(self, run: Run, route: Route, batch: Batch | None = None) -> None:
        """One run by the per-viewer path: own headers, no GSO, or libsrtp.

        Where packets leave one by one, `batch.segment` counts them: after EAGAIN the rest follows.
        """
        if route.encrypt is None:
            self._send_protected(run, route, batch)
            return
        for number, (index, header, payload, out) in enumerate(run.items):
            own = header
            if route.offset:
                index += route.offset
                own = header[:2] + (index & 0xFFFF).to_bytes(2, "big") + header[4:]
                run.segments[number][:HEADER_BYTES] = own
            nonce = (route.salt ^ (index - route.rollover)).to_bytes(12, "big")
            route.encrypt(nonce, payload, own, out)
        try:
            if route.gso and run.ancillary:
                self._socket.sendmsg((run.view,), run.ancillary, 0, route.address)
            else:
                for segment in run.segments[batch.segment if batch else 0 :]:
                    self._socket.sendto(segment, route.address)
                    if batch is not None:
                        batch.segment += 1
        finally:
            if route.offset:
                for number, item in enumerate(run.items):
                    run.segments[number][:HEADER_BYTES] = item[1]

    def _send_protected(self, run: Run, route: Route, batch: Batch | None) -> None:
        protect, offset = route.srtp.protect, route.offset
        for index, header, payload, _ in run.items[batch.segment if batch else 0 :]:
            if offset:
                sequence = (index + offset) & 0xFFFF
                header = header[:2] + sequence.to_bytes(2, "big") + header[4:]
            self._socket.sendto(protect(header + payload), route.address)
            if batch is not None:
                batch.segment += 1

    def _yield(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._pump)

    def _park(self) -> None:
        self.parked += 1
        if not self._writer:
            self._writer = True
            asyncio.get_running_loop().add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        self._unwatch()
        self._pump()

    def _unwatch(self) -> None:
        if self._writer:
            self._writer = False
            asyncio.get_running_loop().remove_writer(self._socket.fileno())
