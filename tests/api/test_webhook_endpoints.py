"""Webhook endpoints over HTTP: who may, what is told of a secret, and sending again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from standardwebhooks import Webhook

from commerce.store import SqliteStore
from commerce.webhooks.courier import Courier
from commerce.webhooks.deliveries import Deliveries
from commerce.webhooks.endpoints import Endpoints
from commerce.webhooks.events import EVENTS
from commerce.webhooks.sending import Sender
from mediaserver.api.auth import CALLERS
from mediaserver.api.problem import install
from mediaserver.api.webhook_endpoints import WebhookEndpointsApi
from mediaserver.egress.restream.address import is_public
from overlay.audit import AuditedStore, AuditLog
from overlay.callers import Callers
from overlay.order_links import OrderLinks
from overlay.staff import Staff
from overlay.tokens import Tokens
from tests.api.shop_house import ADMIN_TOKEN, ROLES, SECRET, as_described, bearer
from tests.commerce.receiver import receiver

PATH = "/v1/webhook-endpoints"
URL = "https://erp.example.com/hook"
ADMIN = bearer(ADMIN_TOKEN)


@dataclass
class House:
    client: TestClient[Any, Any]
    staff: Staff
    audit: AuditLog
    endpoints: Endpoints
    store: AuditedStore

    async def ask(
        self, method: str, path: str = "", body: object = None, headers: dict[str, str] = ADMIN
    ) -> tuple[int, Any]:
        reply = await self.client.request(method, PATH + path, json=body, headers=headers)
        return reply.status, await reply.json() if await reply.read() else None

    async def made(self, **members: Any) -> dict[str, Any]:
        status, made = await self.ask("POST", "", {"url": URL, **members})
        assert status == 201, made
        document: dict[str, Any] = made
        return document


@asynccontextmanager
async def open_house(directory: Path, *, allow_private: bool = False) -> AsyncIterator[House]:
    store = AuditedStore(await SqliteStore.open(directory / "hawker.db"))
    staff = Staff(store)
    endpoints = Endpoints(
        store, bytes(32), limit=2, allow_private=allow_private, is_public=is_public
    )
    app = web.Application()
    app[CALLERS] = Callers(Tokens(SECRET), staff, OrderLinks(SECRET), ADMIN_TOKEN)
    install(app)
    app.middlewares.append(as_described)
    app.add_routes(WebhookEndpointsApi(endpoints, Deliveries(store)).routes())
    async with TestClient(TestServer(app)) as client:
        yield House(client, staff, AuditLog(store), endpoints, store)
    await store.close()


async def test_an_endpoint_is_made_read_changed_and_deleted_and_its_secret_told_once(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path) as house:
        made = await house.made(events=["order.*"])
        secret = made.pop("secret")
        assert secret.startswith("whsec_") and made["enabled"] and made["disabled_why"] is None
        one = f"/{made['id']}"
        assert await house.ask("GET", one) == (200, made)
        status, changed = await house.ask("PATCH", one, {"enabled": False, "events": ["*"]})
        assert status == 200 and changed == {**made, "enabled": False, "events": ["*"]}
        assert await house.ask("GET") == (200, {"items": [changed], "next": None})
        status, rotated = await house.ask("POST", f"{one}/rotate-secret")
        assert status == 200 and rotated["secret"] not in ("", secret)
        assert await house.ask("DELETE", one) == (204, None)
        for method, path in (("GET", one), ("DELETE", one), ("POST", f"{one}/test")):
            status, problem = await house.ask(method, path)
            assert (status, problem["code"]) == (404, "webhook_not_found")
        assert {entry.act for entry in (await house.audit.page())[0]} == {"webhooks.manage"}


@pytest.mark.parametrize("role", ROLES)
async def test_only_who_runs_the_shop_has_events_sent(tmp_path: Path, role: str) -> None:
    async with open_house(tmp_path) as house:
        _, key = await house.staff.api_keys.create(f"a {role}", role)
        allowed = role == "operator"
        assert (await house.ask("POST", "", {"url": URL}, bearer(key)))[0] == (
            201 if allowed else 403
        )
        assert (await house.ask("GET", "", None, bearer(key)))[0] == (200 if allowed else 403)
        assert (await house.ask("GET", "", None, {}))[0] == 401


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "http://example.com/"}, "webhook_url"),
        ({"url": "https://127.0.0.1/"}, "webhook_url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "webhook_url"),
        ({"url": URL, "events": []}, "invalid"),
        ({"url": URL, "events": ["order.sold"]}, "invalid"),
        ({"url": URL, "colour": "blue"}, "invalid"),
    ],
)
async def test_what_cannot_be_told_is_refused(
    tmp_path: Path, body: dict[str, object], code: str
) -> None:
    async with open_house(tmp_path) as house:
        status, problem = await house.ask("POST", "", body)
        assert (status, problem["code"]) == (422, code)


async def test_there_are_as_many_endpoints_as_the_limit_says(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        for _ in range(2):
            await house.made()
        status, problem = await house.ask("POST", "", {"url": URL})
        assert (status, problem["code"]) == (409, "limit_reached")


async def test_a_test_event_arrives_is_listed_and_is_sent_again(tmp_path: Path) -> None:
    async with open_house(tmp_path, allow_private=True) as house, receiver() as theirs:
        made = await house.made(url=theirs.url, events=["order.created"])
        one = f"/{made['id']}"
        status, sent = await house.ask("POST", f"{one}/test")
        assert (status, sent["state"], sent["attempts"]) == (202, "pending", 0)
        sender = Sender(allow_private=True, is_public=is_public)
        sender.open()
        courier = Courier(made["id"], house.store, house.endpoints, sender)
        assert await courier.turn()
        Webhook(made["secret"]).verify(theirs.got[0].body, dict(theirs.got[0].headers))
        status, listed = await house.ask("GET", f"{one}/deliveries?limit=1")
        (found,) = listed["items"]
        assert (found["id"], found["state"], found["status"]) == (sent["id"], "succeeded", 200)
        status, again = await house.ask("POST", f"{one}/deliveries/{sent['id']}/replay")
        assert (status, again["state"], again["next_attempt_at"] is None) == (202, "pending", False)
        assert await courier.turn()
        await sender.close()
        assert [got.id for got in theirs.got] == [sent["id"]] * 2
        replay = f"{one}/replay"
        since = {"since": "2020-01-01T00:00:00Z"}
        assert await house.ask("POST", replay, since) == (202, {"replayed": 0})


@pytest.mark.parametrize("since", ["yesterday", "2027-01-15", "1969-01-01T00:00:00Z", ""])
async def test_a_replay_wants_a_time_in_a_zone(tmp_path: Path, since: str) -> None:
    async with open_house(tmp_path) as house:
        made = await house.made()
        status, problem = await house.ask("POST", f"/{made['id']}/replay", {"since": since})
        assert (status, problem["code"]) == (422, "invalid")


async def test_what_is_not_known_is_not_found(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        one = f"/{(await house.made())['id']}"
        for event in ("evt_none", "%00", "..%2F", "x" * 500):
            status, problem = await house.ask("POST", f"{one}/deliveries/{event}/replay")
            assert (status, problem["code"]) == (404, "delivery_not_found")
        status, problem = await house.ask("GET", f"{one}/deliveries?cursor=nowhere")
        assert (status, problem["code"]) == (422, "invalid")


async def test_the_events_are_listed_for_everybody(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        reply = await house.client.get("/v1/webhook-events")
        assert reply.status == 200
        items = (await reply.json())["items"]
        assert {each["name"] for each in items} == set(EVENTS)
