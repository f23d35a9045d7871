"""Either end of the socket between the server and a worker."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from mediaserver.egress import control
from mediaserver.errors import ProtocolError

log = logging.getLogger("hawker.workers")

READ_BYTES = 256 << 10
WRITE_LIMIT_BYTES = 8 << 20  # a second of many events to many viewers; beyond, the end is stuck


class Link:
    """Sends at once and never waits: who lets WRITE_LIMIT_BYTES lie is cut off."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._messages = control.MessageReader()
        self._received: deque[Any] = deque()  # of one read

    @classmethod
    async def connect(cls, path: Path) -> Link:
        """Raises OSError."""
        return cls(*await asyncio.open_unix_connection(str(path)))

    @property
    def closed(self) -> bool:
        return self._writer.transport.is_closing()

    def tell(self, message: Any) -> None:
        """Send a message of `control`; nothing happens once closed."""
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > WRITE_LIMIT_BYTES:
            log.warning("cut off who does not read")
            self.close()
            return
        self._writer.write(control.serialize(message))

    async def receive(self) -> Any | None:
        """The next message; None once either end has closed."""
        while not self._received:
            try:
                data = await self._reader.read(READ_BYTES)
                self._received.extend(self._messages.feed(data))
            except ProtocolError as error:
                log.error("closed the connection: %s", error.detail)
                self.close()
                return None
            except ConnectionError:
                return None
            if not data:
                return None
        return self._received.popleft()

    async def messages(self) -> AsyncIterator[Any]:
        """What comes, until either end closes."""
        while (message := await self.receive()) is not None:
            yield message

    async def flush(self) -> None:
        """Wait until what was told is with the system; raises ConnectionError."""
        self._writer.transport.set_write_buffer_limits(high=0)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.transport.abort()
