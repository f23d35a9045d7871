"""The sessions of the staff's pages: a token in a cookie, with a CSRF token beside it.

Kept as `staff-session/<SHA-256 of the token>`. The CSRF token is computed from the session's token, and
the session of who has the admin token is bound to that token by a MAC under its own: a copy of the
store opens nothing and helps to guess nothing. A session carries the `epoch` of its account and ends
with it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from commerce.changes import Changes
from commerce.ids import utc_ms
from commerce.store import INDEX_END, Store
from overlay.accounts import Accounts
from overlay.errors import Unauthorized
from overlay.passwords import Passwords
from overlay.permissions import ADMIN
from overlay.random_tokens import TOKEN_CHARS_MAX, new_token, token_hash

SESSION_MS = 12 * 3600 * 1000
SESSIONS_PER_NAME = 20  # browsers of one person; the session that ends first makes room
SWEPT_AT_ONCE = 200
EXPIRIES = "staff-session-expiries"


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, as what, and the CSRF token that its pages must send."""

    name: str
    role: str
    csrf: str = field(repr=False)
    expires_ms: int


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session and its token, which is told this once."""

    token: str = field(repr=False)
    session: Session


class StaffSessions:
    """The sessions in the store."""

    def __init__(
        self,
        store: Store,
        accounts: Accounts,
        passwords: Passwords,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._passwords = passwords
        self._now_ms = now_ms

    async def log_in(self, name: str, password: str) -> NewSession:
        """A session for who knows the password; raises Unauthorized `login_failed`, or Busy."""
        account = await self._accounts.find(name)
        hashed = None if account is None else account.password_hash
        right = await self._passwords.verify(hashed, password)
        if account is None or account.disabled or not right:
            raise Unauthorized("the name or the password is not right", code="login_failed")
        await self._accounts.rehash(account, password)
        return await self._open(new_token(), account.name, account.role, account.epoch)

    async def log_in_admin(self, admin_token: str) -> NewSession:
        """A session for who has shown the admin token; it ends when that token changes."""
        token = new_token()
        return await self._open(token, ADMIN, ADMIN, _mac(token, f"admin {admin_token}"))

    async def find(self, token: str, admin_token: str) -> Session | None:
        """The session of a token if it is good now; `admin_token` is the one of today."""
        kept = await self._kept(token)
        if kept is None or kept["expires_ms"] <= self._now_ms():
            return None
        name, epoch = kept["name"], kept["epoch"]
        role: str | None = ADMIN
        if name == ADMIN:
            valid = hmac.compare_digest(epoch, _mac(token, f"admin {admin_token}"))
        else:
            account = await self._accounts.find(name)
            role = None if account is None or account.disabled else account.role
            valid = account is not None and hmac.compare_digest(epoch, account.epoch)
        if role is None or not valid:
            return None
        return Session(name, role, _mac(token, "csrf"), kept["expires_ms"])

    async def log_out(self, token: str) -> None:
        """End the session, if there is one."""
        kept = await self._kept(token)
        if kept is not None:
            await self._forget({_item(token): kept["name"]})

    async def sweep(self) -> int:
        """Forget the sessions that have expired; how many there were."""
        swept = 0
        while True:
            keys = await self._store.scan(EXPIRIES, "", _sort(self._now_ms() + 1), SWEPT_AT_ONCE)
            if not keys:
                return swept
            found = await self._store.load(keys)
            await self._forget({key: _name_in(found[key][0]) for key in keys})
            swept += len(keys)

    async def _open(self, token: str, name: str, role: str, epoch: str) -> NewSession:
        await self._make_room_for_a_session(name)
        now_ms = self._now_ms()
        expires_ms = now_ms + SESSION_MS
        item, sort = _item(token), _sort(expires_ms)
        members = {"name": name, "epoch": epoch, "expires_ms": expires_ms}
        changes = Changes(now_ms, writes={item: msgpack.packb(members)})
        changes.index |= {(EXPIRIES, item): sort, (_sessions_of(name), item): sort}
        await changes.commit(self._store)
        return NewSession(token, Session(name, role, _mac(token, "csrf"), expires_ms))

    async def _make_room_for_a_session(self, name: str) -> None:
        items = await self._store.scan(_sessions_of(name), "", INDEX_END, SESSIONS_PER_NAME)
        if len(items) == SESSIONS_PER_NAME:
            await self._forget({items[0]: name})

    async def _kept(self, token: str) -> dict[str, Any] | None:
        if len(token) > TOKEN_CHARS_MAX:
            return None
        item = _item(token)
        value = (await self._store.load([item]))[item][0]
        return None if value is None else msgpack.unpackb(value)

    async def _forget(self, sessions: Mapping[str, str | None]) -> None:
        """Delete the sessions {key: name of its account}."""
        changes = Changes(self._now_ms(), writes=dict.fromkeys(sessions))
        for key, name in sessions.items():
            changes.index[EXPIRIES, key] = None
            if name is not None:
                changes.index[_sessions_of(name), key] = None
        await changes.commit(self._store)


def _mac(token: str, words: str) -> str:
    """HMAC-SHA256 (RFC 2104) of the words under a session's token, in base64url."""
    mac = hmac.digest(token.encode("utf-8", "surrogatepass"), words.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def _item(token: str) -> str:
    return f"staff-session/{token_hash(token)}"


def _sessions_of(name: str) -> str:
    return f"staff-sessions/{name}"


def _sort(utc_ms: int) -> str:
    return f"{utc_ms:015d}"


def _name_in(session: bytes | None) -> str | None:
    return None if session is None else msgpack.unpackb(session)["name"]
