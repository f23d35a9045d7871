"""Webhooks from the server that runs: what is sold and what goes on the air reaches another server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from standardwebhooks import Webhook

from tests.commerce.receiver import Receiver, receiver
from tests.e2e.server import running

HEARD_S = 20.0


async def heard(theirs: Receiver, type: str) -> None:
    async with asyncio.timeout(HEARD_S):
        while type not in theirs.types:
            await asyncio.sleep(0.02)


async def test_a_product_that_is_put_up_and_a_test_arrive_signed(tmp_path: Path) -> None:
    async with receiver() as theirs, running(tmp_path, "webhooks.allow_private=true") as server:
        wanted = {"url": theirs.url, "events": ["stock.changed"]}
        endpoint = await server.api("POST", "/v1/webhook-endpoints", wanted)
        sku = {"price": {"amount": 1990, "currency": "CNY"}, "stock": 5}
        await server.api("POST", "/v1/products", {"title": "Cup", "skus": [sku]})
        await heard(theirs, "stock.changed")
        await server.api("POST", f"/v1/webhook-endpoints/{endpoint['id']}/test")
        await heard(theirs, "webhook.test")
        for got in theirs.got:
            Webhook(endpoint["secret"]).verify(got.body, dict(got.headers))
        assert theirs.got[0].document["data"]["stock"]["available"] == 5
