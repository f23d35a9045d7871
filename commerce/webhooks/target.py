"""Where a webhook may go: its URL, and the addresses that its host has at the moment of connecting.

Whoever names an endpoint makes this machine connect from within its network. So: https, without names,
passwords and fragments, to port 443 or one from 1024; a host is a name or an address in its usual
numbers, for the socket library would read `2130706433` and `127.1` as addresses, too. Names are
resolved by `GuardedResolver` as a connection is made: it gives the connector nothing but addresses of
the public internet, and those are connected to. Nothing is resolved twice, so there is no moment
between check and use. `webhooks.allow_private` allows http and all addresses and ports.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from commerce.errors import Refusal

URL_CHARS = 500
PORTS = {"https": 443, "http": 80}
PORT_MIN = 1024  # of those that are not the scheme's own: below are the services of a network
NAME = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.I)
ADDRESSES_MAX = 4  # tried one after the other
RESOLVE_TIMEOUT_S = 10.0

IsPublic: TypeAlias = Callable[[IPv4Address | IPv6Address], bool]
LookUp: TypeAlias = Callable[[str, int], Awaitable[list[str]]]


class UnusableTarget(Refusal):
    """A URL to which no webhook is sent from here."""

    status = 422
    code = "webhook_url"
    title = "URL not usable"


class PrivateAddress(OSError):
    """A host that has no address which may be connected to."""


def checked_url(url: str, *, allow_private: bool, is_public: IsPublic) -> str:
    """The URL, if a webhook may be sent there so far as it tells itself; raises UnusableTarget."""
    if not 1 <= len(url) <= URL_CHARS or not all("!" <= each <= "~" for each in url):
        raise UnusableTarget(
            f"up to {URL_CHARS} characters of ASCII without spaces: https://host/path"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UnusableTarget("https://host/path") from None
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise UnusableTarget("https only: webhooks.allow_private allows http, too")
    if "@" in parts.netloc or "\\" in url or parts.fragment:
        raise UnusableTarget("no names, passwords or fragments in it")
    if not allow_private and port not in (None, PORTS[parts.scheme]) and port < PORT_MIN:
        raise UnusableTarget(f"port {PORTS[parts.scheme]}, or one from {PORT_MIN}")
    if port == 0:
        raise UnusableTarget("there is no port 0")
    number = _number(host)
    if number is None and not NAME.fullmatch(host):
        raise UnusableTarget("the host is neither a name nor an address")
    if number is not None and not (allow_private or is_public(number)):
        raise UnusableTarget(_private(host))
    return url


class GuardedResolver(AbstractResolver):
    """Gives aiohttp's connector the addresses of a name that may be connected to, in numbers."""

    def __init__(
        self, *, allow_private: bool, is_public: IsPublic, look_up: LookUp | None = None
    ) -> None:
        self._allow_private = allow_private
        self._is_public = is_public
        self._look_up = look_up or _look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises PrivateAddress, or OSError where there is none."""
        found = [ip_address(each.split("%")[0]) for each in await self._look_up(host, port)]
        allowed = [each for each in found if self._allow_private or self._is_public(each)]
        if not allowed:
            raise PrivateAddress(_private(host))
        return [
            ResolveResult(
                hostname=host,
                host=str(each),
                port=port,
                family=socket.AF_INET if each.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for each in allowed[:ADDRESSES_MAX]
        ]

    async def close(self) -> None:
        """There is nothing to let go."""


async def _look_up(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(RESOLVE_TIMEOUT_S):
        found: list[Any] = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _number(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _private(host: str) -> str:
    return f"{host} is in a private network: webhooks.allow_private lets it be used"
