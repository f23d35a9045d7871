"""The permission table over HTTP: which role may do what."""

from __future__ import annotations

from typing import Any, Protocol

from aiohttp import web
from pydantic import BaseModel

from mediaserver.api.auth import WRONG_TOKEN, caller_of
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE


class Permissions(Protocol):
    def permissions(self) -> dict[str, Any]: ...


class PermissionsDocument(BaseModel):
    roles: list[str]
    acts: list[str]
    table: dict[str, list[str]]


class PermissionsApi:
    """The handler of `/v1/permissions`."""

    def __init__(self, callers: Permissions) -> None:
        self._callers = callers

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/permissions", self._get)]

    @operation("Read who may do what", "signing in", reply=PermissionsDocument, errors=WRONG_TOKEN)
    async def _get(self, request: web.Request) -> web.Response:
        await caller_of(request)
        return web.json_response(self._callers.permissions(), headers=NO_STORE)
