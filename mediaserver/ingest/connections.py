"""How many connections of publishers there are, in all and from one address."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address


class ConnectionCounts:
    """How many connections there are, and whether one more from an address may come."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self.total = 0
        self._most = most
        self._most_per_address = most_per_address
        self._per_address: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count one more, unless that is too many."""
        # Load tools and local proxies come from loopback, and who is on the machine needs no limit.
        crowded = self._per_address[address] >= self._most_per_address
        if self.total >= self._most or (crowded and not ip_address(address).is_loopback):
            return False
        self.total += 1
        self._per_address[address] += 1
        return True

    def release(self, address: str) -> None:
        """Count one that was admitted less."""
        self.total -= 1
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]
