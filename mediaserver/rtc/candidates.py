"""Host candidates: the addresses that peers are told, by UDP and by TCP (RFC 8445 §5.1, RFC 6544 §4).

Every public address that is configured, else every address of this machine that others may reach; not
link-local ones, which mean something else on every link. IPv6 and IPv4 take turns in priority, IPv6
first, so that neither being broken delays the other (RFC 8421 §4). TCP comes after all of UDP.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain, zip_longest

import ifaddr

from mediaserver.protocol.sdp import Candidate
from mediaserver.rtc.sockets import EVERY_IPV4, EVERY_IPV6

OFFERED = 16  # addresses: a browser checks 100 pairs (RFC 8445 §6.1.2.5), each with all of its own
UDP_PREFERENCE = 126  # RFC 8445 §5.1.2.2
TCP_PREFERENCE = 90  # below any host candidate of UDP (RFC 6544 §4.2)
PASSIVE_PREFERENCE = 4  # RFC 6544 §4.2


def candidates(addresses: Sequence[str], port: int, *, tcp: bool) -> list[Candidate]:
    """The candidates of `addresses` in their order, those of UDP first."""
    offered = addresses[:OFFERED]
    turns = _in_turns(offered)
    rank = {address: number for number, address in enumerate(turns)}
    udp = [
        Candidate(address, port, _priority(UDP_PREFERENCE, 65535 - rank[address]), f"{number}")
        for number, address in enumerate(offered, 1)
    ]
    if not tcp:
        return udp
    local = (PASSIVE_PREFERENCE << 13) + 0x1FFF
    return udp + [
        Candidate(
            address,
            port,
            _priority(TCP_PREFERENCE, local - rank[address]),
            f"{number}",
            protocol="tcp",
            tcp_type="passive",
        )
        for number, address in enumerate(offered, 1 + len(offered))
    ]


def own_addresses(host: str) -> list[str]:
    """Where a socket bound to `host` is reached: IPv4 first, what only this machine reaches last."""
    if host not in (EVERY_IPV4, EVERY_IPV6, ""):
        return [host]
    found = dict.fromkeys(
        ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0])
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if ip.is_IPv4 or host == EVERY_IPV6
    )
    usable = [each for each in found if not each.is_link_local and not _own_ipv6(each)]
    return [str(each) for each in sorted(usable, key=_closeness)]


def _own_ipv6(address: IPv4Address | IPv6Address) -> bool:
    # a browser on this very machine has 127.0.0.1
    return address.version == 6 and address.is_loopback


def _closeness(address: IPv4Address | IPv6Address) -> tuple[bool, int, bool]:
    return address.is_loopback, address.version, address.is_private


def _in_turns(addresses: Sequence[str]) -> list[str]:
    """IPv6, IPv4, IPv6 and so on, those for this machine alone last."""
    local = [each for each in addresses if ip_address(each).is_loopback]
    others = [each for each in addresses if each not in local]
    six = [each for each in others if ":" in each]
    four = [each for each in others if ":" not in each]
    pairs = chain.from_iterable(zip_longest(six, four))
    return [each for each in pairs if each is not None] + local


def _priority(kind: int, local: int) -> int:
    """RFC 8445 §5.1.2.1, for component 1."""
    return (kind << 24) + (local << 8) + 255
