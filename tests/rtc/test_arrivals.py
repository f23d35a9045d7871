"""The kernel's stamps of what was received."""

from __future__ import annotations

import sys
import time

import pytest

from mediaserver.rtc.arrivals import arrivals
from tests.rtc.players import udp_socket


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels give their stamps otherwise")
def test_a_datagram_that_lay_in_the_queue_arrived_when_it_came() -> None:
    with udp_socket() as sock, udp_socket() as peer:
        arrived = arrivals(sock, time.monotonic)
        peer.sendto(b"first", sock.getsockname())
        sock.recv(100)
        arrived()  # from now on the kernel stamps
        sent_at = time.monotonic()
        peer.sendto(b"second", sock.getsockname())
        came_at = time.monotonic()
        until = came_at + 0.02
        while time.monotonic() < until:
            pass  # the loop is busy
        sock.recv(100)
        assert sent_at - 0.001 <= arrived() <= came_at + 0.001
        assert arrived() < time.monotonic() - 0.015


def test_a_clock_of_ones_own_is_not_mixed_with_the_kernels() -> None:
    def clock() -> float:
        return 5.0

    with udp_socket() as sock:
        assert arrivals(sock, clock) is clock
