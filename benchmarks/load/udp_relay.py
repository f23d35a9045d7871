"""A UDP relay that loses, delays and reorders, from a seed: a bad network to test or load through.

Each client address gets an upstream socket of its own, so that the server tells clients apart. What
happens to the n-th datagram of a direction depends on the seed and on n alone: the same run of
datagrams meets the same fate. `in` is towards the server, `out` towards the client.

Bounded: at most MAX_CLIENTS clients and MAX_IN_FLIGHT delayed datagrams; what exceeds them is lost.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self, cast

Address = tuple[str, int]
Direction = Literal["in", "out"]
Filter = Callable[[Direction, bytes], bool]
Send = Callable[[bytes], None]

MAX_CLIENTS = 4096  # each has a socket
MAX_IN_FLIGHT = 4096
QUEUE_S = 0.3  # what a thin link holds before it drops: a home router's usual depth
SOCKET_BYTES = 4 << 20  # what a client may be sent while the relay is busy with others
OVERHEAD_BYTES = 28  # IPv4 and UDP headers, which a link carries too
REORDER_S = 0.012  # a reordered datagram arrives this much later than those after it


@dataclass(slots=True)
class Counts:
    """What one direction did with its datagrams."""

    passed: int = 0
    lost: int = 0
    reordered: int = 0
    overflowed: int = 0


@dataclass(slots=True)
class _Path:
    """The impairments of one direction."""

    loss: float
    delay_s: float
    jitter_s: float
    reorder: float
    dice: random.Random
    counts: Counts = field(default_factory=Counts)
    rate_bps: float = 0.0  # 0: as fast as it comes
    queue_s: float = QUEUE_S
    free_at: float = 0.0  # when the link has sent what it holds

    def queue(self, size: int, now: float) -> float | None:
        """Seconds until a datagram has left a link of `rate_bps`; None when its queue is full."""
        if not self.rate_bps:
            return 0.0
        begins = max(self.free_at, now)
        if begins - now > self.queue_s:
            self.counts.overflowed += 1
            return None
        self.free_at = begins + (size + OVERHEAD_BYTES) * 8 / self.rate_bps
        return self.free_at - now

    def fate(self) -> float | None:
        """Seconds to hold the next datagram; None when it is lost.

        Three numbers are drawn whatever comes of them, so that fates don't depend on each other.
        """
        lose, turn, spread = self.dice.random(), self.dice.random(), self.dice.random()
        if lose < self.loss:
            self.counts.lost += 1
            return None
        hold_s = self.delay_s + spread * self.jitter_s
        if turn < self.reorder:
            self.counts.reordered += 1
            hold_s += REORDER_S
        return hold_s


class UdpRelay:
    """Stands between clients and `server`; clients send to 127.0.0.1:`port`.

    `loss_*` and `reorder_*` are probabilities, `delay_*_s` and `jitter_*_s` seconds. They may be changed
    while it runs (`set_loss`). `passes(direction, data)`, where given, is asked before the dice: False
    loses the datagram, and no number is drawn for it.
    """

    def __init__(
        self,
        server: Address,
        seed: int,
        loss_in: float = 0.0,
        loss_out: float = 0.0,
        *,
        delay_in_s: float = 0.0,
        delay_out_s: float = 0.0,
        jitter_in_s: float = 0.0,
        jitter_out_s: float = 0.0,
        reorder_in: float = 0.0,
        reorder_out: float = 0.0,
        passes: Filter | None = None,
    ) -> None:
        self.server = server
        self.port = 0
        self.passes = passes
        self._paths: dict[Direction, _Path] = {
            "in": _Path(loss_in, delay_in_s, jitter_in_s, reorder_in, random.Random(2 * seed)),
            "out": _Path(
                loss_out, delay_out_s, jitter_out_s, reorder_out, random.Random(2 * seed + 1)
            ),
        }
        self._front: asyncio.DatagramTransport | None = None
        self._clients: dict[Address, _Upstream] = {}
        self._opening: dict[Address, deque[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[tuple[float, int, bytes, Send]] = []  # a heap: by time, then by order
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def counts_in(self) -> Counts:
        return self._paths["in"].counts

    @property
    def counts_out(self) -> Counts:
        return self._paths["out"].counts

    @property
    def clients(self) -> list[Address]:
        """The clients' addresses, in the order in which they came."""
        return list(self._clients)

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        self._front, _ = await loop.create_datagram_endpoint(
            lambda: _Front(self), local_addr=("127.0.0.1", 0)
        )
        _widen(self._front)
        self.port = self._front.get_extra_info("sockname")[1]

    async def stop(self) -> None:
        """Close every socket and drop what is held."""
        if self._timer is not None:
            self._timer.cancel()
        self._held.clear()
        if self._front is not None:
            self._front.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for upstream in self._clients.values():
            upstream.close()
        self._clients.clear()
        self._opening.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def set_rate(self, direction: Direction, rate_bps: float, queue_s: float = QUEUE_S) -> None:
        """Make a direction as thin as that, with a queue of so many seconds; 0 lifts it."""
        path = self._paths[direction]
        path.rate_bps, path.queue_s = rate_bps, queue_s

    def set_loss(self, direction: Direction, loss: float) -> None:
        self._paths[direction].loss = loss

    async def rebind(self) -> None:
        """Give every client a new upstream port: to the server, they have moved to another network."""
        for client, old in list(self._clients.items()):
            old.close()
            del self._clients[client]
            await self._open(client)

    def _from_client(self, data: bytes, client: Address) -> None:
        upstream = self._clients.get(client)
        if upstream is not None:
            self._carry("in", data, upstream.send)
        elif client in self._opening:
            self._opening[client].append(data)
        elif len(self._clients) + len(self._opening) < MAX_CLIENTS:
            self._opening[client] = deque([data], maxlen=MAX_IN_FLIGHT)
            task = asyncio.get_running_loop().create_task(self._open(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self.counts_in.overflowed += 1

    async def _open(self, client: Address) -> None:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_datagram_endpoint(
            lambda: _Upstream(self, client), remote_addr=self.server
        )
        self._clients[client] = upstream
        for data in self._opening.pop(client, ()):
            self._carry("in", data, upstream.send)

    def _from_server(self, data: bytes, client: Address) -> None:
        self._carry("out", data, lambda each: self._to_client(each, client))

    def _to_client(self, data: bytes, client: Address) -> None:
        if self._front is not None and not self._front.is_closing():
            self._front.sendto(data, client)

    def _carry(self, direction: Direction, data: bytes, send: Send) -> None:
        path = self._paths[direction]
        if self.passes is not None and not self.passes(direction, data):
            path.counts.lost += 1
            return
        hold_s = path.fate()
        if hold_s is None:
            return
        queued_s = path.queue(len(data), asyncio.get_running_loop().time())
        if queued_s is None:
            return
        hold_s += queued_s
        path.counts.passed += 1
        if not hold_s:
            send(data)
        elif len(self._held) >= MAX_IN_FLIGHT:
            path.counts.passed -= 1
            path.counts.overflowed += 1
        else:
            self._hold(hold_s, data, send)

    def _hold(self, hold_s: float, data: bytes, send: Send) -> None:
        self._number += 1
        due = asyncio.get_running_loop().time() + hold_s
        heapq.heappush(self._held, (due, self._number, data, send))
        if self._held[0][1] == self._number:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._held:
            self._timer = asyncio.get_running_loop().call_at(self._held[0][0], self._let_go)

    def _let_go(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._held and self._held[0][0] <= now:
            _, _, data, send = heapq.heappop(self._held)
            send(data)
        self._timer = None
        self._arm()


class _Front(asyncio.DatagramProtocol):
    """The side that clients see."""

    def __init__(self, relay: UdpRelay) -> None:
        self._relay = relay

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._relay._from_client(data, addr)


class _Upstream(asyncio.DatagramProtocol):
    """The socket by which the server knows one client."""

    def __init__(self, relay: UdpRelay, client: Address) -> None:
        self._relay = relay
        self._client = client
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.DatagramTransport, transport)
        self._transport = transport
        _widen(transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._relay._from_server(data, self._client)

    def error_received(self, exc: Exception) -> None:
        """The server's port is closed just now (ICMP): datagrams to it are lost, no more."""

    def send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _widen(transport: asyncio.DatagramTransport) -> None:
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
