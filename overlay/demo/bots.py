"""Labelled bots: viewers of the room with tokens of their own, who chat, like, buy and pay.

Each is an ordinary viewer. One speaks over the room's WebSocket (`rid` leads a reply to its question),
another over HTTP; what they do is the same act.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import aiohttp

from overlay.demo.client import Client, Json, Refused, Unavailable
from overlay.demo.words import LABEL

TOKEN_S = 7 * 24 * 3600  # a show that runs longer begins anew
REPLY_S = 20.0
CARD = "4242424242424242"  # the sandbox's, approved


async def token_of(client: Client, room: str, name: str, number: int) -> str:
    """A viewer token for the bot of this name; the label is part of its name."""
    body = {
        "room": room,
        "sub": f"bot-{number:02d}",
        "name": f"{LABEL}{name}",
        "ttl_s": TOKEN_S,
    }
    return str((await client.post("/v1/viewer-tokens", body))["token"])


class Viewer:
    """A bot in the room by WebSocket, for the length of an `async with`."""

    def __init__(self, client: Client, room: str, token: str) -> None:
        self._client = client
        self._room = room
        self._token = token
        self._asked: dict[str, asyncio.Future[Json]] = {}

    async def __aenter__(self) -> Viewer:
        """Raises Unavailable or Refused."""
        url = f"{self._client.url}/v1/rooms/{self._room}/events"
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            self._socket = await self._client.http.ws_connect(
                url, headers=headers, protocols=["hawker.v1.json"]
            )
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(error.status, "handshake", "no WebSocket") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"no WebSocket: {type(error).__name__}") from error
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._socket.close()

    async def ask(self, type: str, data: Mapping[str, Any]) -> Json:
        """The reply's data; raises Refused, or Unavailable when the connection is gone."""
        rid = secrets.token_hex(4)
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._asked[rid] = answer
        try:
            if self._reading.done():
                raise Unavailable("the WebSocket has ended")
            await self._socket.send_json({"rid": rid, "t": type, "d": dict(data)})
            async with asyncio.timeout(REPLY_S):
                return await answer
        except (ConnectionError, TimeoutError) as error:
            raise Unavailable("no reply over the WebSocket") from error
        finally:
            del self._asked[rid]

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    self._heard(json.loads(message.data))
        finally:
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(Unavailable("the WebSocket has ended"))

    def _heard(self, event: Json) -> None:
        if event["t"] not in ("reply", "error"):
            return
        data = event["d"]
        answer = self._asked.get(data["rid"])
        if answer is None or answer.done():
            return
        if event["t"] == "reply":
            answer.set_result(data)
        else:
            answer.set_exception(Refused(0, str(data["code"]), str(data["detail"])))


async def buy(
    client: Client, room: str, token: str, sku: str, price_version: str, *, pays: bool, spoken: bool
) -> str | None:
    """Buy one piece and pay it with the test card; the order's id, None when there was none left.

    `spoken`: over WebSocket, else over HTTP. Raises Unavailable or Refused.
    """
    order = {"lines": [{"sku": sku, "qty": 1}], "price_version": price_version}
    with suppress(OutOfStock):
        if spoken:
            async with Viewer(client, room, token) as viewer:
                return await _buy_spoken(viewer, order, pays=pays)
        return await _buy_over_http(client.acting_as(token), room, order, pays=pays)
    return None


class OutOfStock(Exception):
    """Others were faster."""


async def _buy_spoken(viewer: Viewer, order: Json, *, pays: bool) -> str:
    try:
        bought = await viewer.ask("buy", {"key": secrets.token_hex(8), **order})
    except Refused as refusal:
        raise _known(refusal) from refusal
    id = str(bought["order"]["id"])
    if pays:
        method = {"card": CARD}
        await viewer.ask("pay", {"key": secrets.token_hex(8), "order": id, "method": method})
    return id


async def _buy_over_http(client: Client, room: str, order: Json, *, pays: bool) -> str:
    try:
        bought = await client.post("/v1/orders", {"room": room, **order}, key=secrets.token_hex(8))
    except Refused as refusal:
        raise _known(refusal) from refusal
    id = str(bought["id"])
    if pays:
        body = {"method": {"card": CARD}}
        await client.post(f"/v1/orders/{id}/payments", body, key=secrets.token_hex(8))
    return id


def _known(refusal: Refused) -> Exception:
    return OutOfStock() if refusal.code == "out_of_stock" else refusal
