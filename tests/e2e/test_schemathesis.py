"""The API as schemathesis tries it on a running server: in every role, with other people's ids.

Each request is made up once from the description and sent by everybody in turn. No answer may be a
5xx or anything else than the description says, and nobody may see or change what is another's.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.server import ADMIN, Server, running

TRIES = 7  # requests made up for each operation, each sent by everybody
ANSWER_S = 5.0
SET = (
    "limits.orders_per_minute=1000000",
    "limits.posts_per_minute=1000000",
    "webhooks.allow_private=true",
    "restream.allow_private=true",
)
ROLES = ("host", "operator", "moderator", "finance", "engineer")
OWNED = {"order", "payment", "return", "case", "dispute", "key"}  # in a path: somebody's
PROVIDERS = "/v1/sandbox/payments/{payment}"  # the provider's page: who knows the id may pay
LATE = ("deliver", "receive", "refunds", "cancel", "end")  # the end of a path
NAME = {"ana": "Ana Unmistakable", "ben": "Ben Inimitable"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# aiohttp's own answers, before any handler: a path that is none, a method that is not there.
OF_NO_HANDLER = {(404, "not_found"), (405, "method_not_allowed")}

for kind in ("application/sdp", "application/trickle-ice-sdpfrag"):
    schemathesis.serializer.alias(kind, "text/plain")


@dataclass(frozen=True, slots=True)
class Someone:
    """A caller; `room` where it is staff of that room alone, `sub` where it is a buyer."""

    name: str
    token: str | None
    sub: str = ""
    room: str = ""
    staff: bool = False

    def is_stranger(self, owner: str) -> bool:
        """Whether nothing of `owner`'s, who bought in the room `show`, is for these eyes."""
        return self.sub != owner and (not self.staff or self.room not in ("", "show"))


@dataclass(frozen=True, slots=True)
class Known:
    """Ids by the name that they have in a path, and whose they are."""

    owner: str
    ids: dict[str, str]


@dataclass(slots=True)
class Show:
    """What is there before the tries."""

    everybody: list[Someone]
    shared: dict[str, str]
    owned: list[Known] = field(default_factory=list)


@pytest.mark.timeout(300)  # its thousands of tries are all work
async def test_every_operation_answers_everybody_as_the_document_says(tmp_path: Path) -> None:
    async with running(tmp_path, *SET) as server:
        async with server.http.get(f"{server.url}/v1/openapi.json") as reply:
            described = await reply.json()
        show = await set_up(server)
        tries = Tries(server.url, described, show)
        await asyncio.to_thread(tries.run)
        listed = described["components"]["schemas"]["Problem"]["properties"]["code"]["description"]
        assert not tries.wrong, "\n".join(sorted(set(tries.wrong)))
        assert {code for code in tries.codes if f"`{code}`" not in listed} == set()
        assert len(tries.codes) > 30 and len(tries.done) > 90


