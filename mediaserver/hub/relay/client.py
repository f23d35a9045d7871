"""The relay's client: another process's streams, and a way to give it renditions.

What arrives for a slow consumer waits here up to INBOX_ITEMS and then in the socket, so that the
skipping is done in one place, the server's Readers. It follows that a consumer that stops reading
without closing holds up the others of its connection: give one that may be slow a client of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from mediaserver.errors import ProtocolError
from mediaserver.hub.relay import wire
from mediaserver.hub.stream import Notice, StreamEnded
from mediaserver.media import Kind, Packet, Track

log = logging.getLogger("hawker.relay")

READ_BYTES = 256 << 10
GREETING_S = 10.0
INBOX_ITEMS = 256  # about 3 s of one stream with sound
_T = TypeVar("_T")


class RelayClient:
    """One connection to a RelayServer; make it with `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._channels = itertools.count()
        self._changes: _Inbox[wire.Change] = _Inbox()
        self._subscriptions: dict[int, Subscription] = {}
        self._publications: dict[int, RelayPublication] = {}
        self._greeted = asyncio.Event()  # or ended before
        self._task = asyncio.create_task(self._run())

    @classmethod
    async def connect(cls, path: Path) -> RelayClient:
        """Connect to a server's socket and wait for its greeting; raises OSError."""
        async with asyncio.timeout(GREETING_S):
            reader, writer = await asyncio.open_unix_connection(str(path))
            client = cls(reader, writer)
            client._send(wire.Hello())
            try:
                await client._greeted.wait()
            finally:
                if not client._greeted.is_set():
                    await client.close()
        if client._task.done():
            raise ConnectionAbortedError(f"no relay speaks at {path}")
        return client

    async def watch(self) -> AsyncIterator[wire.Change]:
        """Changes of streams, first of those that are live; ends with the connection."""
        self._send(wire.Watch())
        while changes := await self._changes.take():
            for change in changes:
                yield change

    def subscribe(
        self, stream: str, *, from_keyframe: bool = True, kinds: Iterable[Kind] = ()
    ) -> Subscription:
        """Packets of `stream`; `kinds` empty means every kind. An unknown stream ends at once."""
        channel = next(self._channels)
        subscription = Subscription(self, channel)
        self._subscriptions[channel] = subscription
        self._send(wire.Subscribe(channel, stream, from_keyframe, tuple(kinds)))
        return subscription

    def publish(self, parent: str, suffix: str) -> RelayPublication:
        """The rendition `parent/suffix`; it appears once declared, or with its first packet."""
        channel = next(self._channels)
        publication = RelayPublication(self, channel)
        self._publications[channel] = publication
        self._send(wire.Publish(channel, parent, suffix))
        return publication

    async def closed(self) -> None:
        """Wait until the connection has ended, by whichever side."""
        await asyncio.wait([self._task])

    async def close(self) -> None:
        """End the connection; publications stay as they are at the server."""
        self._task.cancel()
        await self.closed()

    async def _run(self) -> None:
        messages = wire.MessageReader()
        try:
            while data := await self._reader.read(READ_BYTES):
                for message in messages.feed(data):
                    await self._receive(message)
        except ProtocolError as error:
            log.warning("relay: closed the connection: %s", error.detail)
        except ConnectionError:
            log.debug("relay: the connection broke")
        finally:
            self._end()

    async def _receive(self, message: wire.Message) -> None:
        match message:
            case wire.Media(channel=channel):
                if (subscription := self._subscriptions.get(channel)) is not None:
                    await subscription._inbox.put(subscription._packets.packet(message))
            case wire.NewTrack(channel=channel):
                if (subscription := self._subscriptions.get(channel)) is not None:
                    subscription._packets.track(message)
            case wire.Description(channel=channel):
                if (subscription := self._subscriptions.get(channel)) is not None:
                    subscription._describe(message)
            case wire.KeyframeWanted(channel=channel):
                if (publication := self._publications.get(channel)) is not None:
                    publication._want_keyframe()
            case wire.Wanted(channel=channel):
                if (publication := self._publications.get(channel)) is not None:
                    publication._want(message.wanted)
            case wire.Bitrate(channel=channel):
                if (publication := self._publications.get(channel)) is not None:
                    publication._want_bitrate(message.bits_per_s)
            case wire.Ended(channel=channel):
                if (subscription := self._subscriptions.pop(channel, None)) is not None:
                    subscription._end()
                elif (publication := self._publications.pop(channel, None)) is not None:
                    publication.ended = True
            case wire.Change():
                await self._changes.put(message)
            case wire.Hello(version=version):
                if version != wire.VERSION:
                    raise ProtocolError(f"relay version {version} is not {wire.VERSION}")
                self._greeted.set()
            case _:
                raise ProtocolError(f"a {type(message).__name__} is not for a client")

    def _send(self, message: wire.Message) -> None:
        if not self._writer.transport.is_closing():
            self._writer.write(wire.serialize(message))

    def _end(self) -> None:
        self._writer.transport.abort()
        self._greeted.set()
        self._changes.end()
        for subscription in self._subscriptions.values():
            subscription._end()
        for publication in self._publications.values():
            publication.ended = True


class Subscription:
    """Packets of one stream, read as from a hub Reader."""

    def __init__(self, client: RelayClient, channel: int) -> None:
        self._client = client
        self._channel = channel
        self._inbox: _Inbox[Packet] = _Inbox()
        self._packets = wire.PacketReader()
        self._described = asyncio.Event()  # or ended before
        self.description: wire.Description | None = None  # the newest; it comes before any packet

    async def described(self) -> wire.Description:
        """What the stream is; raises StreamEnded where there is none."""
        await self._described.wait()
        if self.description is None:
            raise StreamEnded
        return self.description

    @property
    def waiting(self) -> Sequence[Packet]:
        """What `read` would give at once."""
        return self._inbox.items

    def request_keyframe(self) -> None:
        """Ask whoever encodes the stream for a keyframe, as often as its own limit allows."""
        self._client._send(wire.KeyframeWanted(self._channel))

    async def read(self) -> list[Packet]:
        """All packets that wait, at least one; raises StreamEnded after the last."""
        packets = await self._inbox.take()
        if not packets:
            raise StreamEnded
        return packets

    def close(self) -> None:
        """Leave the stream; calling it again does nothing."""
        if self._client._subscriptions.pop(self._channel, None) is not None:
            self._client._send(wire.Close(self._channel))
        self._end()

    def _describe(self, description: wire.Description) -> None:
        self.description = description
        self._described.set()

    def _end(self) -> None:
        self._inbox.end()
        self._described.set()


class RelayPublication:
    """A rendition given to the server, packet by packet; `ended` once it takes no more."""

    def __init__(self, client: RelayClient, channel: int) -> None:
        self._client = client
        self._channel = channel
        self._packets = wire.PacketWriter(channel)
        self.ended = False
        self.wanted = False  # somebody reads it, as far as the server has told
        self.on_keyframe_request: Callable[[], None] | None = None
        self.on_wanted: Callable[[bool], None] | None = None
        self.on_bitrate: Callable[[int], None] | None = None  # bits a second

    def declare(self, track: Track) -> None:
        """Have the rendition there before its first packet, and nothing of before in it.

        Who comes to it now waits for the next keyframe: say so again before a pause.
        """
        if not self.ended and not self._client._writer.transport.is_closing():
            self._client._writer.write(self._packets.declare(track))

    def notice(self, notice: Notice) -> None:
        """Tell the host of the parent stream something."""
        text, fix = notice.text, notice.fix
        words = text["en"], text["zh"], fix["en"], fix["zh"]
        self._client._send(wire.Noticed(self._channel, notice.code, notice.severity, *words))

    def measured(self, name: str, value: float) -> None:
        """Tell a figure of the parent stream, one of wire.MEASURES."""
        self._client._send(wire.Measured(self._channel, name, value))

    async def write(self, packet: Packet) -> None:
        """Send one packet with the stream's own timestamps; waits while the socket is full.

        Raises StreamEnded once the parent stream was removed or the connection has ended.
        """
        writer = self._client._writer
        if self.ended or writer.transport.is_closing():
            raise StreamEnded
        writer.write(self._packets.serialize(packet))
        try:
            await writer.drain()
        except ConnectionError as error:
            raise StreamEnded from error

    def _want(self, wanted: bool) -> None:
        self.wanted = wanted
        if self.on_wanted is not None:
            self.on_wanted(wanted)

    def _want_bitrate(self, bits_per_s: int) -> None:
        if self.on_bitrate is not None:
            self.on_bitrate(bits_per_s)

    def _want_keyframe(self) -> None:
        if self.on_keyframe_request is not None:
            self.on_keyframe_request()

    def close(self) -> None:
        """End the rendition at the server; calling it again does nothing."""
        if self._client._publications.pop(self._channel, None) is not None:
            self._client._send(wire.Close(self._channel))
        self.ended = True


class _Inbox(Generic[_T]):
    """A bounded queue that is taken whole; `put` waits while it is full."""

    def __init__(self) -> None:
        self.items: list[_T] = []
        self._ended = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def put(self, item: _T) -> None:
        while len(self.items) >= INBOX_ITEMS and not self._ended:
            self._emptied.clear()
            await self._emptied.wait()
        if not self._ended:
            self.items.append(item)
            self._filled.set()

    async def take(self) -> list[_T]:
        """What waits, at least one item; empty only after the end."""
        while not self.items and not self._ended:
            self._filled.clear()
            await self._filled.wait()
        items, self.items = self.items, []
        self._emptied.set()
        return items

    def end(self) -> None:
        self._ended = True
        self._filled.set()
        self._emptied.set()
