"""The description over HTTP: `/v1/openapi.json`, for any page to read."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any

from aiohttp import web

from mediaserver.api.operation import operation

PATH = "/v1/openapi.json"


class OpenApi:
    """The document, rendered and compressed once."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._plain = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        self._zipped = gzip.compress(self._plain, mtime=0)
        self._tag = hashlib.sha256(self._plain).hexdigest()[:16]

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self._get)]

    @operation(
        "This description, as OpenAPI 3.1",
        "server",
        reply="application/json",
        reply_headers=("ETag",),
    )
    async def _get(self, request: web.Request) -> web.Response:
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")
        tag = f"{self._tag}-gzip" if zipped else self._tag
        headers = {
            "Access-Control-Allow-Origin": "*",
            "Cache-Control": "no-cache",
            "ETag": f'"{tag}"',
            "Vary": "Accept-Encoding",
        }
        if any(held.value in ("*", tag) for held in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        if zipped:
            headers["Content-Encoding"] = "gzip"
        body = self._zipped if zipped else self._plain
        return web.Response(body=body, content_type="application/json", headers=headers)
