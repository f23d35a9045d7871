"""The batch sender: one frame to many viewers, as few Python steps and system calls as can be.

Performance-critical and therefore dense; measured by `hawker bench fanout`.

A `Batch` is a frame (or a paced piece of one) laid out once: the RTP headers, shared by all viewers of
a cohort, stand in one buffer, and each viewer only fills the slices between them with its own
ciphertext. SRTP with AEAD_AES_128_GCM (RFC 7714 §8.1): nonce = salt XOR (SSRC, ROC, SEQ), the header
is the associated data. Packets of equal size (the last may be shorter) leave by one sendmsg with
UDP_SEGMENT; a lone packet and audio go out plainly. A viewer with a sequence offset of its own gets its
own headers; a viewer that only knows AES_CM goes through libsrtp, packet by packet.

Headers and nonces are 12 bytes each, and those of a whole run are made at once, by arithmetic on one
large integer in which each has a lane of 96 bits: what is added to a run, or XORed with it, is the same
number in every lane. That is half the cost of making them one by one.

Where there is a `Carrier`, the compiled sender, it encrypts and sends instead, with the same bytes and
the same rules; what it can't serve is served here. Headers and buffers that only Python needs are made
when it first sends a run.

Under one key an SRTP index is never used for other bytes: a batch sent again, and a retransmission,
are the same bytes, and the offset of a route never changes; who goes on after a long skip gets another
route, whose numbers follow the old one's.

What can go wrong while sending: EIO or EINVAL mean that this route can't do GSO, so it falls back to
one sendto per packet; EAGAIN parks the batch where it stands until the socket is writable; anything
else costs this viewer this batch and is counted. The loop is held for PASS_S at a time, and what waits
longer than BACKLOG_S is dropped, so that a socket that never drains costs no memory; where it is the
machine that has no time, it is BUSY_BACKLOG_S.

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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

from mediaserver.rtc.address import Address, TcpAddress
from mediaserver.rtc.srtp import Srtp

TAG_BYTES = 16
HEADER_BYTES = 12
UDP_SEGMENT = 103  # linux/udp.h
GSO_SEGMENTS = 64  # UDP_MAX_SEGMENTS
GSO_BYTES = 65_507
PASS_S = 0.002  # the longest the loop is held
SLICE_S = 0.001  # the sender's share of it; packetising and the last viewers have the rest
MEND_S = 0.0004  # of a slice, for retransmissions: 50 or so
CHECK_PACKETS = 64  # between two looks at the clock: 0.1 ms
LATE_S = 0.1  # a backlog as old as this is worked off ...
LATE_SLICE_S = 0.008  # ... in longer slices: whoever holds the loop meanwhile holds it for longer
NOT_OURS = -1  # what a carrier says of a route that it can't serve
BACKLOG_S = 0.25  # a batch that a full socket kept for longer is dropped: its viewers mend by NACK
BUSY_BACKLOG_S = 0.5  # one that a busy machine kept: to mend it would cost more than to send it
_HEADER = struct.Struct("!BBHII")
LANE_BYTES = 12  # of a header, and of a nonce
LANE_BITS = 8 * LANE_BYTES
# by the number of lanes: a 1 in each of them, and what cuts them apart
_ONES = tuple(
    sum(1 << LANE_BITS * lane for lane in range(count)) for count in range(GSO_SEGMENTS + 1)
)
_CUTS = tuple(struct.Struct(f"{LANE_BYTES}s" * count).unpack for count in range(GSO_SEGMENTS + 1))
_SEQUENCE_BIT = 64  # of a header's lane, where the sequence number begins
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


class Leg(Protocol):
    """What a carrier knows of a route."""

    gso: int

    def move(self, address: Address) -> None:
        """Send to another address from now on, or nothing where that one is not for a carrier."""


class Route:
    """How one SSRC reaches one viewer: address, key, and what its numbering differs by.

    `rollover` is the cohort's roll-over count at the join, so that the viewer begins at 0. `offset` is
    added to the cohort's indices; when it is not 0 the viewer has headers of its own. `transmit` is
    where packets go instead of the UDP socket, one by one, for a viewer over TCP.
    """

    __slots__ = (
        "address", "aead", "encrypt", "gso", "leg", "offset", "rollover", "salt", "srtp", "transmit",
    )  # fmt: skip

    def __init__(self, srtp: Srtp, address: Address, first_index: int, offset: int = 0) -> None:
        self.srtp = srtp
        self.aead = srtp.aead
        self.encrypt = srtp.aead.encrypt_into if srtp.aead else None
        self.salt = srtp.salt
        self.offset = offset
        self.rollover = (first_index + offset) & ~0xFFFF
        self.leg: Leg | None = None  # a carrier's; kept, since batches on their way point at it
        self.move(address)

    def move(self, address: Address) -> None:
        """From now on the viewer is there."""
        self.address = address
        over_tcp = isinstance(address, TcpAddress)
        self.transmit = address.connection.transmit if isinstance(address, TcpAddress) else None
        self.gso = sys.platform == "linux" and self.aead is not None and not over_tcp
        if self.leg is not None:
            self.leg.gso = self.gso
            self.leg.move(address)

    def give_up_gso(self) -> None:
        self.gso = False
        if self.leg is not None:
            self.leg.gso = False

    def resumed(self, index: int, paused_at: int) -> Route:
        """The route for going on at `index` with the number that `paused_at` would have had.

        A new one, so that batches in flight keep their numbers.
        """
        route = Route(self.srtp, self.address, index, self.offset + paused_at - index)
        route.rollover = self.rollover
        route.gso = self.gso
        return route


class Cohort(list[Route]):
    """Routes that get the same batches; replaced, never changed, since batches hold it."""

    __slots__ = ("laid",)

    def __init__(self, routes: Iterable[Route]) -> None:
        super().__init__(routes)
        self.laid: Any = None  # what a carrier made of it


class Run:
    """Packets that leave together: all of one size but the last; `octets` is that of all as sent.

    What Python needs for sending is made when it first does: `number` makes the headers, `open` the
    buffer.
    """

    __slots__ = (
        "ancillary", "count", "cut", "headers", "heads", "indices", "lane_bytes", "lanes", "octets",
        "ones", "outs", "packets", "payload_type", "payloads", "plan", "ssrc", "stamped", "view",
    )  # fmt: skip

    def __init__(self, packets: Sequence[OutPacket], payload_type: int, ssrc: int) -> None:
        self.packets = packets
        self.payload_type = payload_type
        self.ssrc = ssrc
        self.count = len(packets)
        self.payloads = [packet.payload for packet in packets]
        self.octets = (HEADER_BYTES + TAG_BYTES) * self.count + sum(map(len, self.payloads))
        self.plan: bytes | None = None  # a carrier's
        self.headers: tuple[bytes, ...] = ()
        self.stamped: tuple[bytes, ...] = ()  # the headers that stand in the buffer

    def number(self) -> None:
        """Make the headers that all viewers but those with an offset share."""
        self.indices = [packet.index for packet in self.packets]
        self.headers = tuple([each.header(self.payload_type, self.ssrc) for each in self.packets])

    def open(self) -> None:
        """Lay out the buffer: headers stand in it, ciphertext goes between them."""
        if not self.headers:
            self.number()
        self.ancillary: list[tuple[int, int, bytes]] | tuple[()] = ()
        if self.count > 1:
            size = struct.pack("=H", HEADER_BYTES + len(self.payloads[0]) + TAG_BYTES)
            self.ancillary = [(socket.IPPROTO_UDP, UDP_SEGMENT, size)]
        self.view = buffer = memoryview(bytearray(self.octets))
        self.heads: list[memoryview] = []
        self.outs: list[memoryview] = []
        position = 0
        for payload in self.payloads:
            end = position + HEADER_BYTES + len(payload) + TAG_BYTES
            self.heads.append(buffer[position : position + HEADER_BYTES])
            self.outs.append(buffer[position + HEADER_BYTES : end])
            position = end
        lanes = 0
        for index in self.indices:
            lanes = lanes << LANE_BITS | self.ssrc << 48 | index
        self.lanes = lanes  # nonces before salt, roll-over and offset
        self.ones = _ONES[self.count]
        self.cut = _CUTS[self.count]  # lanes as bytes to a tuple of each
        self.lane_bytes = LANE_BYTES * self.count
        self.stamp(self.headers)

    @property
    def segments(self) -> list[memoryview]:
        """The packets in the buffer."""
        ends = list(accumulate(HEADER_BYTES + len(out) for out in self.outs))
        return [self.view[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def own_headers(self, offset: int) -> tuple[bytes, ...]:
        """The headers of a viewer whose numbers differ by `offset`."""
        if not offset:
            return self.headers
        first = self.indices[0] & 0xFFFF
        own = first + offset & 0xFFFF
        if max(first, own) + self.indices[-1] - self.indices[0] < 0x10000:
            lanes = int.from_bytes(b"".join(self.headers), "big")
            lanes += (own - first << _SEQUENCE_BIT) * _ONES[self.count]
            return _CUTS[self.count](lanes.to_bytes(LANE_BYTES * self.count, "big"))
        return tuple(  # over the wrap a lane would carry into what stands before the number
            [
                header[:2] + (index + offset & 0xFFFF).to_bytes(2, "big") + header[4:]
                for header, index in zip(self.headers, self.indices, strict=True)
            ]
        )

    def stamp(self, headers: tuple[bytes, ...]) -> None:
        """Put these headers into the buffer."""
        self.stamped = headers
        for head, header in zip(self.heads, headers, strict=True):
            head[:] = header


def lay_out(packets: Sequence[OutPacket], payload_type: int, ssrc: int) -> list[Run]:
    """Cut `packets`, whose indices go up, into runs that GSO can send."""
    sizes = [len(packet.payload) for packet in packets]
    runs: list[Run] = []
    first = 0
    while first < len(packets):
        size = sizes[first]
        most = GSO_BYTES // (HEADER_BYTES + size + TAG_BYTES)
        limit = min(first + GSO_SEGMENTS, first + most, len(packets))
        last = first + 1
        while last < limit and sizes[last] <= size:
            last += 1
            if sizes[last - 1] < size:
                break
        runs.append(Run(packets[first:last], payload_type, ssrc))
        first = last
    return runs


def protect(packet: OutPacket, payload_type: int, ssrc: int, route: Route) -> bytes:
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
        "work",
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
        self.count = sum([run.count for run in runs])
        self.octets = sum([run.octets for run in runs])
        self.work: Any = None  # a carrier's


class Carrier(Protocol):
    """Encrypts and sends batches faster than Python does."""

    def send(self, batch: Batch, fd: int, limit_s: float) -> int:
        """Serve routes for so long, one system call at least, and note in the batch how far it got.

        0, or why the route that is being served is not: an errno, or NOT_OURS.
        """


class Mending(Protocol):
    """A viewer that has asked for packets again."""

    def mend(self, deadline: float) -> bool:
        """Send them by `Sender.send_one` until the deadline; False when some are left."""


class Sender:
    """Sends batches through one non-blocking UDP socket, in order, in slices of PASS_S."""

    def __init__(
        self,
        sock: socket.socket,
        clock: Callable[[], float] = time.monotonic,
        carrier: Carrier | None = None,
    ) -> None:
        self._socket = sock
        self._clock = clock
        self._carrier = carrier
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

    @property
    def behind(self) -> bool:
        """Whether something that was submitted still waits."""
        return bool(self._backlog)

    def mend(self, viewer: Mending) -> None:
        """Have a viewer mended from the loop's next turn on; it must not be waiting already."""
        self._mending.append(viewer)
        if not self._scheduled and not self._writer:
            self._yield()

    def send_one(self, packet: OutPacket, payload_type: int, ssrc: int, route: Route) -> bool:
        """Send one packet to one viewer at once: a retransmission. False when it did not leave."""
        try:
            data = protect(packet, payload_type, ssrc, route)
            left = self._send_alone(data, route)
        except OSError:
            left = False
        if not left:
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
        deadline = now + self._slice(now)
        if self._mending:
            self._mend(now + MEND_S)
        while self._backlog:
            batch = self._backlog[0]
            batch.begun = True
            if self._carrier is not None:
                served = self._carry(batch, deadline)
            else:
                served = self._serve(batch, deadline, len(batch.routes))
            if not served:
                return
            self._backlog.popleft()
            if self._backlog and self._clock() > deadline:
                self._yield()
                return
        if self._mending and not self._mend(deadline):
            self._yield()

    def _slice(self, now: float) -> float:
        """Longer when a batch gets old because other work holds the loop between the passes."""
        late = bool(self._backlog) and now - self._backlog[0].made_at > LATE_S
        return LATE_SLICE_S if late else SLICE_S

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
        longest = BACKLOG_S if self._writer else BUSY_BACKLOG_S
        begun = backlog.popleft() if backlog and backlog[0].begun else None
        while backlog and now - backlog[0].made_at > longest:
            backlog.popleft()
            self.late_batches += 1
        if begun is not None:
            backlog.appendleft(begun)

    def _serve(self, batch: Batch, deadline: float, end: int) -> bool:
        """Serve routes until `end` are done; False when the batch waits for time or the socket."""
        routes, runs, total = batch.routes, batch.runs, len(batch.routes)
        check_every = max(1, CHECK_PACKETS // batch.count)
        position = batch.start + batch.done
        encrypt, sendmsg = self._encrypt, self._socket.sendmsg
        while batch.done < end:
            route = routes[position % total]
            try:
                while batch.run < len(runs):
                    run = runs[batch.run]
                    if route.gso:
                        encrypt(run, route)
                        sendmsg((run.view,), run.ancillary, 0, route.address)
                    else:
                        self._send_singly(run, route, batch)
                        batch.segment = 0
                    batch.run += 1
            except OSError as exc:
                if not self._failed(batch, route, exc.errno or errno.EIO):
                    return False
                if batch.run < len(runs):
                    continue
            else:
                self.packets += batch.count
                self.octets += batch.octets
            batch.run = batch.segment = 0
            batch.done += 1
            position += 1
            if (
                (batch.done % check_every == 0 or not route.gso)
                and batch.done < total
                and self._clock() > deadline
            ):
                self._yield()
                return False
        return True

    def _carry(self, batch: Batch, deadline: float) -> bool:
        """What `_serve` does for all routes, by the carrier."""
        assert self._carrier is not None
        routes, total, fd = batch.routes, len(batch.routes), self._socket.fileno()
        while batch.done < total:
            before = batch.done
            number = self._carrier.send(batch, fd, deadline - self._clock())
            served = batch.done - before
            self.packets += served * batch.count
            self.octets += served * batch.octets
            if number == NOT_OURS:
                if not self._serve(batch, deadline, batch.done + 1):
                    return False
            elif number:
                route = routes[(batch.start + batch.done) % total]
                if not self._failed(batch, route, number):
                    return False
                if batch.run == len(batch.runs):
                    batch.run = batch.segment = 0
                    batch.done += 1
            if batch.done < total and self._clock() > deadline:
                self._yield()
                return False
        return True

    def _failed(self, batch: Batch, route: Route, number: int) -> bool:
        """What follows an errno: False to wait for the socket; else the rest of the route's runs."""
        if number in _RETRY:
            self._park()
            return False
        if number in _NO_GSO and route.gso and batch.runs[batch.run].count > 1:
            route.give_up_gso()
            self.gso_fallbacks += 1
        else:
            self.errors += 1
            batch.run = len(batch.runs)  # given up
        return True

    def _encrypt(self, run: Run, route: Route) -> None:
        """Fill the run's buffer with the packets of a GCM viewer."""
        if not run.stamped:
            run.open()
        headers = run.headers if not route.offset else run.own_headers(route.offset)
        if run.stamped is not headers:
            run.stamp(headers)
        lanes, shift = run.lanes, route.offset - route.rollover
        if shift:
            lanes += shift * run.ones
        nonces = run.cut((lanes ^ route.salt * run.ones).to_bytes(run.lane_bytes, "big"))
        encrypt = route.encrypt
        for nonce, payload, header, out in zip(nonces, run.payloads, headers, run.outs):  # noqa: B905
            encrypt(nonce, payload, header, out)  # type: ignore[misc]

    def _send_singly(self, run: Run, route: Route, batch: Batch) -> None:
        """One run without GSO, or by libsrtp.

        `batch.segment` counts the packets: after EAGAIN the rest follows.
        """
        if route.encrypt is None:
            self._send_protected(run, route, batch)
            return
        self._encrypt(run, route)
        for segment in run.segments[batch.segment :]:
            self.errors += not self._send_alone(segment, route)
            batch.segment += 1

    def _send_protected(self, run: Run, route: Route, batch: Batch) -> None:
        protect, first = route.srtp.protect, batch.segment
        if not run.headers:
            run.number()
        headers = run.own_headers(route.offset)
        for header, payload in zip(headers[first:], run.payloads[first:], strict=True):
            self.errors += not self._send_alone(protect(header + payload), route)
            batch.segment += 1

    def _send_alone(self, data: bytes | memoryview, route: Route) -> bool:
        """One packet by the socket or the connection; False when the viewer's connection is full."""
        if route.transmit is not None:
            return route.transmit(bytes(data))
        self._socket.sendto(data, route.address)
        return True

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
