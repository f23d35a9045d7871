"""libsrt's sockets, as far as a listener in live mode needs them. A socket is its number.

No call waits, but `close` of a listener for the handshake that gate.py is just answering.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from ctypes import c_int
from typing import Any

from mediaserver.ingest.srt.address import SOCKADDR_BYTES, from_sockaddr, to_sockaddr
from mediaserver.ingest.srt.library import Event, MessageInfo, Unavailable, load
from mediaserver.ingest.srt.statistics import RawStatistics, Statistics

MESSAGE_BYTES = 1456  # the most that one message of live mode has (SRT_LIVE_MAX_PLSIZE)
_RECEIVE_WAITS, _PASSPHRASE, _LATENCY, _STREAM_ID = 2, 26, 43, 46  # SRTO_…
_STREAM_ID_BYTES = 512
_READABLE, _BROKEN = 1, 8
_NONE = -1
_NOTHING_TO_READ = 6002  # SRT_EASYNCRCV
_PORT_TAKEN = 5015  # SRT_EBINDCONFLICT


class Sockets:
    """One libsrt and one poll set."""

    def __init__(self, most: int) -> None:
        """`most` sockets can be found ready in one `ready`. Raises Unavailable."""
        self._c = load()
        if self._c.srt_startup() == _NONE:
            raise Unavailable("libsrt does not start")
        self._message = ctypes.create_string_buffer(MESSAGE_BYTES)
        self._view = memoryview(self._message)
        self._info = MessageInfo()
        self._events = (Event * most)()
        self._poll = self._checked(self._c.srt_epoll_create())
        self._released = False

    def listen(
        self, host: str, port: int, backlog: int, passphrase: str, latency_ms: int, hook: Any
    ) -> int:
        """A listener; `hook`, a library.Hook, must live as long. Raises OSError."""
        listener = self._checked(self._c.srt_create_socket())
        try:
            self._set(listener, _RECEIVE_WAITS, c_int(0), ctypes.sizeof(c_int))
            self._set(listener, _LATENCY, c_int(latency_ms), ctypes.sizeof(c_int))
            secret = passphrase.encode()
            if secret:
                self._set(listener, _PASSPHRASE, ctypes.create_string_buffer(secret), len(secret))
            name = to_sockaddr(host, port)
            self._checked(self._c.srt_bind(listener, name, len(name)))
            self._checked(self._c.srt_listen_callback(listener, hook, None))
            self._checked(self._c.srt_listen(listener, backlog))
        except OSError:
            self.close(listener)
            raise
        return listener

    def port(self, listener: int) -> int:
        return self._address(self._c.srt_getsockname, listener)[1][1]

    def accept(self, listener: int) -> tuple[int, tuple[str, int]] | None:
        """The next connection and its peer's address; None while there is none."""
        try:
            return self._address(self._c.srt_accept, listener)
        except OSError:
            return None

    def stream_id(self, socket: int) -> str:
        """What the caller has set; raises OSError where it is gone already."""
        text, size = ctypes.create_string_buffer(_STREAM_ID_BYTES + 1), c_int(_STREAM_ID_BYTES + 1)
        self._checked(self._c.srt_getsockflag(socket, _STREAM_ID, text, ctypes.byref(size)))
        return text.raw[: size.value].rstrip(b"\0").decode("utf-8", "replace")

    def receive(self, socket: int) -> tuple[int, bytes] | None:
        """The next message behind its sequence number (31 bits); None while there is none.

        Raises ConnectionError where none will come.
        """
        size = self._c.srt_recvmsg2(socket, self._message, MESSAGE_BYTES, self._info)
        if size > 0:
            return self._info.sequence, bytes(self._view[:size])
        if size < 0 and self._c.srt_getlasterror(None) == _NOTHING_TO_READ:
            return None
        raise ConnectionError("connection lost")

    def refuse(self, socket: int, reason: int) -> None:
        """Say why, to a caller whose handshake is just being answered."""
        self._c.srt_setrejectreason(socket, reason)

    def statistics(self, socket: int) -> Statistics:
        """Raises OSError where the connection is gone."""
        found = RawStatistics()
        self._checked(self._c.srt_bistats(socket, ctypes.byref(found), 0, 1))
        return found.read()

    def watch(self, socket: int) -> None:
        """Let `ready` tell of this socket; raises OSError where it is gone."""
        events = c_int(_READABLE | _BROKEN)
        self._checked(self._c.srt_epoll_add_usock(self._poll, socket, ctypes.byref(events)))

    def ready(self) -> list[int]:
        """The watched sockets that have something to read, to accept, or their end."""
        count = self._c.srt_epoll_uwait(self._poll, self._events, len(self._events), 0)
        return [self._events[index].socket for index in range(min(count, len(self._events)))]

    def close(self, socket: int) -> None:
        self._c.srt_close(socket)

    def release(self) -> None:
        """End it, and libsrt's threads if nobody else uses it: no process should exit with them."""
        if self._released:
            return
        self._released = True
        self._c.srt_epoll_release(self._poll)
        self._c.srt_cleanup()

    def _set(self, socket: int, option: int, value: Any, size: int) -> None:
        self._checked(self._c.srt_setsockflag(socket, option, ctypes.byref(value), size))

    def _address(self, call: Callable[..., int], socket: int) -> tuple[int, tuple[str, int]]:
        name, size = ctypes.create_string_buffer(SOCKADDR_BYTES), c_int(SOCKADDR_BYTES)
        found = self._checked(call(socket, name, ctypes.byref(size)))
        return found, from_sockaddr(name.raw)

    def _checked(self, result: int) -> int:
        if result != _NONE:
            return result
        number = c_int()
        code = self._c.srt_getlasterror(ctypes.byref(number))
        words = self._c.srt_getlasterror_str().decode("utf-8", "replace")
        raise OSError(errno.EADDRINUSE if code == _PORT_TAKEN else number.value or errno.EIO, words)
