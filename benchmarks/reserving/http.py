"""Buyers over HTTP/1.1: a kept connection each, a viewer token each, and nothing parsed but the status.

The client is as small as it can be, for it has its CPU from the same machine as the server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from benchmarks.loads import Commands
from benchmarks.reserving.buyers import Stretch, reserving, serve
from benchmarks.reserving.desk import ROOM

END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One request at a time; the answer is its status."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[int] | None = None
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def ask(self, request: bytes) -> asyncio.Future[int]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(END)
        if not end:
            return
        named = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(named) and self._answer is not None:
            self._buffer = b""
            self._answer.set_result(int(head.split(b" ", 2)[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed by the server"))


async def run(commands: Commands, urls: Sequence[str], tokens: Sequence[str]) -> None:
    """A load: a buyer for each token, spread over the servers."""
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    hosts = itertools.cycle([urlsplit(url) for url in urls])
    for _, host in zip(tokens, hosts, strict=False):
        _, connection = await loop.create_connection(
            Connection, host.hostname or "", host.port or 0
        )
        connections.append(connection)
    pid, runs = os.getpid(), 0

    async def begin(sku: str, seconds: float, rate: float) -> Stretch:
        nonlocal runs
        runs += 1
        body = json.dumps({"room": ROOM, "lines": [{"sku": sku, "qty": 1}]})
        heads = [
            f"POST /v1/orders HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nIdempotency-Key: "
            for token in tokens
        ]

        async def reserve(buyer: int, key: str) -> bool:
            request = f"{heads[buyer]}{key}\r\n\r\n{body}".encode()
            status = await connections[buyer].ask(request)
            if status not in (201, 409):
                raise ValueError(f"answered with {status}")
            return status == 201

        return await reserving(reserve, len(tokens), seconds, f"{pid}.{runs}", rate)

    try:
        await serve(commands, begin)
    finally:
        for connection in connections:
            connection.close()
