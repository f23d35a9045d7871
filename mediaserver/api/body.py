"""Request bodies, bounded in size and in time."""

from __future__ import annotations

import asyncio

from aiohttp import web

from mediaserver.errors import PeerError

BODY_S = 10.0  # what is sent here comes in less over any line; who sends slower holds a connection


class TooLarge(PeerError):
    status = 413
    code = "too_large"
    title = "Body too large"


class TooSlow(PeerError):
    status = 408
    code = "too_slow"
    title = "Body too slow"


async def read_body(request: web.Request, most_bytes: int, *, within_s: float = BODY_S) -> bytes:
    """The whole body; raises TooLarge or TooSlow."""
    body = b""
    try:
        async with asyncio.timeout(within_s):
            while chunk := await request.content.read(most_bytes + 1 - len(body)):
                body += chunk
                if len(body) > most_bytes:
                    raise TooLarge(f"a body has at most {most_bytes} bytes")
    except TimeoutError:
        raise TooSlow(f"the body did not come within {within_s:g} s") from None
    return body
