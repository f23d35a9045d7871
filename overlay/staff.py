"""Who works in the shop: accounts, the sessions of their pages, and API keys, on one store."""

from __future__ import annotations

from collections.abc import Callable

from commerce.ids import utc_ms
from commerce.store import Store
from overlay.accounts import Accounts
from overlay.api_keys import ApiKeys
from overlay.passwords import Passwords
from overlay.staff_sessions import StaffSessions


class Staff:
    """`accounts`, `sessions` and `api_keys` of one store."""

    def __init__(self, store: Store, now_ms: Callable[[], int] = utc_ms) -> None:
        passwords = Passwords()
        self.accounts = Accounts(store, passwords, now_ms)
        self.sessions = StaffSessions(store, self.accounts, passwords, now_ms)
        self.api_keys = ApiKeys(store, now_ms)

    async def sweep(self) -> int:
        """Forget the sessions that have expired; how many there were."""
        return await self.sessions.sweep()
