"""Somebody else's server, which is told of events: it keeps what it gets and answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass(frozen=True)
class Got:
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def type(self) -> str:
        return str(self.document["type"])


@dataclass
class Receiver:
    """`status` and `headers` are its answer, but for the ids in `refused`, which get 500; while `held`
    is not set it gives none."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    got: list[Got] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        return [each.type for each in self.got]

    async def take(self, request: web.Request) -> web.Response:
        got = Got(
            {name.lower(): value for name, value in request.headers.items()}, await request.read()
        )
        self.got.append(got)
        await self.held.wait()
        status = 500 if got.id in self.refused else self.status
        return web.Response(status=status, headers=self.headers)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    made.held.set()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.take)
    async with TestServer(app) as server:
        made.url = str(server.make_url("/hook"))
        try:
            yield made
        finally:
            made.held.set()
