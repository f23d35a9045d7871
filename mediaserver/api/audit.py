"""The audit log over HTTP: who did what, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from aiohttp import web
from pydantic import BaseModel

from commerce.timestamps import rfc3339
from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.pagination import PAGE, BadQuery, PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE

CURSOR_DIGITS = 15


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
    @property
    def wrote(self) -> Sequence[str]: ...


class AuditLog(Protocol):
    async def record(self, name: str, role: str, act: str, target: Mapping[str, str]) -> None: ...
    async def page(
        self, *, before: int | None = None, limit: int = PAGE
    ) -> tuple[Sequence[Entry], int | None]: ...


class EntryDocument(BaseModel):
    id: str
    at: str
    by: str
    role: str
    act: str
    target: dict[str, str]
    wrote: list[str]


class AuditPage(BaseModel):
    items: list[EntryDocument]
    next: str | None


class AuditApi:
    """The handler of `/v1/audit`."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/audit", self._list)]

    @operation(
        "Read who did what, newest first",
        "staff",
        auth="audit.read",
        query=PageQuery,
        reply=AuditPage,
        errors={400: "bad_query"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        await require(request, "audit.read")
        query = read_query(request, PageQuery)
        before = None if query.cursor is None else _seq(query.cursor)
        entries, cursor = await self._audit.page(before=before, limit=query.limit)
        body = page([_entry(each) for each in entries], None if cursor is None else str(cursor))
        return web.json_response(body, headers=NO_STORE)


def _seq(cursor: str) -> int:
    short = len(cursor) <= CURSOR_DIGITS
    seq = int(cursor) if short and cursor.isascii() and cursor.isdigit() else 0
    if seq == 0:
        raise BadQuery("not allowed: cursor")
    return seq


def _entry(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "at": rfc3339(entry.at_ms),
        "by": entry.by,
        "role": entry.role,
        "act": entry.act,
        "target": dict(entry.target),
        "wrote": list(entry.wrote),
    }
