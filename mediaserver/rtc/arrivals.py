"""When a datagram came, by the kernel: what transport-cc tells a publisher is not bent by our loop.

The kernel stamps what it receives; the stamp of the datagram read last is asked for by itself, which
costs 1 µs where it is wanted and nothing elsewhere (with recvmsg every datagram would pay 0.5 µs).
"""

from __future__ import annotations

import contextlib
import struct
import sys
import time
from collections.abc import Callable
from socket import socket

SIOCGSTAMPNS = 0x8907  # linux/sockios.h
WAITED_MOST_S = 1.0  # no datagram lies longer: the wall clock was set
_TIMESPEC = struct.Struct("@qq")

with contextlib.suppress(ImportError):  # not on Windows
    from fcntl import ioctl


def arrivals(sock: socket, clock: Callable[[], float]) -> Callable[[], float]:
    """A call that gives the arrival of the datagram read last, in seconds of `clock`.

    Where there are no stamps, or another clock than the machine's, it is `clock` itself.
    """
    if sys.platform != "linux" or clock is not time.monotonic:
        return clock
    descriptor, stamp = sock.fileno(), bytearray(_TIMESPEC.size)
    wallclock, unpack = time.time, _TIMESPEC.unpack

    def arrived() -> float:
        now = clock()
        try:
            ioctl(descriptor, SIOCGSTAMPNS, stamp)
        except OSError:
            return now
        seconds, nanoseconds = unpack(stamp)
        waited_s = wallclock() - seconds - nanoseconds * 1e-9
        return now - waited_s if 0 < waited_s < WAITED_MOST_S else now

    return arrived
