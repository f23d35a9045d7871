"""Request bodies, bounded in size and in time, and taken as they are: nothing is unpacked.

A kilobyte of gzip can be a gigabyte of spaces, and unpacking it would hold the loop that sends the
media. So the server's runner leaves bodies as they came, and who packs one is told (RFC 9110 §15.5.16).
"""

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


class UnsupportedCoding(PeerError):
    status = 415
    code = "unsupported_coding"
    title = "Unsupported content coding"


async def read_body(request: web.Request, most_bytes: int, *, within_s: float = BODY_S) -> bytes:
    """The whole body; raises UnsupportedCoding, TooLarge or TooSlow."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedCoding("send the body without a Content-Encoding")
    content = request.content
    if content.is_eof():  # all of it came with the head, as it does when it is small
        body = content.read_nowait()
        if len(body) > most_bytes:
            raise TooLarge(f"a body has at most {most_bytes} bytes")
        return body
    body = b""
    try:
        async with asyncio.timeout(within_s):
            while chunk := await content.read(most_bytes + 1 - len(body)):
                body += chunk
                if len(body) > most_bytes:
                    raise TooLarge(f"a body has at most {most_bytes} bytes")
    except TimeoutError:
        raise TooSlow(f"the body did not come within {within_s:g} s") from None
    return body
