"""The words between the server and a worker: bytes in, messages out, and back.

A frame holds one msgpack array: the message's number, then its fields. Both ends are one program of
one version, on a socket that only this user may open: fields are taken as they come. `viewer` is the
worker's number of a session, `request` the server's number of a question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from mediaserver.errors import ProtocolError
from mediaserver.hub.relay.frames import FrameReader, frame

Data = bytes | str


@dataclass(frozen=True, slots=True)
class Hello:
    """Worker, first: which one it is."""

    worker: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Server: open the port; `transport` are the arguments of its Transport by name."""

    transport: dict[str, Any]
    room_viewers: int


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker: the port is open; `addresses` are its candidates over UDP as `host:port`."""

    port: int
    addresses: list[str]


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker: the port cannot be opened, by OSError's number and words. It ends."""

    errno: int
    strerror: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Server: accept this offer; Done with resource, ufrag, answer."""

    request: int
    room: str
    offer: bytes
    token: str | None
    remote: str


@dataclass(frozen=True, slots=True)
class Find:
    """Server: Done with ufrag and, where known, the peer's ufrag and password."""

    request: int
    resource: str


@dataclass(frozen=True, slots=True)
class RestartIce:
    """Server: the peer's new credentials; Done with the fragment and our ufrag."""

    request: int
    resource: str
    ufrag: str
    password: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Server: end a session; Done with nothing."""

    request: int
    resource: str


@dataclass(frozen=True, slots=True)
class Done:
    """Worker: the answer to a request; `viewer` is the number of a session that has begun by it."""

    request: int
    values: list[Any]
    viewer: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Worker: a PeerError is the answer to a request."""

    request: int
    status: int
    code: str
    title: str
    detail: str
    headers: dict[str, str]
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Opened:
    """Worker: a viewer is there, and its data channels will soon be open."""

    viewer: int
    room: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Received:
    """Worker: a viewer's message, from either channel."""

    viewer: int
    data: Data


@dataclass(frozen=True, slots=True)
class Say:
    """Server: one message for the channel `channel` of each of these viewers."""

    channel: int
    data: Data
    viewers: list[int]


@dataclass(frozen=True, slots=True)
class Taken:
    """Worker: the channels 0 of these viewers took so much of what was said: viewer, length, …"""

    lengths: list[int]


@dataclass(frozen=True, slots=True)
class HangUp:
    """Server: close a viewer's channels, once what was said before has been sent."""

    viewer: int


@dataclass(frozen=True, slots=True)
class Mute:
    """Worker: a viewer's channels don't open, or take nothing for long: they are closed."""

    viewer: int


@dataclass(frozen=True, slots=True)
class Gone:
    """Worker: a session has ended."""

    viewer: int


@dataclass(frozen=True, slots=True)
class Told:
    """Worker, every second: its figures."""

    viewers: dict[str, int]
    sessions: int
    estimates: dict[str, float]
    counters: dict[str, float]


_MESSAGES: tuple[type[Any], ...] = (
    Hello,
    Begin,
    Ready,
    Failed,
    Watch,
    Find,
    RestartIce,
    Delete,
    Done,
    Refused,
    Opened,
    Received,
    Say,
    Taken,
    HangUp,
    Mute,
    Gone,
    Told,
)
_NUMBERS = {message: number for number, message in enumerate(_MESSAGES)}


def serialize(message: Any) -> bytes:
    """One frame; raises ValueError for a message that is longer than a frame may be."""
    fields = [getattr(message, name) for name in message.__slots__]
    return frame(msgpack.packb([_NUMBERS[type(message)], *fields]))


def parse(body: bytes | bytearray) -> Any:
    """The message in one frame's body; raises ProtocolError."""
    try:
        number, *fields = msgpack.unpackb(body)
        return _MESSAGES[number](*fields)
    except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
        raise ProtocolError(f"no message between server and worker: {error}") from error


class MessageReader:
    """Cuts received bytes into messages."""

    def __init__(self) -> None:
        self._frames = FrameReader()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that `data` completes; raises ProtocolError."""
        return [parse(body) for body in self._frames.feed(data)]
