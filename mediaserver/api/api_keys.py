"""API keys over HTTP: make one, list them, delete one. A key's text is told once, when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web
from pydantic import BaseModel, Field

from commerce.timestamps import rfc3339
from mediaserver.api.accounts import Role
from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.pagination import PAGE, PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

TAG = "staff"
MANAGE = "staff.manage"


class ApiKey(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def created_ms(self) -> int: ...


class ApiKeys(Protocol):
    async def create(self, label: str, role: str) -> tuple[ApiKey, str]: ...
    async def list(
        self, *, after: str | None = None, limit: int = PAGE
    ) -> tuple[Sequence[ApiKey], str | None]: ...
    async def delete(self, id: str) -> None: ...


class NewApiKey(Strict):
    label: str
    role: Role


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


class ApiKeysApi:
    """Handlers of `/v1/api-keys`."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/api-keys", self._create),
            web.get("/v1/api-keys", self._list),
            web.delete("/v1/api-keys/{id}", self._delete),
        ]

    @operation(
        "Make an API key",
        TAG,
        auth=MANAGE,
        body=NewApiKey,
        reply=NewApiKeyDocument,
        status=201,
        errors={409: "limit_reached"},
    )
    async def _create(self, request: web.Request) -> web.Response:
        await require(request, MANAGE)
        wanted = await read_json(request, NewApiKey)
        await require(request, MANAGE, api_key=wanted.label, role=wanted.role)
        key, text = await self._keys.create(wanted.label, wanted.role)
        body = {**_document(key), "key": text}
        return web.json_response(body, status=201, headers=NO_STORE)

    @operation("List the API keys", TAG, auth=MANAGE, query=PageQuery, reply=ApiKeysPage)
    async def _list(self, request: web.Request) -> web.Response:
        await require(request, MANAGE)
        query = read_query(request, PageQuery)
        keys, cursor = await self._keys.list(after=query.cursor, limit=query.limit)
        return web.json_response(page([_document(key) for key in keys], cursor), headers=NO_STORE)

    @operation(
        "Delete an API key",
        TAG,
        auth=MANAGE,
        status=204,
        errors={404: "api_key_not_found"},
    )
    async def _delete(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        await require(request, MANAGE, api_key=id, changed="deleted")
        await self._keys.delete(id)
        return web.Response(status=204, headers=NO_STORE)


def _document(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "label": key.label,
        "role": key.role,
        "created_at": rfc3339(key.created_ms),
    }
