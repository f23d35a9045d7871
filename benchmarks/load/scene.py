"""Prepares a node: rooms with stream keys, a product to buy, or a look at the room that is given.

Rooms and products that were made stay: a shop forgets nothing. Their names begin with `load`.
"""

from __future__ import annotations

import http.client
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from benchmarks.load.share import Plan, Scene

ANSWER_S = 10.0
LIVE_S = 15.0
POLL_S = 0.1
STOCK = 1_000_000
PRICE = {"amount": 1990, "currency": "CNY"}


class CannotLoad(Exception):
    """Why there is nothing to measure, in one line."""


def prepare(plan: Plan) -> Scene:
    """Raises CannotLoad when the node is not there, or lacks what is asked for."""
    node = Node(plan.url, plan.admin_token)
    node.call("GET", "/healthz")
    if plan.publishers == 0:
        return Scene((_wanted(plan),), sku=_sku_in_bag(node, plan) if plan.buyers else None)
    if plan.admin_token is None:
        raise CannotLoad(
            "to make rooms it wants HAWKER_ADMIN_TOKEN or --admin-token-file; "
            "or give --room and --publishers 0"
        )
    if plan.room is not None and plan.publishers > 1:
        raise CannotLoad("--room takes one publisher: a second one would take the room over")
    name = f"load-{secrets.token_hex(4)}"
    rooms = [plan.room] if plan.room else [f"{name}-{n + 1}" for n in range(plan.publishers)]
    keys = [_make_room(node, room) for room in rooms]
    sku = _make_product(node, name, rooms) if plan.buyers else None
    rtmp = plan.rtmp or node.call("GET", f"/v1/rooms/{rooms[0]}/publish-info")["rtmp_server"]
    return Scene(tuple(rooms), tuple(f"{rtmp.rstrip('/')}/{key}" for key in keys), sku)


def wait_until_live(plan: Plan, scene: Scene, interrupted: threading.Event) -> None:
    """Until a picture comes in every room; raises CannotLoad."""
    node, until = Node(plan.url, plan.admin_token), time.monotonic() + LIVE_S
    for room in scene.rooms:
        while not _on_the_air(node, room, bool(scene.publish)):
            if not scene.publish:
                raise CannotLoad(f"room {room} is not live: begin to publish, or leave --room out")
            if time.monotonic() > until:
                raise CannotLoad(
                    f"room {room} does not go on the air; is RTMP reachable from here?"
                )
            if interrupted.wait(POLL_S):
                raise CannotLoad("interrupted before anybody joined")


class Node:
    """The API of a running node; `call` raises CannotLoad with what the server said."""

    def __init__(self, url: str, admin_token: str | None) -> None:
        self._url = url
        self._token = admin_token

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, method=method)
        if self._token is not None and path != "/healthz":
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise CannotLoad(f"{method} {path}: {error.code} {_detail(error)}".strip()) from None
        except urllib.error.URLError as error:
            raise CannotLoad(f"{self._url} does not answer: {error.reason}") from None
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            raise CannotLoad(f"{self._url} is no Hawker: {type(error).__name__}") from None


def _wanted(plan: Plan) -> str:
    if plan.room is None:
        raise CannotLoad("without publishers it wants a --room that is live")
    return plan.room


def _on_the_air(node: Node, room: str, ours: bool) -> bool:
    """Ours are so when their codec is known; who only looks on is not told it."""
    if ours:
        return bool(node.call("GET", f"/v1/rooms/{room}/ingest")["codecs"])
    return bool(node.call("GET", f"/v1/rooms/{room}")["live"])


def _make_room(node: Node, room: str) -> str:
    """Its stream key."""
    body = {"id": room, "title": f"Load {room}"}
    return str(node.call("POST", "/v1/rooms", body)["stream_key"])


def _make_product(node: Node, name: str, rooms: list[str]) -> str:
    """The SKU of a product that is in every room's bag."""
    skus = [{"sku": name, "price": PRICE, "stock": STOCK}]
    product = node.call("POST", "/v1/products", {"title": f"Load {name}", "skus": skus})
    for room in rooms:
        node.call("POST", f"/v1/rooms/{room}/bag", {"product_id": product["id"]})
    return name


def _sku_in_bag(node: Node, plan: Plan) -> str:
    """The first SKU in the room's bag: real stock is bought."""
    for item in node.call("GET", f"/v1/rooms/{plan.room}/bag")["items"]:
        for sku in item["product"]["skus"]:
            return str(sku["sku"])
    raise CannotLoad(f"room {plan.room} has nothing in its bag to buy")


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error).get("detail", ""))
    except (ValueError, AttributeError):
        return ""
