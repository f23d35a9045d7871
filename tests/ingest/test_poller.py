"""Sockets read all together: nobody is forgotten, and each ends as with asyncio's own transports."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mediaserver.ingest.poller import BATCH, READ_BYTES, PolledTransport, Poller

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


class Collecting(asyncio.Protocol):
    """Keeps what comes; `lost` is the connection's end."""

    def __init__(self) -> None:
        self.data = b""
        self.came = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, PolledTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.came.set()

    def connection_lost(self, exception: Exception | None) -> None:
        self.lost.set_result(exception)

    async def until(self, data: bytes) -> None:
        while self.data != data:
            self.came.clear()
            await self.came.wait()


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


def connect(poller: Poller) -> tuple[socket.socket, Collecting]:
    """The peer's end, not blocking, and the protocol of ours."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    theirs.setblocking(False)
    protocol = Collecting()
    poller.add(ours, protocol)
    return theirs, protocol


async def read(sock: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (
        data := await asyncio.get_running_loop().sock_recv(sock, count - len(found))
    ):
        found += data
    return found


async def test_more_sockets_than_one_turn_reads_are_all_read_again_and_again(
    poller: Poller,
) -> None:
    pairs = [connect(poller) for _ in range(2 * BATCH + 3)]
    for number in range(3):
        for theirs, _ in pairs:
            theirs.send(bytes((number,)))
        for _, protocol in pairs:
            await protocol.until(bytes(range(number + 1)))
    for theirs, _ in pairs:
        theirs.close()
    assert [await protocol.lost for _, protocol in pairs] == [None] * len(pairs)


async def test_what_does_not_fit_is_read_at_the_next_turn(poller: Poller) -> None:
    theirs, protocol = connect(poller)
    data = bytes(3 * READ_BYTES)
    await asyncio.get_running_loop().sock_sendall(theirs, data)
    await protocol.until(data)
    theirs.close()
    await protocol.lost


async def test_who_does_not_read_gets_it_later_and_then_the_end(poller: Poller) -> None:
    theirs, protocol = connect(poller)
    data = bytes(8 << 20)
    protocol.transport.write(data)
    assert protocol.transport.get_write_buffer_size() > 0
    protocol.transport.write_eof()
    protocol.transport.write(b"after the end")
    assert await read(theirs, len(data) + 1) == data
    theirs.close()
    assert await protocol.lost is None


async def test_closing_waits_for_what_is_written_and_aborting_does_not(poller: Poller) -> None:
    theirs, protocol = connect(poller)
    data = bytes(8 << 20)
    protocol.transport.write(data)
    protocol.transport.close()
    assert protocol.transport.is_closing()
    assert await read(theirs, len(data) + 1) == data
    assert await protocol.lost is None
    theirs.close()
    theirs, protocol = connect(poller)
    protocol.transport.write(data)
    protocol.transport.abort()
    protocol.transport.abort()
    assert await protocol.lost is None
    theirs.close()


async def test_paused_nothing_is_read_and_nothing_is_lost(poller: Poller) -> None:
    (theirs, paused), (other, reading) = connect(poller), connect(poller)
    paused.transport.pause_reading()
    theirs.send(b"waits")
    other.send(b"comes")
    await reading.until(b"comes")
    assert paused.data == b""
    paused.transport.resume_reading()
    await paused.until(b"waits")
    theirs.close()
    other.close()
    await asyncio.gather(paused.lost, reading.lost)


async def test_a_connection_that_the_peer_resets_ends_with_the_error(poller: Poller) -> None:
    theirs, protocol = connect(poller)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    assert isinstance(await protocol.lost, ConnectionResetError)
    protocol.transport.write(b"nobody")
    protocol.transport.write_eof()
    protocol.transport.close()
    assert protocol.transport.get_extra_info("peername") is None
    assert protocol.transport.get_extra_info("sslcontext", "none") == "none"


async def test_a_bug_ends_its_own_connection_and_surfaces(poller: Poller) -> None:
    class Broken(Exception):
        pass

    surfaced: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: surfaced.append(context))
    (theirs, broken), (other, whole) = connect(poller), connect(poller)

    def fail(data: bytes) -> None:
        raise Broken

    broken.data_received = fail  # type: ignore[method-assign]
    theirs.send(b"x")
    assert await broken.lost is None
    other.send(b"goes on")
    await whole.until(b"goes on")
    assert [type(each["exception"]) for each in surfaced] == [Broken]
    theirs.close()
    other.close()
    await whole.lost
