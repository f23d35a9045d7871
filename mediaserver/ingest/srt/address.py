"""Socket addresses as C programs pass them: struct sockaddr_in and sockaddr_in6."""

from __future__ import annotations

import socket
import struct
import sys

SOCKADDR_BYTES = 28  # of sockaddr_in6, the larger one
_FIRST_IS_LENGTH = sys.platform == "darwin"


def to_sockaddr(host: str, port: int) -> bytes:
    """The address to listen on; raises OSError for a host that there is not."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    family, _, _, _, name = found[0]
    packed = socket.inet_pton(family, str(name[0]).partition("%")[0])
    if family == socket.AF_INET6:
        rest = struct.pack("!HI16sI", port, 0, packed, 0)
    else:
        rest = struct.pack("!H4s8x", port, packed)
    return _family(family, 2 + len(rest)) + rest


def from_sockaddr(raw: bytes) -> tuple[str, int]:
    """Address and port; an IPv4 address that came by an IPv6 socket is shown as IPv4."""
    family = raw[1] if _FIRST_IS_LENGTH else struct.unpack_from("=H", raw)[0]
    port = int.from_bytes(raw[2:4], "big")
    if family != socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]).removeprefix("::ffff:"), port


def _family(family: int, length: int) -> bytes:
    return bytes((length, family)) if _FIRST_IS_LENGTH else struct.pack("=H", family)
