"""The relay's server: a hub's streams on a Unix socket that only this user may open.

A subscription is an ordinary hub Reader: while the client does not take what was written, the reader
fills, skips to the next keyframe and counts it. So what waits for one client is bounded by its
readers' bounds plus WRITE_HIGH_BYTES. A connection that breaks leaves the renditions it published as
they are: their readers see a gap until the restarted worker goes on; a channel that is closed in
words ends them. Whoever publishes one is told whether it is read, so that it can be made on demand, and
what its viewers ask for: keyframes, another bitrate.

Who closes whom: the server closes its connections, a connection its readers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from mediaserver.errors import ProtocolError
from mediaserver.hub.hub import Hub
from mediaserver.hub.relay import wire
from mediaserver.hub.stream import EVERY_KIND, Notice, Reader, Stream, StreamEnded

log = logging.getLogger("hawker.relay")

READ_BYTES = 256 << 10
WRITE_HIGH_BYTES = 1 << 20  # beyond it subscriptions wait and their readers skip
WRITE_LIMIT_BYTES = 8 << 20  # control messages do not wait: who takes nothing at all is closed
MAX_CHANNELS = 1024  # of one connection
_SUFFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")


class RelayServer:
    """Serves `hub` on `path`, or on a socket in a private temporary folder of its own."""

    def __init__(self, hub: Hub, path: Path | None = None) -> None:
        self._hub = hub
        self._path = path
        self._folder: Path | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, asyncio.Task[None]] = {}

    @property
    def path(self) -> Path:
        """Where clients connect; raises RuntimeError before `start` where none was given."""
        if self._path is None:
            raise RuntimeError("the relay has not been started")
        return self._path

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def start(self) -> None:
        """Listen; a socket that a dead process left behind is replaced. Raises OSError."""
        if self._path is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hawker-"))
            self._path = self._folder / "relay"
        self._server = await asyncio.start_unix_server(
            self._accept, sock=private_socket(self._path)
        )

    async def close(self) -> None:
        """Close every connection and the socket; calling it again does nothing."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.abort()
        if self._connections:
            await asyncio.wait(list(self._connections.values()))
        await self._server.wait_closed()
        self._server = None
        self.path.unlink(missing_ok=True)
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = self._path = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or not self._server.is_serving():
            writer.transport.abort()  # it came while the server was closing
            return
        connection = _Connection(self._hub, reader, writer)
        task = asyncio.create_task(connection.run())
        self._connections[connection] = task
        task.add_done_callback(lambda _: self._connections.pop(connection))


@dataclass(slots=True)
class _Publication:
    parent: Stream
    suffix: str
    packets: wire.PacketReader = field(default_factory=wire.PacketReader)
    stream: Stream | None = None


