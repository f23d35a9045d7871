"""The staff's accounts: a name, a role and a password.

Kept as `staff/<name>`, with the password's hash. A changed password or role, a disabled, deleted or
replaced account has another `epoch` or none: what was opened under the former one has ended with it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgpack

from commerce.changes import Changes
from commerce.errors import AlreadyExists, Busy, Invalid, NotFound
from commerce.ids import utc_ms
from commerce.store import Conflict, Store
from overlay.index_page import check_room_in, index_page
from overlay.passwords import Passwords
from overlay.permissions import ADMIN, checked_role

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
RESERVED_NAMES = (ADMIN, "nobody")  # what the audit log calls others
ACCOUNTS_MAX = 500
ATTEMPTS = 8  # two who change one account at once; more would be a bug
INDEX = "staff"


class StaffNotFound(NotFound):
    code = "staff_not_found"
    title = "No such account"


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


class Accounts:
    """The accounts in the store."""

    def __init__(
        self, store: Store, passwords: Passwords, now_ms: Callable[[], int] = utc_ms
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._now_ms = now_ms

    async def create(self, name: str, role: str, password: str) -> Account:
        """The new account; raises Invalid, AlreadyExists, LimitReached or Busy."""
        if not NAME.fullmatch(name) or name in RESERVED_NAMES:
            detail = "1 to 32 of a-z, 0-9, dot, dash and underscore, not admin, not nobody"
            raise Invalid("name", detail)
        hashed = await self._passwords.hash(password)
        await check_room_in(self._store, INDEX, ACCOUNTS_MAX)
        now_ms = self._now_ms()
        account = Account(name, checked_role(role), False, now_ms, now_ms, 0, hashed, _epoch())
        try:
            await self._keep(account, index={(INDEX, _item(name)): name})
        except Conflict:
            raise AlreadyExists(f"there is a {name} already", code="staff_exists") from None
        return await self.get(name)

    async def get(self, name: str) -> Account:
        """The account; raises StaffNotFound."""
        account = await self.find(name)
        if account is None:
            raise StaffNotFound("there is no such account")
        return account

    async def find(self, name: str) -> Account | None:
        """The account, None where there is none."""
        if not NAME.fullmatch(name):
            return None
        item = _item(name)
        return _unpack(*(await self._store.load([item]))[item])

    async def exists(self, name: str) -> bool:
        """Whether an account has this name."""
        return await self.find(name) is not None

    async def list(
        self, *, after: str | None = None, limit: int = 50
    ) -> tuple[list[Account], str | None]:
        """A page of accounts by name, and the name to give as `after` for the next, if there is one."""
        values, more = await index_page(self._store, INDEX, after, limit)
        accounts = [_unpack(*value) for value in values]
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
                role=account.role if role is None else checked_role(role),
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
        item = _item((await self.get(name)).name)
        changes = Changes(self._now_ms(), writes={item: None}, index={(INDEX, item): None})
        await changes.commit(self._store)

    async def rehash(self, account: Account, password: str) -> None:
        """Make the hash of a right password anew where it is of other parameters than today's."""
        if not self._passwords.outdated(account.password_hash):
            return
        hashed = await self._passwords.hash(password)
        with suppress(Conflict):  # whoever changed the account has made a new hash, or ended it
            await self._keep(replace(account, password_hash=hashed))

    async def _keep(
        self, account: Account, *, index: dict[tuple[str, str], str | None] | None = None
    ) -> None:
        item = _item(account.name)
        changes = Changes(self._now_ms(), reads={item: account.version}, index=index or {})
        changes.writes[item] = _pack(account)
        await changes.commit(self._store)


def _epoch() -> str:
    return secrets.token_hex(8)


def _item(name: str) -> str:
    return f"staff/{name}"


def _pack(account: Account) -> bytes:
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


def _unpack(value: bytes | None, version: int) -> Account | None:
    return None if value is None else Account(**msgpack.unpackb(value), version=version)
