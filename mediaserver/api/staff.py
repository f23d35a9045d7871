"""The staff over HTTP: signing in and out, accounts, API keys, the permission table, the audit log.

A page's session is a cookie that scripts cannot read and other sites cannot send (HttpOnly,
SameSite=Strict: RFC 6265bis §5.6.7). Signing in is answered alike for every wrong pair, and slowly after
LOGIN_FAILURES of them; the admin token is too long to be guessed and is limited by address only, so
that nobody can lock its owner out.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from commerce.errors import Refusal
from commerce.ids import utc_ms
from commerce.timestamps import rfc3339
from mediaserver.api.auth import (
    NOBODY,
    SESSION_COOKIE,
    WRONG_TOKEN,
    Caller,
    caller_of,
    challenged,
    refuse_foreign_page,
    require,
)
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import operation
from mediaserver.api.pagination import BadQuery, PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.signalling import bearer
from mediaserver.errors import TooMany

LOGIN_FAILED = "login_failed"
LOGIN_FAILURES, LOGIN_FAILURES_S = 10, 600.0
NAMES_REMEMBERED = 10_000  # with names that are none: guessing names must not grow the process
NAME_CHARS = 33  # one more than an account's may have, so that longer ones lock nobody out
LOGINS_PER_S = 1.0  # from one address; behind a proxy the whole staff has one
LOGINS_BURST = 60
SIGNING_IN, STAFF = "signing in", "staff"

Role = Literal["operator", "host", "moderator", "finance", "engineer"]
Password = Annotated[SecretStr, Field(min_length=10, max_length=200)]


class Session(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def csrf(self) -> str: ...
    @property
    def expires_ms(self) -> int: ...


class NewSession(Protocol):
    @property
    def token(self) -> str: ...
    @property
    def session(self) -> Session: ...


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


class ApiKey(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def created_ms(self) -> int: ...


class Entry(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def at_ms(self) -> int: ...
    @property
    def by(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def act(self) -> str: ...
    @property
    def target(self) -> Mapping[str, str]: ...


class Staff(Protocol):
    async def log_in(self, name: str, password: str) -> NewSession: ...
    async def log_out(self, token: str) -> None: ...
    async def exists(self, name: str) -> bool: ...
    async def create(self, name: str, role: str, password: str) -> Account: ...
    async def list(
        self, *, after: str | None = None, limit: int = 50
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
    async def create_api_key(self, label: str, role: str) -> tuple[ApiKey, str]: ...
    async def api_keys(
        self, *, after: str | None = None, limit: int = 50
    ) -> tuple[Sequence[ApiKey], str | None]: ...
    async def delete_api_key(self, id: str) -> None: ...


class Callers(Protocol):
    async def session(self, token: str) -> Session | None: ...
    async def log_in_admin(self, token: str) -> NewSession: ...
    def permissions(self) -> dict[str, Any]: ...


class AuditLog(Protocol):
    async def record(self, name: str, role: str, act: str, target: Mapping[str, str]) -> None: ...
    async def page(
        self, *, before: int | None = None, limit: int = 50
    ) -> tuple[Sequence[Entry], int | None]: ...


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SignIn(Body):
    """Either name and password, or the admin token."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "alice", "password": "a long password"}]}
    )

    name: str | None = None
    password: SecretStr | None = None
    admin_token: SecretStr | None = None

    @model_validator(mode="after")
    def _one_way(self) -> SignIn:
        given = (self.name is not None, self.password is not None, self.admin_token is not None)
        if given not in ((True, True, False), (False, False, True)):
            raise ValueError("send name and password, or admin_token")
        return self


class NewAccount(Body):
    name: str
    role: Role
    password: Password


class AccountPatch(Body):
    role: Role | None = None
    password: Password | None = None
    disabled: bool | None = None


class NewApiKey(Body):
    label: str
    role: Role


class SignedInDocument(BaseModel):
    name: str
    role: str
    csrf: str = Field(description="goes into X-CSRF-Token beside the cookie")
    acts: list[str]


