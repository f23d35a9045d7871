"""The demo's way to the server: its HTTP API, as any program would use it.

What the server cannot do now (503, 429, no answer) is `Unavailable`, for whoever runs the show to try
again; what it refuses is `Refused`, with its problem code (RFC 9457).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

import aiohttp

Json: TypeAlias = dict[str, Any]

ANSWER_S = 30.0  # the server may be busy, and pictures take a while on a small machine
PAGE = 100
ATTEMPTS = 5  # at an edit that others make as well


class Unavailable(Exception):
    """The server does not answer, or not now."""


class Refused(Exception):
    """The server's refusal: `status`, and its problem `code`."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code


class Client:
    """Calls with one credential; `url` is the server's origin."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str) -> None:
        self.http = http
        self.url = url
        self._token = token

    def acting_as(self, token: str) -> Client:
        """The same server with another credential."""
        return Client(self.http, self.url, token)

    async def get(self, path: str) -> Json:
        return (await self._call("GET", path))[0]

    async def post(self, path: str, body: Any, *, key: str | None = None) -> Json:
        """`body` is sent as JSON, form data as it is; `key` as Idempotency-Key."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return (await self._call("POST", path, body, headers))[0]

    async def delete(self, path: str) -> None:
        """Gone is gone, whoever did it."""
        try:
            await self._call("DELETE", path)
        except Refused as refusal:
            if refusal.status != 404:
                raise

    async def items(self, path: str) -> AsyncIterator[Json]:
        """Everything in a list."""
        cursor = ""
        while True:
            page = await self.get(f"{path}?limit={PAGE}{cursor}")
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            cursor = f"&cursor={page['next']}"

    async def set_price(self, sku: str, amount: int, currency: str) -> str:
        """Give a SKU this price; its price version."""
        path, price = f"/v1/skus/{sku}/price", {"amount": amount, "currency": currency}
        for _ in range(ATTEMPTS):
            now, etag = await self._call("GET", path)
            if now["price"] == price:
                return str(now["price_version"])
            try:
                set, _ = await self._call("PUT", path, {"price": price}, {"If-Match": etag})
                return str(set["price_version"])
            except Refused as refusal:
                if refusal.status != 412:
                    raise
        raise Unavailable(f"others change the price of {sku}")

    async def set_available(self, sku: str, pieces: int, reason: str) -> None:
        """Put on hand what orders hold of a SKU, and as many pieces more."""
        path = f"/v1/skus/{sku}/stock"
        for _ in range(ATTEMPTS):
            stock, etag = await self._call("GET", path)
            if stock["available"] == pieces:
                return
            on_hand = stock["reserved"] + stock["committed"] + pieces
            headers = {"If-Match": etag, "Idempotency-Key": secrets.token_hex(8)}
            try:
                await self._call("PUT", path, {"on_hand": on_hand, "reason": reason}, headers)
                return
            except Refused as refusal:
                if refusal.code not in ("stale", "below_held"):
                    raise
        raise Unavailable(f"others change the stock of {sku}")

    async def _call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Json, str]:
        """The answer and its ETag; raises Refused or Unavailable."""
        sent: Json = {"data": body} if isinstance(body, aiohttp.FormData) else {"json": body}
        try:
            async with self.http.request(
                method,
                f"{self.url}{path}",
                headers={"Authorization": f"Bearer {self._token}", **(headers or {})},
                timeout=aiohttp.ClientTimeout(total=ANSWER_S),
                **sent,
            ) as reply:
                answer = {} if reply.status == 204 else await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(f"no answer from the server: {type(error).__name__}") from error
        if reply.status in (429, 502, 503):
            raise Unavailable(f"the server says {reply.status}")
        if reply.status >= 400:
            raise Refused(reply.status, str(answer.get("code")), str(answer.get("detail")))
        return answer, reply.headers.get("ETag", "")
