"""A target's server: its URL, and an address of it that may be connected to.

Whoever may restream names a host that this machine then connects to from within its network. Only RTMP
and RTMPS are spoken, every address that the name has is looked at, those of private networks, of this
machine and of links are left out, and what was looked at is connected to: no name is resolved twice.
An IPv6 address that carries an IPv4 one counts as that.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from mediaserver.errors import PeerError

PORTS = {"rtmp": 1935, "rtmps": 443}
MAX_URL_CHARS = 500
MAX_ADDRESSES = 4  # tried one after the other
RESOLVE_TIMEOUT_S = 10.0
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
# what `ipaddress` calls global and no target is: IPv4 within IPv6, local NAT64, site-local addresses
_NOT_PUBLIC = tuple(map(IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "fec0::/10")))


class UnusableUrl(PeerError):
    """A server's URL that nothing can be sent to from here."""

    status = 422
    code = "restream_url"
    title = "Server URL not usable"


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of `rtmp://host:port/app`; `url` is the whole, as the server is told it."""

    tls: bool
    host: str
    port: int
    app: str
    url: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a server's URL, which has no key in it; raises UnusableUrl."""
        if len(url) > MAX_URL_CHARS or not all("!" <= each <= "~" for each in url):
            raise UnusableUrl(f"up to {MAX_URL_CHARS} characters without spaces: rtmp://host/app")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise UnusableUrl("rtmp://host/app or rtmps://host/app") from None
        if parts.scheme not in PORTS or not host or port == 0:
            raise UnusableUrl("rtmp://host/app or rtmps://host/app")
        app = parts.path.strip("/")
        if not app:
            raise UnusableUrl("it has no application: rtmp://host/app")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise UnusableUrl("no names, passwords or queries in it: they go into the key")
        whole = f"{parts.scheme}://{parts.netloc}/{app}"
        return cls(parts.scheme == "rtmps", host, port or PORTS[parts.scheme], app, whole)

    def check(self, *, allow_private: bool) -> None:
        """Raise UnusableUrl for an address in numbers that `resolve` would refuse."""
        if (found := _number(self.host)) and not (allow_private or is_public(found)):
            raise UnusableUrl(_private(self.host))

    async def resolve(self, *, allow_private: bool) -> list[str]:
        """The addresses to try, in numbers; raises UnusableUrl, or OSError where there is none."""
        addresses = [self.host] if _number(self.host) else await self._look_up()
        allowed = [
            each for each in addresses if allow_private or is_public(ip_address(each.split("%")[0]))
        ]
        if not allowed:
            raise UnusableUrl(_private(self.host))
        return allowed[:MAX_ADDRESSES]

    async def _look_up(self) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise UnusableUrl("the host's name is not a name") from None
        return list(dict.fromkeys(str(each[4][0]) for each in found))


def _number(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is of the public internet, and of one machine."""
    if isinstance(address, IPv6Address) and (inner := _carried(address)) is not None:
        return is_public(inner)
    local = isinstance(address, IPv6Address) and any(address in each for each in _NOT_PUBLIC)
    return address.is_global and not address.is_multicast and not local


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _private(host: str) -> str:
    return f"{host} is in a private network: restream.allow_private lets it be used"
