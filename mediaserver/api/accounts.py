"""The staff's accounts over HTTP: make, list, change and delete them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

from aiohttp import web
from pydantic import BaseModel, Field, SecretStr

from commerce.timestamps import rfc3339
from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.pagination import PAGE, PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

TAG = "staff"
MANAGE = "staff.manage"

Role = Literal["operator", "host", "moderator", "finance", "engineer"]
Password = Annotated[SecretStr, Field(min_length=10, max_length=200)]


class Account(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def disabled(self) -> bool: ...
    @property
    def created_ms(self) -> int: ...
    @property
    def updated_ms(self) -> int: ...


class Accounts(Protocol):
    async def exists(self, name: str) -> bool: ...
    async def create(self, name: str, role: str, password: str) -> Account: ...
    async def list(
        self, *, after: str | None = None, limit: int = PAGE
    ) -> tuple[Sequence[Account], str | None]: ...
    async def patch(
        self,
        name: str,
        *,
        role: str | None = None,
        password: str | None = None,
        disabled: bool | None = None,
    ) -> Account: ...
    async def delete(self, name: str) -> None: ...


class NewAccount(Strict):
    name: str
    role: Role
    password: Password


class AccountPatch(Strict):
    role: Role | None = None
    password: Password | None = None
    disabled: bool | None = None


class AccountDocument(BaseModel):
    name: str
    role: Role
    disabled: bool
    created_at: str
    updated_at: str


class AccountsPage(BaseModel):
    items: list[AccountDocument]
    next: str | None


class AccountsApi:
    """Handlers of `/v1/staff`."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/staff", self._create),
            web.get("/v1/staff", self._list),
            web.patch("/v1/staff/{name}", self._patch),
            web.delete("/v1/staff/{name}", self._delete),
        ]

    @operation(
        "Make an account",
        TAG,
        auth=MANAGE,
        body=NewAccount,
        reply=AccountDocument,
        status=201,
        errors={409: "staff_exists limit_reached", 503: "busy"},
        reply_headers=("Location",),
    )
    async def _create(self, request: web.Request) -> web.Response:
        await require(request, MANAGE)
        wanted = await read_json(request, NewAccount)
        await require(request, MANAGE, staff=wanted.name, role=wanted.role)
        password = wanted.password.get_secret_value()
        account = await self._accounts.create(wanted.name, wanted.role, password)
        headers = {**NO_STORE, "Location": f"/v1/staff/{account.name}"}
        return web.json_response(_document(account), status=201, headers=headers)

    @operation("List the accounts", TAG, auth=MANAGE, query=PageQuery, reply=AccountsPage)
    async def _list(self, request: web.Request) -> web.Response:
        await require(request, MANAGE)
        query = read_query(request, PageQuery)
        accounts, cursor = await self._accounts.list(after=query.cursor, limit=query.limit)
        body = page([_document(account) for account in accounts], cursor)
        return web.json_response(body, headers=NO_STORE)

    @operation(
        "Change an account and end its sessions",
        TAG,
        auth=MANAGE,
        body=AccountPatch,
        reply=AccountDocument,
        errors={404: "staff_not_found", 503: "busy"},
    )
    async def _patch(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await require(request, MANAGE)
        wanted = await read_json(request, AccountPatch)
        changed = " ".join(sorted(wanted.model_dump(exclude_none=True)))
        await require(request, MANAGE, staff=name, changed=changed)
        password = None if wanted.password is None else wanted.password.get_secret_value()
        account = await self._accounts.patch(
            name, role=wanted.role, password=password, disabled=wanted.disabled
        )
        return web.json_response(_document(account), headers=NO_STORE)

    @operation(
        "Delete an account and end its sessions",
        TAG,
        auth=MANAGE,
        status=204,
        errors={404: "staff_not_found"},
    )
    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await require(request, MANAGE, staff=name, changed="deleted")
        await self._accounts.delete(name)
        return web.Response(status=204, headers=NO_STORE)


def _document(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "role": account.role,
        "disabled": account.disabled,
        "created_at": rfc3339(account.created_ms),
        "updated_at": rfc3339(account.updated_ms),
    }