async def set_up(server: Server) -> Show:
    """A room with what it sells, and two buyers of whom each has bought, sent back and complained."""
    for room in ("show", "elsewhere"):
        await server.room(room)
    product = await server.product("Cup", "cup", stock=500)
    price = {"amount": 500, "currency": "CNY"}
    bag = {"product_id": product["id"]}
    await server.api("POST", "/v1/rooms/show/bag", bag)
    sale = {
        "sku": "cup",
        "price": price,
        "ends_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    hook = {"url": "http://127.0.0.1:9/hook"}  # nobody answers
    target = {"name": "Other", "url": "rtmp://127.0.0.1:9/app", "key": "live_1"}
    threshold = {"kind": "threshold", "title": "Spring", "spend": price, "off": price}
    coupon = {"title": "Thanks", "off": price, "quota": 500}
    made = {
        "card": await server.api("POST", "/v1/rooms/show/cards", bag),
        "sale": await server.api("POST", "/v1/rooms/show/flash-sales", sale),
        "webhook": await server.api("POST", "/v1/webhook-endpoints", hook),
        "restream": await server.api("POST", "/v1/rooms/show/restreams", target),
        "promotion": await server.api("POST", "/v1/promotions", threshold),
        "coupon": await server.api("POST", "/v1/coupons", coupon),
    }
    shared = {name: each["id"] for name, each in made.items()} | {
        "room": "show",
        "product": product["id"],
        "product_id": product["id"],
        "sku": "cup",
        "provider": "sandbox",
        "ends_at": sale["ends_at"],
        "from": "2020-01-01",
        "to": "2020-02-01",
    }
    show = Show(await everybody(server), shared)
    for one in show.everybody:
        if one.sub in NAME:
            show.owned += await bought(server, one, shared["coupon"])
    return show


async def everybody(server: Server) -> list[Someone]:
    """Nobody, two buyers, staff of each role for all rooms and for another room, the admin."""
    them = [Someone("nobody", None)]
    for sub in NAME:
        them.append(Someone(sub, await server.viewer(sub), sub))
    for role in ROLES:
        made = await server.api("POST", "/v1/api-keys", {"label": role, "role": role})
        them.append(Someone(role, made["key"], staff=True))
    for role in ("operator", "finance"):
        token = await server.viewer(f"{role}-there", "elsewhere", role=role)
        them.append(Someone(f"{role} elsewhere", token, room="elsewhere", staff=True))
    return [*them, Someone("admin", ADMIN, staff=True)]


async def bought(server: Server, buyer: Someone, coupon: str) -> list[Known]:
    """An order that is not paid, one that is, and one with all that may come after."""
    mine = {"Authorization": f"Bearer {buyer.token}"}
    lines = [{"sku": "cup", "qty": 3}]
    contact = {"name": NAME[buyer.sub], "phone": "13800138000"}
    keys = itertools.count()

    async def act(path: str, body: Any, **more: str) -> Any:
        key = f"{buyer.sub}-{next(keys)}"
        return await server.api("POST", path, body, Idempotency_Key=key, **more)

    await act(f"/v1/coupons/{coupon}/claims", {}, **mine)
    found = []
    for steps in range(3):
        key = f"{buyer.sub}-{steps}-order"
        body = {"lines": lines, "contact": contact}
        order = await server.api("POST", "/v1/orders", body, Idempotency_Key=key, **mine)
        ids = {"order": str(order["id"]), "key": key}
        at = f"/v1/orders/{order['id']}"
        if steps:
            ids["payment"] = (await act(f"{at}/payments", {}, **mine))["id"]
            pay = f"/v1/sandbox/payments/{ids['payment']}"
            await act(pay, {"card": "4242424242424242"})
            async with asyncio.timeout(ANSWER_S):
                while (await server.api("GET", at))["payment"] != "paid":
                    await asyncio.sleep(0.02)
        if steps == 2:
            await act(f"{at}/ship", {"tracking": "SF1", "carrier": "SF"})
            await act(f"{at}/deliver", {})
            back = {"lines": [{"sku": "cup", "qty": 1}], "reason": "broken"}
            sad = {"kind": "damaged", "text": f"{NAME[buyer.sub]} is sad"}
            ids["return"] = (await act(f"{at}/returns", back, **mine))["id"]
            ids["case"] = (await act(f"{at}/cases", sad, **mine))["id"]
            await act(f"{at}/refunds", back)
            ids["dispute"] = await disputed(server, ids["payment"])
        found.append(Known(buyer.sub, ids))
    return found


async def disputed(server: Server, payment: str) -> str:
    """Have the buyer's bank dispute the payment; the dispute's id."""
    await server.api("POST", f"/v1/sandbox/payments/{payment}/dispute", {"said": "opened"})
    async with asyncio.timeout(ANSWER_S):
        while True:
            for each in (await server.api("GET", "/v1/payments/disputes"))["items"]:
                if each["payment"] == payment:
                    return str(each["id"])
            await asyncio.sleep(0.02)


class Tries:
    """All operations of the document, tried by everybody; `wrong` is what was found."""

    def __init__(self, url: str, described: dict[str, Any], show: Show) -> None:
        self.wrong: list[str] = []
        self.codes: set[str] = set()
        self.refused = 0
        self.done: set[str] = set()
        self._url = url
        self._show = show
        self._keys = itertools.count()
        config = schemathesis.Config()
        config.projects.default.generation.update(with_security_parameters=False)
        self._schema = schemathesis.openapi.from_dict(described, config=config)

    def run(self) -> None:
        with requests.Session() as session:
            self._session = session
            for operation in sorted(self._operations(), key=_late):
                self._try(operation)

    def _operations(self) -> Iterator[Any]:
        for found in self._schema.get_all_operations():
            yield found.ok()  # type: ignore[union-attr]  # a wrong description raises

    def _try(self, operation: Any) -> None:
        names = {name for name in OWNED if f"{{{name}}}" in operation.path}
        fit = [known for known in self._show.owned if names <= set(known.ids)]
        turns = itertools.cycle([*fit, None])  # None: all of it as it was made up

        @settings(
            max_examples=TRIES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def each(case: Any) -> None:
            known = next(turns)
            if known is not None:
                self._put_ids(case, known)
            for one in self._show.everybody:
                self._send(case, one, known)

        each()

    def _put_ids(self, case: Any, known: Known) -> None:
        """Ids of what is there; about what is ana's, the body that the document has as its example."""
        ids = self._show.shared | known.ids
        for parameters in (case.path_parameters, case.query):
            for name in parameters or ():
                parameters[name] = ids.get(name, parameters[name])
        told = case.operation.definition.raw.get("requestBody", {}).get("content", {})
        if known.owner == "ana" and "application/json" in told:
            case.body = told["application/json"].get("example", case.body)
        case.body = _known_body(case.body, ids | {"qty": 1, "price_version": None, "coupons": []})

    def _send(self, case: Any, one: Someone, known: Known | None) -> None:
        reply = self._answer(case, one, known=known is not None)
        said = f"{case.method} {case.operation.path} by {one.name}: {reply.status_code}"
        try:
            case.validate_response(reply, checks=CHECKS)
        except (Failure, FailureGroup) as found:
            self.wrong += [f"{said} {each}" for each in getattr(found, "exceptions", (found,))]
        if reply.status_code < 400:
            self.done.add(case.operation.label)
        else:
            self._check_refusal(case, reply, said)
        self._check_privacy(case, reply, one, known, said)

    def _answer(self, case: Any, one: Someone, *, known: bool = True) -> Any:
        headers = {} if one.token is None else {"Authorization": f"Bearer {one.token}"}
        if known:
            headers |= {"Idempotency-Key": f"try-{next(self._keys)}", "If-Match": "*"}
        return case.call(
            base_url=self._url, session=self._session, headers=headers, timeout=ANSWER_S
        )

    def _check_refusal(self, case: Any, reply: Any, said: str) -> None:
        if "application/problem+json" not in reply.headers.get("content-type", [""])[0]:
            self.wrong.append(f"{said} is no problem")
            return
        code = reply.json()["code"]
        self.refused += 1
        told = case.operation.definition.raw["responses"].get(str(reply.status_code), {})
        if (reply.status_code, code) in OF_NO_HANDLER:
            return
        self.codes.add(code)
        if code not in told.get("x-codes", ()):
            self.wrong.append(f"{said} {code} is not said of it")

    def _check_privacy(
        self, case: Any, reply: Any, one: Someone, known: Known | None, said: str
    ) -> None:
        if case.operation.path.startswith(PROVIDERS):
            return
        for each in self._show.owned:
            if not one.is_stranger(each.owner):
                continue
            told = reply.text if reply.status_code < 400 else ""
            seen = [id for id in (NAME[each.owner], *each.ids.values()) if id in told]
            if seen:
                self.wrong.append(f"{said} tells {seen} of {each.owner}")
            if each is known and set(case.path_parameters or ()) & set(known.ids):
                self._check_hidden(case, reply, one, said)

    def _check_hidden(self, case: Any, reply: Any, one: Someone, said: str) -> None:
        """Somebody else's is answered as what never was."""
        own = dict(case.path_parameters)
        try:
            for name in set(own) & OWNED:
                case.path_parameters[name] = own[name][:-1] + _other(own[name])
            never = self._answer(case, one)
        finally:
            case.path_parameters.update(own)
        if _told(reply) != _told(never):
            self.wrong.append(f"{said} {_told(reply)}, of what never was {_told(never)}")


def _known_body(body: Any, ids: dict[str, Any]) -> Any:
    """The body, with what is there in place of what was made up."""
    if isinstance(body, list):
        return [_known_body(each, ids) for each in body]
    if not isinstance(body, dict):
        return body
    return {name: ids[name] if name in ids else _known_body(body[name], ids) for name in body}


def _told(reply: Any) -> tuple[int, str]:
    """(status, code) of an answer; of one that is no refusal, its text."""
    if reply.status_code < 400:
        return reply.status_code, reply.text
    return reply.status_code, reply.json()["code"]


def _other(text: str) -> str:
    return "0" if text[-1] != "0" else "1"


def _late(operation: Any) -> tuple[bool, int, int, str]:
    """What ends an order comes after what it ends; what removes comes last, and then the room."""
    last = LATE.index(operation.path.rpartition("/")[2]) if operation.path.endswith(LATE) else -1
    return operation.method == "delete", last, -len(operation.path), operation.path
