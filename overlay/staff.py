"""The staff: accounts with a role and a password, their pages' sessions, and API keys for programs.

Kept: `staff/<name>` with the password as Argon2id (RFC 9106) hash, `staff-session/<SHA-256 of the
token>`, `api-key/<SHA-256 of the key>`. Tokens and keys have 256 random bits, are told once and never
kept, so their hashes need no salt. A session's CSRF token is computed from its token, and the session
of who has the admin token is bound to that token by a MAC under its own: a copy of the store opens
nothing and helps to guess nothing.

A session carries the `epoch` of its account. A changed password or role, a disabled, deleted or
replaced account has another epoch or none, and with that all its sessions have ended.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgpack
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from commerce.errors import AlreadyExists, Busy, Invalid, LimitReached, NotFound
from commerce.ids import new_id, utc_ms
from commerce.store import INDEX_END, Conflict, Store, Versioned
from commerce.text import checked_text
from overlay.errors import Unauthorized
from overlay.permissions import ADMIN, STAFF_ROLES

T = TypeVar("T")

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
RESERVED_NAMES = (ADMIN, "nobody")  # what the audit log calls others
PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX = 10, 200
# OWASP Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane; some 30 ms.
ARGON2_PASSES, ARGON2_KIB, ARGON2_LANES = 2, 19 * 1024, 1
HASHES_AT_ONCE = 2  # more would take the cores from the media
HASHES_WAITING = 32  # a second of work; beyond it a caller is better told now
TOKEN_BYTES = 32
TOKEN_CHARS_MAX = 128
API_KEY_PREFIX = "hk_"
LABEL_CHARS = 100
SESSION_MS = 12 * 3600 * 1000
SESSIONS_PER_NAME = 20  # browsers of one person; the session that ends first makes room
SWEPT_AT_ONCE = 200
ACCOUNTS_MAX = 500
API_KEYS_MAX = 200
PAGE_MAX = 200
ATTEMPTS = 8  # two who change one account at once; more would be a bug
ACCOUNTS, API_KEYS, EXPIRIES = "staff", "api-keys", "staff-session-expiries"


class StaffNotFound(NotFound):
    code = "staff_not_found"
    title = "No such account"


class ApiKeyNotFound(NotFound):
    code = "api_key_not_found"
    title = "No such API key"


@dataclass(frozen=True, slots=True)
class Account:
    """`role` is one of STAFF_ROLES; times are UTC milliseconds; `version` is the store's."""

    name: str
    role: str
    disabled: bool
    created_ms: int
    updated_ms: int
    version: int
    password_hash: str = field(repr=False)
    epoch: str = field(repr=False)


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


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    label: str
    role: str
    created_ms: int


class Passwords:
    """Argon2id in worker threads, a few at once."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(ARGON2_PASSES, ARGON2_KIB, ARGON2_LANES)
        self._nobodys = self._hasher.hash(secrets.token_urlsafe(TOKEN_BYTES))
        self._free = asyncio.Semaphore(HASHES_AT_ONCE)
        self._asked = 0

    async def hash(self, password: str) -> str:
        """The hash to keep; raises Invalid for a password too short or too long, or Busy."""
        if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
            limits = f"{PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters"
            raise Invalid("password", limits)
        return await self._run(lambda: self._hasher.hash(_bytes(password)))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Whether it is the password; None, the hash of nobody, takes as long. Raises Busy."""
        if len(password) > PASSWORD_CHARS_MAX:
            return False
        matches = await self._run(lambda: self._matches(hashed or self._nobodys, password))
        return matches and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, _bytes(password))
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._asked >= HASHES_AT_ONCE + HASHES_WAITING:
            raise Busy("too many sign in at once")
        self._asked += 1
        try:
            async with self._free:
                return await asyncio.to_thread(work)
        finally:
            self._asked -= 1


