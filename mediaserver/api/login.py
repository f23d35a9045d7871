"""Signing in and out over HTTP, and who one is.

A page's session is a cookie that scripts cannot read and other sites cannot send (HttpOnly,
SameSite=Strict: RFC 6265bis §5.6.7). Signing in is answered alike for every wrong pair, and slowly after
LOGIN_FAILURES of them; the admin token is too long to be guessed and is limited by address only, so
that nobody can lock its owner out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from commerce.errors import Refusal
from commerce.ids import utc_ms
from mediaserver.api.accounts import Accounts
from mediaserver.api.audit import AuditLog
from mediaserver.api.auth import (
    NOBODY,
    SESSION_COOKIE,
    WRONG_TOKEN,
    Caller,
    caller_of,
    challenged,
    refuse_foreign_page,
)
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.login_failures import LoginFailures
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.signalling import bearer
from mediaserver.api.strict import Strict

TAG = "signing in"
LOGIN_FAILED = "login_failed"
LOGINS_PER_S = 1.0  # from one address; behind a proxy the whole staff has one
LOGINS_BURST = 60


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


class Sessions(Protocol):
    async def log_in(self, name: str, password: str) -> NewSession: ...
    async def log_out(self, token: str) -> None: ...


class Callers(Protocol):
    async def session(self, token: str) -> Session | None: ...
    async def log_in_admin(self, token: str) -> NewSession: ...
    def permissions(self) -> dict[str, Any]: ...


class SignIn(Strict):
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


class LoginApi:
    """Handlers of `/v1/login`, `/v1/logout` and `/v1/me`."""

    def __init__(
        self,
        sessions: Sessions,
        accounts: Accounts,
        callers: Callers,
        audit: AuditLog,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._accounts = accounts
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
        ]

    @operation(
        "Sign in on a page of the staff's",
        TAG,
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

    @operation("Sign out", TAG, status=204, errors={**WRONG_TOKEN, 403: "csrf"})
    async def _log_out(self, request: web.Request) -> web.Response:
        caller = await caller_of(request)
        token = _session_token(request)
        if token is not None:
            await self._sessions.log_out(token)
            if caller.role != NOBODY:
                await self._audit.record(caller.name, caller.role, "logout", {})
        response = web.Response(status=204, headers=NO_STORE)
        response.del_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="Strict")
        return response

    @operation("Ask who one is", TAG, reply=MeDocument, errors=WRONG_TOKEN)
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

    async def _sign_in(self, wanted: SignIn) -> NewSession:
        if wanted.admin_token is not None:
            return await self._callers.log_in_admin(wanted.admin_token.get_secret_value())
        assert wanted.name is not None and wanted.password is not None
        self._failures.count(wanted.name)
        opened = await self._sessions.log_in(wanted.name, wanted.password.get_secret_value())
        self._failures.forget(wanted.name)
        return opened

    async def _record_failure(self, name: str | None) -> None:
        """Only an account's name is written down: what is typed as a name may be a password."""
        target = {} if name is None or not await self._accounts.exists(name) else {"staff": name}
        await self._audit.record(NOBODY, NOBODY, "login.failed", target)

    def _acts_of(self, caller: Caller) -> list[str]:
        acts = self._callers.permissions()["acts"]
        return [act for act in acts if caller.may(act, caller.room)]


def _session_token(request: web.Request) -> str | None:
    """The cookie, where it says who asks: a bearer token wins over it."""
    return None if bearer(request) is not None else request.cookies.get(SESSION_COOKIE)
