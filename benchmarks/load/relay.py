"""The bad network between the load's sessions and the node: seeded UDP relays in a process of their own.

Only a node's answers tell where it receives, and a node may name several ports. So each client asks
here, over TCP, for the way to what it was told: a line `address port` is answered with the port of
127.0.0.1 that leads there. Loss is the same both ways, and meets handshakes, reports, and requests for
what is missing as well as media.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.load.figures import Figures
from benchmarks.load.udp_relay import Address, Counts, UdpRelay
from benchmarks.loads import Commands
from mediaserver.protocol.sdp import Candidate

LOOPBACK = "127.0.0.1"
MAX_WAYS = 64  # a port for each of a node's processes
ANSWER_S = 5.0


async def relay(commands: Commands, loss: float, seed: int) -> None:
    """A load: asked for its `port`, then for its `figures`."""
    relays = Relays(loss, seed)
    try:
        port = await relays.start()
        commands.answer("relaying")
        while True:
            asked = await commands.next()
            commands.answer(port if asked == "port" else relays.figures())
    finally:
        await relays.stop()


class Relays:
    """A relay for each address that clients were told of."""

    def __init__(self, loss: float, seed: int) -> None:
        self._loss = loss
        self._seed = seed
        self._relays: dict[Address, UdpRelay] = {}
        self._opening = asyncio.Lock()

    async def start(self) -> int:
        """The port of 127.0.0.1 to ask at."""
        self._server = await asyncio.start_server(self._answer, LOOPBACK, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()
        for each in self._relays.values():
            await each.stop()

    def figures(self) -> Figures:
        """What was carried and what was lost, each way, and the CPU time of it."""
        figures = Figures(relay_cpu_s=time.process_time())
        towards_node = [each.counts_in for each in self._relays.values()]
        towards_viewers = [each.counts_out for each in self._relays.values()]
        figures.counts["to_node"], figures.counts["lost_to_node"] = _sums(towards_node)
        figures.counts["to_viewers"], figures.counts["lost_to_viewers"] = _sums(towards_viewers)
        return figures

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            address, port = (await reader.readline()).decode("ascii").split()
            writer.write(f"{await self._way((address, int(port)))}\n".encode())
            await writer.drain()
        writer.close()

    async def _way(self, node: Address) -> int:
        """Raises ValueError when there are too many."""
        async with self._opening:
            found = self._relays.get(node)
            if found is None:
                if len(self._relays) >= MAX_WAYS:
                    raise ValueError("a node with too many addresses")
                seed = self._seed + len(self._relays)
                found = UdpRelay(node, seed, self._loss, self._loss)
                await found.start()
                self._relays[node] = found
            return found.port


async def way(relay_port: int, candidate: Candidate) -> Candidate:
    """Where a client has to send, to reach what the node told; raises OSError or TimeoutError."""
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(LOOPBACK, relay_port)
        try:
            writer.write(f"{candidate.address} {candidate.port}\n".encode())
            answer = await reader.readline()
        finally:
            writer.close()
    if not answer:
        raise ConnectionError("the relay knows no way there")
    return replace(candidate, address=LOOPBACK, port=int(answer))


def _sums(counts: Sequence[Counts]) -> tuple[int, int]:
    """Datagrams that came to a relay, and those it lost: by dice, or for want of room."""
    lost = sum(each.lost + each.overflowed for each in counts)
    return sum(each.passed for each in counts) + lost, lost
