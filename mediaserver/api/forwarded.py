"""Who really asks, where a proxy stands in front: X-Forwarded-For and X-Forwarded-Proto.

Anybody may send these headers, so they count only on requests from `http.trusted_proxies`. Addresses
are read from the right, where the nearest proxy has written, past trusted ones: what stands further
left was written by the client itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

Network = IPv4Network | IPv6Network
HOPS = 16  # proxies behind each other; more addresses are not read


def forwarded(trusted: Sequence[str]) -> Middleware:
    """A middleware that gives requests through `trusted` networks the client's address and scheme."""
    networks = [ip_network(each) for each in trusted]

    @web.middleware
    async def unwrap(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _is_in(_address(request.remote or ""), networks):
            return await handler(request)
        told = ",".join(request.headers.getall("X-Forwarded-For", []))
        remote = client(told, networks) or request.remote or ""
        scheme = request.headers.get("X-Forwarded-Proto", "")
        if scheme not in ("http", "https"):
            scheme = request.scheme
        return await handler(request.clone(remote=remote, scheme=scheme))

    return unwrap


def client(told: str, trusted: Sequence[Network]) -> str | None:
    """The address that the nearest trusted proxy saw, None where it told none."""
    found = None
    for hop in reversed(told.split(",")[-HOPS:]):
        address = _address(hop.strip())
        if address is None:
            return found
        found = str(address)
        if not _is_in(address, trusted):
            return found
    return found


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_in(address: IPv4Address | IPv6Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)
