"""Who works in the shop, over HTTP: signing in, accounts, API keys, permissions, the audit log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from mediaserver.api.accounts import Accounts, AccountsApi
from mediaserver.api.api_keys import ApiKeys, ApiKeysApi
from mediaserver.api.audit import AuditApi, AuditLog
from mediaserver.api.login import Callers, LoginApi, Sessions
from mediaserver.api.permissions import PermissionsApi


class Staff(Protocol):
    @property
    def accounts(self) -> Accounts: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def api_keys(self) -> ApiKeys: ...


class StaffApi:
    """The handlers of all of them, put together."""

    def __init__(
        self,
        staff: Staff,
        callers: Callers,
        audit: AuditLog,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = (
            LoginApi(staff.sessions, staff.accounts, callers, audit, monotonic=monotonic),
            AccountsApi(staff.accounts),
            ApiKeysApi(staff.api_keys),
            PermissionsApi(callers),
            AuditApi(audit),
        )

    def routes(self) -> list[web.RouteDef]:
        return [route for part in self._parts for route in part.routes()]
