"""Where a peer is: what its socket gives for it, or its TCP connection.

The UDP socket of both families gives four-tuples, IPv4 peers as `::ffff:192.0.2.1`; that of IPv4 alone
gives pairs. Host and port stand first in all of them.
"""

from __future__ import annotations

import socket
from typing import NamedTuple, Protocol

MAPPED = "::ffff:"
CUSTOMER_BYTES = 8  # a customer is given a /64 or more


class Connection(Protocol):
    """A TCP connection that carries datagrams (RFC 4571)."""

    def transmit(self, data: bytes) -> bool:
        """Send one datagram; False when it was dropped, like one that a full socket refuses."""

    def close(self) -> None:
        """Close it, once what was sent has left."""


class TcpAddress(NamedTuple):
    """The far end of one connection; another one from the same port is another address."""

    host: str
    port: int
    connection: Connection


UdpAddress = tuple[str, int] | tuple[str, int, int, int]
Address = UdpAddress | TcpAddress


def plain(host: str) -> str:
    """The address as its owner knows it: IPv4 without the mapping, IPv6 without its zone."""
    return host.removeprefix(MAPPED) if "." in host else host.partition("%")[0]


def shown(address: Address) -> str:
    """For the log: `192.0.2.1:5000`, `[2001:db8::1]:5000`, and `/tcp` behind it."""
    host = plain(address[0])
    tcp = "/tcp" if isinstance(address, TcpAddress) else ""
    return f"[{host}]:{address[1]}{tcp}" if ":" in host else f"{host}:{address[1]}{tcp}"


def is_loopback(host: str) -> bool:
    """Whether who has this address is on this machine."""
    return plain(host).startswith("127.") or host == "::1"


def customer(host: str) -> str:
    """What limits count by: an IPv4 address, or the /64 of an IPv6 one."""
    host = plain(host)
    return socket.inet_pton(socket.AF_INET6, host)[:CUSTOMER_BYTES].hex() if ":" in host else host
