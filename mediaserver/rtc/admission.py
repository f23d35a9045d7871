"""How many sessions one address may have at one time, connected or not yet.

An address is the one that asked over HTTP, IPv6 by the /64. Loopback has no limit: there it is a proxy
that asks, for everybody, or a load test.
"""

from __future__ import annotations

from collections import Counter

from mediaserver.errors import TooMany
from mediaserver.rtc.address import customer, is_loopback

RETRY_AFTER_S = 5


class Admission:
    """Counts the sessions of each address; as many entries as there are sessions."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._customers: dict[str, str] = {}  # by session
        self._sessions: Counter[str] = Counter()

    def check(self, host: str | None) -> None:
        """Raises TooMany where this address has all it may; None: a client without an address."""
        if host and self._sessions[customer(host)] >= self._most:
            headers = {"Retry-After": f"{RETRY_AFTER_S}"}
            raise TooMany("too many sessions from this address", headers=headers)

    def count(self, host: str | None, session: str) -> None:
        """A session was opened for this address."""
        if host and not is_loopback(host):
            self._customers[session] = who = customer(host)
            self._sessions[who] += 1

    def forget(self, session: str) -> None:
        """The session has ended."""
        who = self._customers.pop(session, None)
        if who is not None:
            self._sessions[who] -= 1
            if not self._sessions[who]:
                del self._sessions[who]
