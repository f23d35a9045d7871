"""What is read off a socket, one by one or by the batch: all of it, from whom, and when it came."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from mediaserver.rtc.address import UdpAddress
from mediaserver.rtc.compiled_receive import Opened
from mediaserver.rtc.datagrams import (
    BATCH,
    DATAGRAM_BYTES,
    NAMES,
    Batches,
    Datagrams,
    Single,
    datagrams,
)
from mediaserver.rtc.sockets import open_socket
from tests.rtc.compilers import built
from tests.rtc.players import udp_socket

Reader = Callable[[socket.socket, Callable[[], float]], Datagrams]

linux = pytest.mark.skipif(sys.platform != "linux", reason="other kernels read and stamp otherwise")


@pytest.fixture(params=["single", pytest.param("batches", marks=linux), "compiled"], scope="module")
def reader(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    """Each way there is to read a socket."""
    if request.param == "single":
        yield Single
    elif request.param == "batches":
        yield Batches
    else:
        library = built(tmp_path_factory.mktemp("compiled")).library
        made: list[Opened] = []

        def opened(sock: socket.socket, clock: Callable[[], float]) -> Opened:
            made.append(
                Opened(library, Batches(sock, clock), clock, partial(pytest.fail, "refused"))
            )
            return made[-1]

        yield opened
        for each in made:
            each.close()


class Ears:
    """Everything a reader hands on."""

    def __init__(self, reading: Datagrams) -> None:
        self._reading = reading
        self.data: list[bytes] = []
        self.senders: list[UdpAddress] = []
        self.arrivals: list[float] = []

    def read(self) -> bool:
        return self._reading.read(self._hear)

    def _hear(self, data: bytes, sender: UdpAddress, arrival: float) -> None:
        self.data.append(data)
        self.senders.append(sender)
        self.arrivals.append(arrival)


def test_all_that_came_is_handed_on_in_order_with_its_sender(reader: Reader) -> None:
    with udp_socket() as sock, udp_socket() as one, udp_socket() as other:
        ears = Ears(reader(sock, time.monotonic))
        sent = [bytes((0, number)) * (number % 700) for number in range(2 * BATCH + 3)]
        for number, data in enumerate(sent):
            (one, other)[number % 2].sendto(data, sock.getsockname())
        assert [ears.read() for _ in range(4)] == [True, True, False, False]
        assert ears.data == sent
        both = one.getsockname(), other.getsockname()
        assert ears.senders == [both[number % 2] for number in range(len(sent))]


def test_of_one_too_long_a_byte_more_than_is_allowed_is_read(reader: Reader) -> None:
    with udp_socket() as sock, udp_socket() as peer:
        ears = Ears(reader(sock, time.monotonic))
        for size in (DATAGRAM_BYTES + 1, 9000, DATAGRAM_BYTES, 0):
            peer.sendto(bytes(size), sock.getsockname())
        ears.read()
        longest = DATAGRAM_BYTES + 1
        assert [len(data) for data in ears.data] == [longest, longest, DATAGRAM_BYTES, 0]


@pytest.mark.parametrize(
    ("host", "family", "peer"),
    [
        ("::", socket.AF_INET6, "::1"),
        ("::", socket.AF_INET, "127.0.0.1"),
        ("0.0.0.0", socket.AF_INET, "127.0.0.1"),
    ],
)
def test_senders_are_who_recvfrom_says(
    reader: Reader, host: str, family: socket.AddressFamily, peer: str
) -> None:
    with (
        open_socket(host, 0, socket.SOCK_DGRAM) as sock,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        if sock.family == socket.AF_INET and family == socket.AF_INET6:
            pytest.skip("no IPv6 here")
        address = peer, sock.getsockname()[1]
        ears = Ears(reader(sock, time.monotonic))
        for _ in range(2):
            sender.sendto(b"to the reader", address)
        ears.read()
        sender.sendto(b"to recvfrom", address)
        assert ears.senders == [sock.recvfrom(100)[1]] * 2


@linux
def test_a_datagram_that_lay_in_the_queue_arrived_when_it_came(reader: Reader) -> None:
    with udp_socket() as sock, udp_socket() as peer:
        reading = reader(sock, time.monotonic)
        stamped = not isinstance(reading, Single)
        ears = Ears(reading)
        sent_at = time.monotonic()
        peer.sendto(b"first", sock.getsockname())
        came_at = time.monotonic()
        until = came_at + 0.02
        while time.monotonic() < until:
            pass  # the loop is busy
        peer.sendto(b"second", sock.getsockname())
        ears.read()
        first, second = ears.arrivals
        assert sent_at - 0.001 <= first
        assert (first <= came_at + 0.001) is stamped
        assert until - 0.001 <= second <= time.monotonic()


def test_a_clock_of_ones_own_is_not_mixed_with_the_kernels(reader: Reader) -> None:
    with udp_socket() as sock, udp_socket() as peer:
        ears = Ears(reader(sock, lambda: 5.0))
        peer.sendto(b"any", sock.getsockname())
        ears.read()
        assert ears.arrivals == [5.0]


@linux
def test_senders_without_number_leave_a_bounded_memory() -> None:
    with udp_socket() as sock:
        batches = Batches(sock, time.monotonic)
        for number in range(NAMES + 10):
            name = bytes(2) + bytes(2) + number.to_bytes(4, "big") + bytes(20)
            assert batches._address(name)[0] == f"0.0.{number >> 8}.{number & 0xFF}"
            assert len(batches._addresses) <= NAMES


@linux
def test_linux_reads_by_the_batch() -> None:
    with udp_socket() as sock:
        assert isinstance(datagrams(sock, time.monotonic), Batches)