class _Connection:
    def __init__(
        self, hub: Hub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._hub = hub
        self._reader = reader
        self._writer = writer
        self._greeted = False
        self._unlisten: Callable[[], None] | None = None
        self._subscriptions: dict[int, asyncio.Task[None]] = {}
        self._sources: dict[int, Stream] = {}  # of the subscriptions
        self._publications: dict[int, _Publication] = {}
        self._handlers: dict[type[wire.Message], Callable[[Any], None]] = {
            wire.Hello: self._on_hello,
            wire.Watch: self._on_watch,
            wire.Subscribe: self._on_subscribe,
            wire.Publish: self._on_publish,
            wire.Close: self._on_close,
            wire.NewTrack: self._on_track,
            wire.Media: self._on_media,
            wire.KeyframeWanted: self._on_keyframe_wanted,
            wire.Noticed: self._on_noticed,
            wire.Measured: self._on_measured,
        }
        writer.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    async def run(self) -> None:
        """Serve until the peer leaves or breaks the protocol."""
        messages = wire.MessageReader()
        self._send(wire.Hello())
        try:
            while data := await self._reader.read(READ_BYTES):
                for message in messages.feed(data):
                    self._receive(message)
        except ProtocolError as error:
            log.warning("relay: closed a connection: %s", error.detail)
        except ConnectionError:
            log.debug("relay: a connection broke")
        finally:
            await self._end()

    def abort(self) -> None:
        self._writer.transport.abort()

    def _receive(self, message: wire.Message) -> None:
        handler = self._handlers.get(type(message))
        if handler is None:
            raise ProtocolError(f"a {type(message).__name__} is not for a server")
        if not self._greeted and handler != self._on_hello:
            raise ProtocolError("no greeting came first")
        handler(message)

    def _on_hello(self, message: wire.Hello) -> None:
        if message.version != wire.VERSION:
            raise ProtocolError(f"relay version {message.version} is not {wire.VERSION}")
        self._greeted = True

    def _on_watch(self, message: wire.Watch) -> None:
        if self._unlisten is None:
            self._unlisten = self._hub.listen(self._on_change)

    def _on_change(self, change: str, stream: Stream) -> None:
        self._send(wire.Change(change, stream.name, tuple(stream.tracks.values())))

    def _on_subscribe(self, message: wire.Subscribe) -> None:
        channel = self._new_channel(message.channel)
        stream = self._hub.get(message.stream)
        if stream is None:
            return self._send(wire.Ended(channel, "not found"))
        kinds = frozenset(message.kinds) or EVERY_KIND
        reader = stream.subscribe(from_keyframe=message.from_keyframe, kinds=kinds)
        task = asyncio.create_task(self._feed(channel, reader))
        self._subscriptions[channel] = task
        self._sources[channel] = stream
        task.add_done_callback(lambda _: self._forget(channel))

    def _forget(self, channel: int) -> None:
        del self._subscriptions[channel], self._sources[channel]

    def _on_keyframe_wanted(self, message: wire.KeyframeWanted) -> None:
        stream = self._sources.get(message.channel)
        if stream is not None:
            stream.request_keyframe(time.monotonic())

    def _on_publish(self, message: wire.Publish) -> None:
        channel = self._new_channel(message.channel)
        if "/" in message.parent or not _SUFFIX.fullmatch(message.suffix):
            raise ProtocolError("not the name of a rendition")
        parent = self._hub.get(message.parent)
        if parent is None:
            return self._send(wire.Ended(channel, "not found"))
        self._publications[channel] = _Publication(parent, message.suffix)

    def _on_track(self, message: wire.NewTrack) -> None:
        publication = self._publication(message.channel)
        if publication is None:
            return
        publication.packets.track(message)
        stream = self._hub.rendition(publication.parent, publication.suffix, message.track)
        stream.begin_anew(message.track)
        if stream is not publication.stream:
            publication.stream = stream
            self._connect(message.channel, stream)

    def _connect(self, channel: int, stream: Stream) -> None:
        """Tell the client what is asked of a rendition of it from now on."""
        stream.on_keyframe_request = lambda: self._send(wire.KeyframeWanted(channel))
        stream.on_read = lambda read: self._send(wire.Wanted(channel, read))
        stream.on_bitrate_request = lambda bits: self._send(wire.Bitrate(channel, bits))
        if stream.readers:
            self._send(wire.Wanted(channel, True))

    def _on_media(self, message: wire.Media) -> None:
        publication = self._publication(message.channel)
        if publication is None:
            return
        packet = publication.packets.packet(message)
        if publication.stream is not None:
            publication.stream.write(packet)

    def _on_noticed(self, message: wire.Noticed) -> None:
        publication = self._publication(message.channel)
        if publication is not None:
            text = {"en": message.text_en, "zh": message.text_zh}
            fix = {"en": message.fix_en, "zh": message.fix_zh}
            severity = cast(Literal["info", "warning", "error"], message.severity)
            publication.parent.notice(Notice(message.code, severity, text, fix))

    def _on_measured(self, message: wire.Measured) -> None:
        publication = self._publication(message.channel)
        if publication is not None:
            publication.parent.measured[message.name] = message.value

    def _publication(self, channel: int) -> _Publication | None:
        """None where it has ended: what was under way when the client heard of it is dropped."""
        publication = self._publications.get(channel)
        if publication is not None and publication.parent.removed:
            del self._publications[channel]
            self._send(wire.Ended(channel, "removed"))
            return None
        return publication

    def _on_close(self, message: wire.Close) -> None:
        if (task := self._subscriptions.get(message.channel)) is not None:
            task.cancel()
        publication = self._publications.pop(message.channel, None)
        if publication is not None and publication.stream is not None:
            self._hub.end_rendition(publication.stream)

    def _new_channel(self, channel: int) -> int:
        if channel in self._subscriptions or channel in self._publications:
            raise ProtocolError("a relay channel is opened twice")
        if len(self._subscriptions) + len(self._publications) >= MAX_CHANNELS:
            raise ProtocolError("too many relay channels")
        return channel

    async def _feed(self, channel: int, reader: Reader) -> None:
        packets, stream = wire.PacketWriter(channel), reader.stream
        try:
            self._send(_description(channel, stream))
            reordered = stream.reordered
            while True:
                batch = await reader.read()
                if stream.reordered != reordered:
                    reordered = stream.reordered
                    self._send(_description(channel, stream))
                for packet in batch:
                    self._writer.write(packets.serialize(packet))
                    await self._writer.drain()
        except StreamEnded:
            self._send(wire.Ended(channel, "removed"))
        except ConnectionError:
            return  # `run` sees the same and ends the connection
        finally:
            reader.close()

    def _send(self, message: wire.Message) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > WRITE_LIMIT_BYTES:
            log.warning("relay: closed a connection that does not read")
            transport.abort()
            return
        self._writer.write(wire.serialize(message))

    async def _end(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
        tasks = list(self._subscriptions.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._writer.transport.abort()


def _description(channel: int, stream: Stream) -> wire.Description:
    return wire.Description(
        channel,
        stream.reordered,
        stream.timeline.rtp_base,
        round(stream.epoch_ms),
        tuple(stream.tracks.values()),
    )


def private_socket(path: Path) -> socket.socket:
    """A socket to listen on that only this user may open; raises OSError.

    One that a dead process left behind is replaced.
    """
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)  # the socket is mode 600 from its first moment
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(umask)
    return listener
