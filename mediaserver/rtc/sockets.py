"""The listening sockets of WebRTC: UDP and, under the same number, TCP.

"::" is both families by one socket: an IPv4 peer of it has a mapped address (`::ffff:192.0.2.1`), which
costs 0.1 µs a datagram against a socket of IPv4 alone, and nothing in code.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys

log = logging.getLogger("hawker.rtc")

UDP_BUFFER_BYTES = 4 << 20  # capped at net.core.{r,w}mem_max, unless we may administer the network
BACKLOG = 64  # connections that wait for the loop's next turn, which takes them all
PORTS_TRIED = 16  # where the port may be any, until one is free for UDP and TCP
EVERY_IPV6 = "::"
EVERY_IPV4 = "0.0.0.0"
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def open_sockets(host: str, port: int) -> tuple[socket.socket, socket.socket | None]:
    """The UDP socket, and the TCP one unless its port is taken; port 0 is any that both can have.

    Raises OSError when the UDP port can't be had. A machine without IPv6 gets IPv4 alone for "::".
    """
    for _ in range(PORTS_TRIED):
        udp = open_socket(host, port, socket.SOCK_DGRAM)
        number = udp.getsockname()[1]
        try:
            return udp, open_socket(host, number, socket.SOCK_STREAM)
        except OSError as error:
            if port:
                log.warning(
                    "webrtc.port %d/tcp: %s; WebRTC goes by UDP alone", port, error.strerror
                )
                return udp, None
            udp.close()
    raise OSError(errno.EADDRINUSE, "no port is free for both UDP and TCP")


def open_socket(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """One non-blocking socket, bound, and listening where it is TCP; raises OSError."""
    try:
        return _bound(host, port, kind)
    except OSError as error:
        if host != EVERY_IPV6 or error.errno not in _NO_IPV6:
            raise
    if kind == socket.SOCK_DGRAM:
        log.info("webrtc.host: this machine has no IPv6, WebRTC goes by IPv4")
    return _bound(EVERY_IPV4, port, kind)


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != EVERY_IPV6)
        if kind == socket.SOCK_DGRAM:
            _size_buffers(sock)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _size_buffers(sock: socket.socket) -> None:
    for option, forced in ((socket.SO_RCVBUF, SO_RCVBUFFORCE), (socket.SO_SNDBUF, SO_SNDBUFFORCE)):
        sock.setsockopt(socket.SOL_SOCKET, option, UDP_BUFFER_BYTES)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, forced, UDP_BUFFER_BYTES)