class Staff:
    """Accounts, sessions and API keys in the store."""

    def __init__(self, store: Store, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms
        self._passwords = Passwords()

    # -- accounts ---------------------------------------------------------------------------------

    async def create(self, name: str, role: str, password: str) -> Account:
        """The new account; raises Invalid, AlreadyExists, LimitReached or Busy."""
        if not NAME.fullmatch(name) or name in RESERVED_NAMES:
            detail = "1 to 32 of a-z, 0-9, dot, dash and underscore, not admin, not nobody"
            raise Invalid("name", detail)
        hashed = await self._passwords.hash(password)
        await self._room_in(ACCOUNTS, ACCOUNTS_MAX)
        now_ms = self._now_ms()
        account = Account(name, _role(role), False, now_ms, now_ms, 0, hashed, _epoch())
        try:
            await self._keep(account, index={(ACCOUNTS, _account(name)): name})
        except Conflict:
            raise AlreadyExists(f"there is a {name} already", code="staff_exists") from None
        return await self.get(name)

    async def get(self, name: str) -> Account:
        """The account; raises StaffNotFound."""
        account = await self._load(name)
        if account is None:
            raise StaffNotFound("there is no such account")
        return account

    async def exists(self, name: str) -> bool:
        """Whether an account has this name."""
        return await self._load(name) is not None

    async def list(
        self, *, after: str | None = None, limit: int = 50
    ) -> tuple[list[Account], str | None]:
        """A page of accounts by name, and the name to give as `after` for the next, if there is one."""
        values, more = await self._page(ACCOUNTS, after, limit)
        accounts = [_unpack_account(*value) for value in values]
        page = [account for account in accounts if account is not None]
        return page, page[-1].name if more and page else None

    async def patch(
        self,
        name: str,
        *,
        role: str | None = None,
        password: str | None = None,
        disabled: bool | None = None,
    ) -> Account:
        """Change what is given, and end the account's sessions; raises StaffNotFound, Invalid, Busy."""
        await self.get(name)
        hashed = None if password is None else await self._passwords.hash(password)
        for _ in range(ATTEMPTS):
            account = await self.get(name)
            changed = replace(
                account,
                role=account.role if role is None else _role(role),
                disabled=account.disabled if disabled is None else disabled,
                password_hash=hashed or account.password_hash,
                epoch=_epoch(),
                updated_ms=self._now_ms(),
            )
            try:
                await self._keep(changed)
            except Conflict:
                continue
            return await self.get(name)
        raise Busy(f"the account {name} is being changed by others")

    async def delete(self, name: str) -> None:
        """The account and its sessions are no more; raises StaffNotFound."""
        item = _account((await self.get(name)).name)
        await self._commit(writes={item: None}, index={(ACCOUNTS, item): None})

    # -- sessions ---------------------------------------------------------------------------------

    async def log_in(self, name: str, password: str) -> NewSession:
        """A session for who knows the password; raises Unauthorized `login_failed`, or Busy."""
        account = await self._load(name)
        hashed = None if account is None else account.password_hash
        right = await self._passwords.verify(hashed, password)
        if account is None or account.disabled or not right:
            raise Unauthorized("the name or the password is not right", code="login_failed")
        if self._passwords.outdated(account.password_hash):
            await self._rehash(account, password)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        return await self._open(token, account.name, account.role, account.epoch)

    async def log_in_admin(self, admin_token: str) -> NewSession:
        """A session for who has shown the admin token; it ends when that token changes."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        return await self._open(token, ADMIN, ADMIN, _mac(token, f"admin {admin_token}"))

    async def session(self, token: str, admin_token: str) -> Session | None:
        """The session of a token if it is good now; `admin_token` is the one of today."""
        kept = await self._kept_session(token)
        if kept is None or kept["expires_ms"] <= self._now_ms():
            return None
        name, epoch = kept["name"], kept["epoch"]
        role: str | None = ADMIN
        if name == ADMIN:
            valid = hmac.compare_digest(epoch, _mac(token, f"admin {admin_token}"))
        else:
            account = await self._load(name)
            role = None if account is None or account.disabled else account.role
            valid = account is not None and hmac.compare_digest(epoch, account.epoch)
        if role is None or not valid:
            return None
        return Session(name, role, _mac(token, "csrf"), kept["expires_ms"])

    async def log_out(self, token: str) -> None:
        """End the session, if there is one."""
        kept = await self._kept_session(token)
        if kept is not None:
            await self._forget({_session(token): kept["name"]})

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

    # -- API keys ---------------------------------------------------------------------------------

    async def create_api_key(self, label: str, role: str) -> tuple[ApiKey, str]:
        """The new key and its text, told once; raises Invalid or LimitReached."""
        label, role = checked_text("label", label, LABEL_CHARS), _role(role)
        await self._room_in(API_KEYS, API_KEYS_MAX)
        text = API_KEY_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        now_ms = self._now_ms()
        key = ApiKey(new_id("apk", now_ms), label, role, now_ms)
        members = {"id": key.id, "label": label, "role": role, "created_ms": now_ms}
        item = _api_key(text)
        await self._commit(writes={item: msgpack.packb(members)}, index={(API_KEYS, item): key.id})
        return key, text

    async def api_keys(
        self, *, after: str | None = None, limit: int = 50
    ) -> tuple[builtins.list[ApiKey], str | None]:
        """A page of keys, oldest first, and the id to give as `after` for the next, if any."""
        values, more = await self._page(API_KEYS, after, limit)
        page = [ApiKey(**msgpack.unpackb(value)) for value, _ in values if value is not None]
        return page, page[-1].id if more and page else None

    async def api_key(self, text: str) -> ApiKey:
        """The key with this text; raises Unauthorized."""
        if len(text) <= TOKEN_CHARS_MAX:
            item = _api_key(text)
            value = (await self._store.load([item]))[item][0]
            if value is not None:
                return ApiKey(**msgpack.unpackb(value))
        raise Unauthorized("the API key is not valid", code="token_invalid")

    async def delete_api_key(self, id: str) -> None:
        """The key opens nothing any more; raises ApiKeyNotFound."""
        items = await self._store.scan(API_KEYS, id, f"{id}\0", 1)
        if not items:
            raise ApiKeyNotFound("there is no such API key")
        await self._commit(writes={items[0]: None}, index={(API_KEYS, items[0]): None})

    # -- in the store -----------------------------------------------------------------------------

    async def _load(self, name: str) -> Account | None:
        if not NAME.fullmatch(name):
            return None
        item = _account(name)
        return _unpack_account(*(await self._store.load([item]))[item])

    async def _keep(
        self, account: Account, *, index: dict[tuple[str, str], str | None] | None = None
    ) -> None:
        item = _account(account.name)
        reads = {item: account.version}
        await self._commit(reads=reads, writes={item: _pack_account(account)}, index=index)

    async def _rehash(self, account: Account, password: str) -> None:
        hashed = await self._passwords.hash(password)
        with suppress(Conflict):  # whoever changed the account has made a new hash, or ended it
            await self._keep(replace(account, password_hash=hashed))

    async def _open(self, token: str, name: str, role: str, epoch: str) -> NewSession:
        await self._make_room_for_a_session(name)
        expires_ms = self._now_ms() + SESSION_MS
        item, sort = _session(token), _sort(expires_ms)
        members = {"name": name, "epoch": epoch, "expires_ms": expires_ms}
        index: dict[tuple[str, str], str | None] = {
            (EXPIRIES, item): sort,
            (_sessions_of(name), item): sort,
        }
        await self._commit(writes={item: msgpack.packb(members)}, index=index)
        return NewSession(token, Session(name, role, _mac(token, "csrf"), expires_ms))

    async def _make_room_for_a_session(self, name: str) -> None:
        items = await self._store.scan(_sessions_of(name), "", INDEX_END, SESSIONS_PER_NAME)
        if len(items) == SESSIONS_PER_NAME:
            await self._forget({items[0]: name})

    async def _kept_session(self, token: str) -> dict[str, Any] | None:
        if len(token) > TOKEN_CHARS_MAX:
            return None
        item = _session(token)
        value = (await self._store.load([item]))[item][0]
        return None if value is None else msgpack.unpackb(value)

    async def _forget(self, sessions: Mapping[str, str | None]) -> None:
        """Delete the sessions {key: name of its account}."""
        index: dict[tuple[str, str], str | None] = {(EXPIRIES, key): None for key in sessions}
        for key, name in sessions.items():
            if name is not None:
                index[_sessions_of(name), key] = None
        await self._commit(writes=dict.fromkeys(sessions), index=index)

    async def _page(
        self, index: str, after: str | None, limit: int
    ) -> tuple[builtins.list[Versioned], bool]:
        """Values in the order of the index, and whether there are more."""
        limit = max(1, min(limit, PAGE_MAX))
        low = "" if after is None else f"{after}\0"
        keys = await self._store.scan(index, low, INDEX_END, limit + 1)
        found = await self._store.load(keys[:limit])
        return list(found.values()), len(keys) > limit

    async def _room_in(self, index: str, limit: int) -> None:
        """Raise LimitReached where the index is full; a few who come at once may pass it."""
        if len(await self._store.scan(index, "", INDEX_END, limit)) == limit:
            raise LimitReached(f"there are {limit} already")

    async def _commit(
        self,
        *,
        reads: Mapping[str, int] | None = None,
        writes: Mapping[str, bytes | None],
        index: Mapping[tuple[str, str], str | None] | None = None,
    ) -> None:
        commit_id = new_id("cmt", self._now_ms())
        await self._store.commit(commit_id, reads=reads, writes=writes, index=index)


def _role(role: str) -> str:
    if role not in STAFF_ROLES:
        raise Invalid("role", f"one of {', '.join(STAFF_ROLES)}")
    return role


def _epoch() -> str:
    return secrets.token_hex(8)


def _bytes(password: str) -> bytes:
    """The same bytes for what looks the same, whatever keyboard it comes from (RFC 8265 §4.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _mac(token: str, words: str) -> str:
    """HMAC-SHA256 (RFC 2104) of the words under a session's token, in base64url."""
    mac = hmac.digest(token.encode("utf-8", "surrogatepass"), words.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _account(name: str) -> str:
    return f"staff/{name}"


def _session(token: str) -> str:
    return f"staff-session/{_hash(token)}"


def _sessions_of(name: str) -> str:
    return f"staff-sessions/{name}"


def _api_key(text: str) -> str:
    return f"api-key/{_hash(text)}"


def _sort(utc_ms: int) -> str:
    return f"{utc_ms:015d}"


def _name_in(session: bytes | None) -> str | None:
    return None if session is None else msgpack.unpackb(session)["name"]


def _pack_account(account: Account) -> bytes:
    members = {
        "name": account.name,
        "role": account.role,
        "disabled": account.disabled,
        "created_ms": account.created_ms,
        "updated_ms": account.updated_ms,
        "password_hash": account.password_hash,
        "epoch": account.epoch,
    }
    return msgpack.packb(members)


def _unpack_account(value: bytes | None, version: int) -> Account | None:
    return None if value is None else Account(**msgpack.unpackb(value), version=version)
