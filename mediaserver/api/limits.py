"""How often one address may ask: a token bucket for each, in a bounded table.

IPv6 addresses count by their /64, which is what one customer is given. When the table is full, who
has not asked for longest is forgotten, and so begins with a full bucket again: a flood from many
addresses weakens the limit on each and costs no memory.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from mediaserver.errors import TooMany

ADDRESSES = 20_000


class AddressLimiter:
    """`per_s` requests a second and address, up to `burst` at once."""

    def __init__(
        self,
        *,
        per_s: float,
        burst: int,
        addresses: int = ADDRESSES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._addresses = addresses
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # (left, at)

    def check(self, address: str | None) -> None:
        """Count one request; raises TooMany with Retry-After. None: a client without an address."""
        customer = _customer(address)
        now = self._monotonic()
        left, at = self._buckets.get(customer, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._per_s)
        allowed = left >= 1
        self._buckets[customer] = (left - 1 if allowed else left, now)
        self._buckets.move_to_end(customer)
        if len(self._buckets) > self._addresses:
            self._buckets.popitem(last=False)
        if not allowed:
            wait_s = math.ceil((1 - left) / self._per_s)
            raise TooMany(
                "too many requests from this address", headers={"Retry-After": f"{wait_s}"}
            )


def _customer(address: str | None) -> str:
    if address is None or ":" not in address:
        return address or ""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return parsed.packed[:8].hex()
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
