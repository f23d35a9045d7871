"""/healthz and /readyz over a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from commerce.store import SqliteStore
from mediaserver.api.health import HealthApi
from mediaserver.api.problem import install


def client_of(api: HealthApi) -> TestClient[web.Request, web.Application]:
    app = web.Application()
    install(app)
    app.add_routes(api.routes())
    return TestClient(TestServer(app))


async def test_ready_while_all_parts_work_and_then_names_the_one_that_does_not(
    tmp_path: Path,
) -> None:
    store = await SqliteStore.open(tmp_path / "hawker.db")

    async def rtmp() -> None:
        return None

    api = HealthApi({"store": lambda: store.load(["any"]), "rtmp": rtmp})
    async with client_of(api) as client:
        ready = await client.get("/readyz")
        assert ready.status == 200
        assert await ready.json() == {"status": "ok", "checks": {"store": "ok", "rtmp": "ok"}}
        await store.close()
        not_ready = await client.get("/readyz")
        body = await not_ready.json()
        assert (not_ready.status, body["code"]) == (503, "not_ready")
        assert body["checks"] == {"store": "failed", "rtmp": "ok"}
        assert "store" in body["detail"]
        alive = await client.get("/healthz")
        assert (alive.status, await alive.json()) == (200, {"status": "ok"})


async def test_a_part_that_does_not_answer_in_time_is_not_ready() -> None:
    never = asyncio.Event()
    async with client_of(HealthApi({"udp": never.wait}, check_s=0.02)) as client:
        response = await client.get("/readyz")
        assert response.status == 503
        assert (await response.json())["checks"] == {"udp": "timed out"}
