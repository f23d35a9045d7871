"""An SRT publisher of our own, on the same libsrt, and what watches over a hub."""

from __future__ import annotations

import asyncio
import ctypes
from ctypes import POINTER, c_char_p, c_int

from mediaserver.errors import Unauthorized
from mediaserver.hub import Hub, Reader, Stream, StreamEnded
from mediaserver.ingest.srt import library
from mediaserver.ingest.srt.address import to_sockaddr
from mediaserver.media import Packet

MESSAGE_BYTES = 1316
STATE, PASSPHRASE, CONNECT_TIMEOUT, STREAM_ID = 17, 26, 36, 46
CONNECT_MS = 1000
CONNECTED = 5


class Caller:
    """One connection; `connect` runs in a thread, as libsrt's waits there for the server's loop."""

    def __init__(self) -> None:
        self._c = library.load()
        self._c.srt_startup()
        self._c.srt_connect.argtypes = (c_int, c_char_p, c_int)
        self._c.srt_sendmsg.argtypes = (c_int, c_char_p, c_int, c_int, c_int)
        self._c.srt_setsockflag.argtypes = (c_int, c_int, ctypes.c_void_p, c_int)
        self._c.srt_getsockflag.argtypes = (c_int, c_int, ctypes.c_void_p, POINTER(c_int))
        self.socket = self._c.srt_create_socket()

    async def connect(self, port: int, stream_id: str, passphrase: str = "") -> int:
        """0 when connected, else the reason for which it was rejected."""
        for option, text in ((STREAM_ID, stream_id), (PASSPHRASE, passphrase)):
            if text:
                self._c.srt_setsockflag(self.socket, option, text.encode(), len(text.encode()))
        patience_ms = c_int(CONNECT_MS)
        self._c.srt_setsockflag(self.socket, CONNECT_TIMEOUT, ctypes.byref(patience_ms), 4)
        name = to_sockaddr("127.0.0.1", port)
        failed = await asyncio.to_thread(self._c.srt_connect, self.socket, name, len(name))
        return int(self._c.srt_getrejectreason(self.socket)) if failed else 0

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), MESSAGE_BYTES):
            piece = data[at : at + MESSAGE_BYTES]
            self._c.srt_sendmsg(self.socket, piece, len(piece), -1, 1)

    async def play(self, data: bytes, seconds: float) -> None:
        """Send at an even pace."""
        pieces = range(0, len(data), MESSAGE_BYTES)
        begun = asyncio.get_running_loop().time()
        for number, at in enumerate(pieces, 1):
            self.send(data[at : at + MESSAGE_BYTES])
            due = begun + seconds * number / len(pieces)
            await asyncio.sleep(due - asyncio.get_running_loop().time())

    @property
    def connected(self) -> bool:
        state, size = c_int(), c_int(4)
        found = self._c.srt_getsockflag(self.socket, STATE, ctypes.byref(state), ctypes.byref(size))
        return found == 0 and state.value == CONNECTED

    async def closed(self) -> None:
        """Return when the server has ended the connection."""
        while self.connected:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self._c.srt_close(self.socket)
        self._c.srt_cleanup()


class Keys:
    """The keys that may publish, and what each publishes; closed, the gate gives no answer."""

    def __init__(self, streams: dict[str, str]) -> None:
        self._streams = streams
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0

    async def publish(self, key: str) -> str:
        self.asked += 1
        await self.gate.wait()
        if key not in self._streams:
            raise Unauthorized("the stream key is not known")
        return self._streams[key]

    async def watch(self, stream: str, token: str | None) -> None:
        """Everybody may."""


class Changes:
    """What the hub has told: wait for a change, and read each stream from its first packet."""

    def __init__(self, hub: Hub) -> None:
        self.readers: dict[str, Reader] = {}
        self._told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        hub.listen(self._change)

    async def next(self) -> tuple[str, str]:
        return await self._told.get()

    def _change(self, change: str, stream: Stream) -> None:
        if change == "online" and stream.name not in self.readers:
            self.readers[stream.name] = stream.subscribe()
        self._told.put_nowait((change, stream.name))


async def packets(reader: Reader) -> list[Packet]:
    """All packets until the stream is removed."""
    found: list[Packet] = []
    try:
        while True:
            found += await reader.read()
    except StreamEnded:
        return found


async def run(*command: str) -> tuple[int, str]:
    """A program's exit code and what it said."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")
