"""Restreams over HTTP: who may, what is told of a key, and what becomes of a stream that runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from commerce.store import SqliteStore
from mediaserver.api.auth import CALLERS
from mediaserver.api.problem import install
from mediaserver.api.restreams import RestreamDocument, RestreamsApi
from mediaserver.egress.restream import Restreams, Target
from mediaserver.hub import Hub
from overlay.audit import AuditedStore, AuditLog
from overlay.callers import Callers
from overlay.order_links import OrderLinks
from overlay.restream_targets import RestreamTargets
from overlay.rooms import Rooms
from overlay.staff import Staff
from overlay.tokens import Tokens
from tests.api.shop_house import ADMIN_TOKEN, SECRET, bearer
from tests.egress.nginx_rtmp import free_port

KEY = "live_0123456789abcdef"
URL = "rtmp://live.example.com/app"
PATH = "/v1/rooms/show/restreams"
ADMIN = bearer(ADMIN_TOKEN)


class House:
    """The API on the real store, with the restreams of a hub."""

    def __init__(
        self, client: TestClient[Any, Any], hub: Hub, staff: Staff, audit: AuditLog
    ) -> None:
        self.client, self.hub, self.staff, self.audit = client, hub, staff, audit

    async def ask(
        self, method: str, path: str = "", body: object = None, headers: dict[str, str] = ADMIN
    ) -> tuple[int, Any]:
        reply = await self.client.request(method, PATH + path, json=body, headers=headers)
        assert KEY not in await reply.text()
        return reply.status, await reply.json() if await reply.read() else None

    async def made(self, **members: Any) -> Any:
        status, made = await self.ask(
            "POST", "", {"name": "Mine", "url": URL, "key": KEY, **members}
        )
        assert status == 201, made
        RestreamDocument.model_validate(made)
        return made


@asynccontextmanager
async def open_house(directory: Path, *, allow_private: bool = False) -> AsyncIterator[House]:
    store = AuditedStore(await SqliteStore.open(directory / "hawker.db"))
    rooms, staff = Rooms(store), Staff(store)
    await rooms.create("Show", id="show")
    targets = RestreamTargets(store, bytes(32), room_exists=rooms.exists, limit=2)

    async def enabled(room: str) -> list[Target]:
        kept = await targets.list(room)
        return [Target(each.id, each.url, each.key) for each in kept if each.enabled]

    hub = Hub()
    restreams = Restreams(hub, enabled, allow_private=allow_private)
    restreams.start()
    app = web.Application()
    app[CALLERS] = Callers(Tokens(SECRET), staff, OrderLinks(SECRET), ADMIN_TOKEN)
    install(app)
    app.add_routes(RestreamsApi(targets, restreams).routes())
    async with TestClient(TestServer(app)) as client:
        yield House(client, hub, staff, AuditLog(store))
    await restreams.close()
    hub.drain()
    await store.close()


async def test_a_target_is_made_read_changed_stopped_started_and_deleted(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        made = await house.made(rendition="720p")
        assert (made["key_hint"], made["health"]["state"]) == ("cdef", "idle")
        one = f"/{made['id']}"
        assert await house.ask("GET", one) == (200, made)
        status, changed = await house.ask("PATCH", one, {"name": "Ours", "rendition": ""})
        assert status == 200 and changed == {**made, "name": "Ours", "rendition": ""}
        _, stopped = await house.ask("POST", f"{one}/stop")
        assert (stopped["enabled"], stopped["health"]["state"]) == (False, "stopped")
        _, started = await house.ask("POST", f"{one}/start")
        assert started == changed
        assert await house.ask("GET") == (200, {"items": [changed], "next": None})
        assert await house.ask("DELETE", one) == (204, None)
        status, problem = await house.ask("GET", one)
        assert (status, problem["code"]) == (404, "restream_not_found")


@pytest.mark.parametrize(
    ("role", "read", "written"),
    [
        ("operator", 200, 201),
        ("host", 200, 201),
        ("moderator", 200, 403),
        ("engineer", 200, 403),
        ("finance", 403, 403),
    ],
)
async def test_who_may_look_and_who_may_send(
    tmp_path: Path, role: str, read: int, written: int
) -> None:
    async with open_house(tmp_path) as house:
        _, key = await house.staff.api_keys.create(f"a {role}", role)
        body = {"name": "Mine", "url": URL, "key": KEY}
        assert (await house.ask("GET", "", None, bearer(key)))[0] == read
        assert (await house.ask("POST", "", body, bearer(key)))[0] == written
        assert (await house.ask("GET", "", None, {}))[0] == 401


@pytest.mark.parametrize(
    "url",
    ["http://host/app", "rtmp://127.0.0.1/live", "rtmp://[::1]/live", "rtmp://10.0.0.1/x", "x"],
)
async def test_a_url_that_may_not_be_sent_to_is_refused_at_once(tmp_path: Path, url: str) -> None:
    async with open_house(tmp_path) as house:
        body = {"name": "Mine", "url": url, "key": KEY}
        status, problem = await house.ask("POST", "", body)
        assert (status, problem["code"]) == (422, "restream_url")


async def test_a_room_has_no_more_than_its_limit(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        for _ in range(2):
            await house.made()
        status, problem = await house.ask("POST", "", {"name": "x", "url": URL, "key": KEY})
        assert (status, problem["code"]) == (409, "limit_reached")


async def test_the_health_of_a_running_one_is_told_and_every_act_is_in_the_audit_log(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path, allow_private=True) as house:
        made = await house.made(url=f"rtmp://127.0.0.1:{free_port()}/live")
        show = house.hub.publish(
            "show", protocol="rtmp", clock_rate=1000, on_close=lambda why: None
        )
        began = time.time()
        async with asyncio.timeout(10):
            while (found := (await house.ask("GET"))[1]["items"][0])["health"][
                "state"
            ] != "retrying":
                await asyncio.sleep(0.01)
        health = found["health"]
        assert health["error_code"] == "unreachable" and health["last_error"]
        assert health["since"].startswith(time.strftime("%Y-", time.gmtime(began)))
        _, stopped = await house.ask("POST", f"/{made['id']}/stop")
        assert stopped["health"]["state"] == "stopped"
        show.close("done", finished=True)
        entries, _ = await house.audit.page()
        assert [each.act for each in entries] == ["restreams.write"] * 2
        assert entries[0].target == {"room": "show", "restream": made["id"]}
        assert KEY not in str(entries)
