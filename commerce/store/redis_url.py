"""`store.url` of a store in Redis: where it is, and how to get in.

    redis://[user:password@]host[:port][/db][?shop=NAME]     rediss://… by TLS
    redis+cluster://[user:password@]host[:port][,host[:port]…][?shop=NAME]     rediss+cluster://…

`shop` names the hash tag that all keys of a shop stand under: one shop is one slot of a Cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

PORT = 6379
SHOP = "hawker"
SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Shown without what is secret."""

    scheme: str
    nodes: tuple[tuple[str, int], ...]
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    db: int
    shop: str

    def __str__(self) -> str:
        nodes = ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes
        )
        db = f"/{self.db}" if self.db else ""
        shop = f"?shop={self.shop}" if self.shop != SHOP else ""
        return f"{self.scheme}://{nodes}{db}{shop}"

    @property
    def tls(self) -> bool:
        return self.scheme.startswith("rediss")

    @property
    def clustered(self) -> bool:
        return self.scheme.endswith("+cluster")


def parse(url: str) -> RedisUrl:
    """Raises ValueError with words that hold nothing of the URL."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"one of {', '.join(f'{each}://' for each in SCHEMES)}")
    login, _, places = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    shop = options.pop("shop", SHOP)
    if options or parts.fragment:
        raise ValueError("of options only ?shop=NAME is known")
    if not shop or not shop.replace("-", "").replace("_", "").isalnum():
        raise ValueError("?shop= takes letters, digits, - and _")
    db = parts.path.strip("/")
    if db and (not db.isdigit() or parts.scheme.endswith("+cluster")):
        raise ValueError(
            "behind the host may stand /NUMBER of a database, and nothing for a Cluster"
        )
    nodes = tuple(_node(place) for place in places.split(","))
    return RedisUrl(
        parts.scheme,
        nodes,
        unquote(username) or None,
        unquote(password) or None,
        int(db or 0),
        shop,
    )


def _node(place: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise ValueError("host or host:port, of a Cluster several with commas between them")
    return host, port or PORT
