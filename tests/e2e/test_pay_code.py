"""A payment by QR code on the watch page: the code that is drawn says what the provider wants said."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import segno
from playwright.async_api import expect

from tests.e2e.browser import browser
from tests.e2e.server import Server, running

# the picture's modules, row by row, true where it is dark
MODULES = """async (img) => {
  await img.decode();
  const { naturalWidth: side } = img;
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = canvas.getContext("2d");
  context.drawImage(img, 0, 0);
  const { data } = context.getImageData(0, 0, side, side);
  const row = (y) => Array.from({ length: side }, (_, x) => data[4 * (y * side + x)] < 128);
  return Array.from({ length: side }, (_, y) => row(y));
}"""


async def _act(server: Server, token: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": secrets.token_hex(8)}
    async with server.http.post(f"{server.url}{path}", json=body, headers=headers) as reply:
        assert reply.status == 201, await reply.text()
        return dict(await reply.json())


async def test_the_code_that_is_drawn_is_the_provider_s(tmp_path: Path, chromium: str) -> None:
    async with running(tmp_path) as server, browser(chromium) as opened:
        await server.room()
        await server.product("Tea bowl", "CUP-1", stock=1)
        token = await server.viewer("ann")
        order = await _act(server, token, "/v1/orders", {"lines": [{"sku": "CUP-1", "qty": 1}]})
        path = f"/v1/orders/{order['id']}/payments"
        payment = await _act(server, token, path, {"method": {"flow": "qr"}})

        context = await opened.new_context(viewport={"width": 360, "height": 640})
        page = await context.new_page()
        await page.goto(f"{server.url}/watch/show?lang=en#token={token}")
        await page.locator("#own").click()
        picture = page.get_by_test_id("pay-code")
        await expect(picture).to_be_visible()
        code = segno.make_qr(payment["next"]["content"])
        drawn = [[bool(module) for module in row] for row in code.matrix_iter(border=4)]
        assert await picture.evaluate(MODULES) == drawn