class MeDocument(BaseModel):
    name: str
    role: str = Field(description="`nobody` without a credential")
    acts: list[str]
    csrf: str | None = Field(description="only for the cookie's session")
    sub: str | None = Field(description="whose orders these are")


class AccountDocument(BaseModel):
    name: str
    role: Role
    disabled: bool
    created_at: str
    updated_at: str


class AccountsPage(BaseModel):
    items: list[AccountDocument]
    next: str | None


class ApiKeyDocument(BaseModel):
    id: str
    label: str
    role: Role
    created_at: str


class NewApiKeyDocument(ApiKeyDocument):
    key: str = Field(description="told this once")


class ApiKeysPage(BaseModel):
    items: list[ApiKeyDocument]
    next: str | None


class PermissionsDocument(BaseModel):
    roles: list[str]
    acts: list[str]
    table: dict[str, list[str]]


class EntryDocument(BaseModel):
    id: str
    at: str
    by: str
    role: str
    act: str
    target: dict[str, str]


class AuditPage(BaseModel):
    items: list[EntryDocument]
    next: str | None


class LoginFailures:
    """How often a name was tried in the last LOGIN_FAILURES_S, in a bounded table."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._tried: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, name: str) -> None:
        """One more try, counted before its outcome is known; raises TooMany with Retry-After."""
        name, now = name[:NAME_CHARS], self._monotonic()
        tried = self._tried.setdefault(name, deque(maxlen=LOGIN_FAILURES))
        if len(tried) == LOGIN_FAILURES and (wait_s := tried[0] + LOGIN_FAILURES_S - now) > 0:
            headers = {"Retry-After": f"{math.ceil(wait_s)}"}
            raise TooMany("too many wrong passwords for this name", headers=headers)
        tried.append(now)
        self._tried.move_to_end(name)
        if len(self._tried) > NAMES_REMEMBERED:
            self._tried.popitem(last=False)

    def forget(self, name: str) -> None:
        """The name has signed in."""
        self._tried.pop(name[:NAME_CHARS], None)


class StaffApi:
    """Handlers of signing in, `/v1/staff`, `/v1/api-keys`, `/v1/permissions` and `/v1/audit`."""

    def __init__(
        self,
        staff: Staff,
        callers: Callers,
        audit: AuditLog,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._staff = staff
        self._callers = callers
        self._audit = audit
        self._failures = LoginFailures(monotonic)
        self._addresses = AddressLimiter(
            per_s=LOGINS_PER_S, burst=LOGINS_BURST, monotonic=monotonic
        )

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/login", self._log_in),
            web.post("/v1/logout", self._log_out),
            web.get("/v1/me", self._me),
            web.post("/v1/staff", self._create),
            web.get("/v1/staff", self._list),
            web.patch("/v1/staff/{name}", self._patch),
            web.delete("/v1/staff/{name}", self._delete),
            web.post("/v1/api-keys", self._create_key),
            web.get("/v1/api-keys", self._list_keys),
            web.delete("/v1/api-keys/{id}", self._delete_key),
            web.get("/v1/permissions", self._permissions),
            web.get("/v1/audit", self._entries),
        ]

    # -- signing in -------------------------------------------------------------------------------

    @operation(
        "Sign in on a page of the staff's",
        SIGNING_IN,
        body=SignIn,
        reply=SignedInDocument,
        errors={401: LOGIN_FAILED, 403: "csrf", 429: "too_many", 503: "busy"},
        reply_headers=("Set-Cookie",),
    )
    async def _log_in(self, request: web.Request) -> web.Response:
        refuse_foreign_page(request)
        self._addresses.check(request.remote)
        wanted = await read_json(request, SignIn)
        try:
            opened = await self._sign_in(wanted)
        except Refusal as refusal:
            if refusal.code == LOGIN_FAILED:
                await self._record_failure(wanted.name)
            raise challenged(refusal) from None
        session = opened.session
        await self._audit.record(session.name, session.role, "login", {})
        acts = self._callers.permissions()["table"][session.role]
        body = {"name": session.name, "role": session.role, "csrf": session.csrf, "acts": acts}
        response = web.json_response(body, headers=NO_STORE)
        response.set_cookie(
            SESSION_COOKIE,
            opened.token,
            max_age=(session.expires_ms - utc_ms()) // 1000,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return response

    @operation("Sign out", SIGNING_IN, status=204, errors={**WRONG_TOKEN, 403: "csrf"})
    async def _log_out(self, request: web.Request) -> web.Response:
        caller = await caller_of(request)
        token = _session_token(request)
        if token is not None:
            await self._staff.log_out(token)
            if caller.role != NOBODY:
                await self._audit.record(caller.name, caller.role, "logout", {})
        response = web.Response(status=204, headers=NO_STORE)
        response.del_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="Strict")
        return response

    @operation("Ask who one is", SIGNING_IN, reply=MeDocument, errors=WRONG_TOKEN)
    async def _me(self, request: web.Request) -> web.Response:
        caller = await caller_of(request)
        token = _session_token(request)
        session = None if token is None else await self._callers.session(token)
        body = {
            "name": caller.name,
            "role": caller.role,
            "acts": self._acts_of(caller),
            "csrf": None if session is None else session.csrf,
            "sub": caller.sub,
        }
        return web.json_response(body, headers=NO_STORE)

    @operation("Read who may do what", SIGNING_IN, reply=PermissionsDocument, errors=WRONG_TOKEN)
    async def _permissions(self, request: web.Request) -> web.Response:
        await caller_of(request)
        return web.json_response(self._callers.permissions(), headers=NO_STORE)

    # -- accounts ---------------------------------------------------------------------------------

    @operation(
        "Make an account",
        STAFF,
        auth="staff.manage",
        body=NewAccount,
        reply=AccountDocument,
        status=201,
        errors={409: "staff_exists limit_reached", 503: "busy"},
        reply_headers=("Location",),
    )
    async def _create(self, request: web.Request) -> web.Response:
        await require(request, "staff.manage")
        wanted = await read_json(request, NewAccount)
        await require(request, "staff.manage", staff=wanted.name, role=wanted.role)
        password = wanted.password.get_secret_value()
        account = await self._staff.create(wanted.name, wanted.role, password)
        headers = {**NO_STORE, "Location": f"/v1/staff/{account.name}"}
        return web.json_response(_account(account), status=201, headers=headers)

    @operation("List the accounts", STAFF, auth="staff.manage", query=PageQuery, reply=AccountsPage)
    async def _list(self, request: web.Request) -> web.Response:
        await require(request, "staff.manage")
        query = read_query(request, PageQuery)
        accounts, cursor = await self._staff.list(after=query.cursor, limit=query.limit)
        body = page([_account(account) for account in accounts], cursor)
        return web.json_response(body, headers=NO_STORE)

    @operation(
        "Change an account and end its sessions",
        STAFF,
        auth="staff.manage",
        body=AccountPatch,
        reply=AccountDocument,
        errors={404: "staff_not_found", 503: "busy"},
    )
    async def _patch(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await require(request, "staff.manage")
        wanted = await read_json(request, AccountPatch)
        changed = " ".join(sorted(wanted.model_dump(exclude_none=True)))
        await require(request, "staff.manage", staff=name, changed=changed)
        password = None if wanted.password is None else wanted.password.get_secret_value()
        account = await self._staff.patch(
            name, role=wanted.role, password=password, disabled=wanted.disabled
        )
        return web.json_response(_account(account), headers=NO_STORE)

    @operation(
        "Delete an account and end its sessions",
        STAFF,
        auth="staff.manage",
        status=204,
        errors={404: "staff_not_found"},
    )
    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await require(request, "staff.manage", staff=name, changed="deleted")
        await self._staff.delete(name)
        return web.Response(status=204, headers=NO_STORE)

    # -- API keys ---------------------------------------------------------------------------------

    @operation(
        "Make an API key",
        STAFF,
        auth="staff.manage",
        body=NewApiKey,
        reply=NewApiKeyDocument,
        status=201,
        errors={409: "limit_reached"},
    )
    async def _create_key(self, request: web.Request) -> web.Response:
        await require(request, "staff.manage")
        wanted = await read_json(request, NewApiKey)
        await require(request, "staff.manage", api_key=wanted.label, role=wanted.role)
        key, text = await self._staff.create_api_key(wanted.label, wanted.role)
        body = {**_api_key(key), "key": text}
        return web.json_response(body, status=201, headers=NO_STORE)

    @operation("List the API keys", STAFF, auth="staff.manage", query=PageQuery, reply=ApiKeysPage)
    async def _list_keys(self, request: web.Request) -> web.Response:
        await require(request, "staff.manage")
        query = read_query(request, PageQuery)
        keys, cursor = await self._staff.api_keys(after=query.cursor, limit=query.limit)
        return web.json_response(page([_api_key(key) for key in keys], cursor), headers=NO_STORE)

    @operation(
        "Delete an API key",
        STAFF,
        auth="staff.manage",
        status=204,
        errors={404: "api_key_not_found"},
    )
    async def _delete_key(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        await require(request, "staff.manage", api_key=id, changed="deleted")
        await self._staff.delete_api_key(id)
        return web.Response(status=204, headers=NO_STORE)

    # -- the audit log ----------------------------------------------------------------------------

    @operation(
        "Read who did what, newest first",
        STAFF,
        auth="audit.read",
        query=PageQuery,
        reply=AuditPage,
        errors={400: "bad_query"},
    )
    async def _entries(self, request: web.Request) -> web.Response:
        await require(request, "audit.read")
        query = read_query(request, PageQuery)
        before = None if query.cursor is None else _seq(query.cursor)
        entries, cursor = await self._audit.page(before=before, limit=query.limit)
        body = page([_entry(each) for each in entries], None if cursor is None else str(cursor))
        return web.json_response(body, headers=NO_STORE)

    # ---------------------------------------------------------------------------------------------

    async def _sign_in(self, wanted: SignIn) -> NewSession:
        if wanted.admin_token is not None:
            return await self._callers.log_in_admin(wanted.admin_token.get_secret_value())
        assert wanted.name is not None and wanted.password is not None
        self._failures.count(wanted.name)
        opened = await self._staff.log_in(wanted.name, wanted.password.get_secret_value())
        self._failures.forget(wanted.name)
        return opened

    async def _record_failure(self, name: str | None) -> None:
        """Only an account's name is written down: what is typed as a name may be a password."""
        target = {} if name is None or not await self._staff.exists(name) else {"staff": name}
        await self._audit.record(NOBODY, NOBODY, "login.failed", target)

    def _acts_of(self, caller: Caller) -> list[str]:
        acts = self._callers.permissions()["acts"]
        return [act for act in acts if caller.may(act, caller.room)]


def _session_token(request: web.Request) -> str | None:
    """The cookie, where it says who asks: a bearer token wins over it."""
    return None if bearer(request) is not None else request.cookies.get(SESSION_COOKIE)


def _seq(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 15 and int(cursor) > 0):
        raise BadQuery("not allowed: cursor")
    return int(cursor)


def _account(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "role": account.role,
        "disabled": account.disabled,
        "created_at": rfc3339(account.created_ms),
        "updated_at": rfc3339(account.updated_ms),
    }


def _api_key(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "label": key.label,
        "role": key.role,
        "created_at": rfc3339(key.created_ms),
    }


def _entry(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "at": rfc3339(entry.at_ms),
        "by": entry.by,
        "role": entry.role,
        "act": entry.act,
        "target": dict(entry.target),
    }
