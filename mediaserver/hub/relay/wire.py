"""The relay's wire: bytes in, messages out, and back.

A frame holds one msgpack array: the message's number, then its fields. Each side begins with `Hello`.
A channel is a number that the client chooses for one subscription or one publication. A track is sent
once per change and then referred to by its number within the channel, so that a packet costs its
payload and about 30 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any, cast, get_args

import msgpack

from mediaserver.errors import ProtocolError
from mediaserver.hub.relay.frames import FrameReader, frame
from mediaserver.media import Codec, Kind, Packet, Track

VERSION = 4
MAX_FIELDS = 64  # no array on this wire is longer
MAX_TRACKS = 8  # of a channel; one per kind is used
MAX_CHANNEL = 1 << 31
MAX_BITS_PER_S = 1 << 30  # more than any encoder is asked for

MEASURES = ("loudness_lufs", "loudness_now_lufs")

_KINDS: tuple[Kind, ...] = ("video", "audio")
_CODECS: tuple[Codec, ...] = get_args(Codec)


@dataclass(frozen=True, slots=True)
class Hello:
    """Either side's first message."""

    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Watch:
    """Client: tell me of every change of a stream from now on, first of those that are live."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Client: packets of `stream` into `channel`; `kinds` empty means every kind."""

    channel: int
    stream: str
    from_keyframe: bool
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """Client: `channel` will carry packets of the rendition `parent/suffix`."""

    channel: int
    parent: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Close:
    """Client: `channel` ends; the rendition it published ends with it."""

    channel: int


@dataclass(frozen=True, slots=True)
class Change:
    """Server: a stream went `online`, `offline` or was `removed`; `tracks` as known at that moment."""

    change: str
    stream: str
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """Server: what a stream is, before its first packet and whenever `reordered` changes.

    `epoch_ms` is the UTC of media time 0 for now, `rtp_base` the RTP timestamp of it in what viewers
    get of any rendition; `tracks` as known at that moment.
    """

    channel: int
    reordered: bool
    rtp_base: int
    epoch_ms: int
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class KeyframeWanted:
    """Either, towards the encoder: whoever sends the packets of `channel` is asked for a keyframe."""

    channel: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Server: whether anybody reads the rendition that the client publishes on `channel`."""

    channel: int
    wanted: bool


@dataclass(frozen=True, slots=True)
class Bitrate:
    """Server: the rendition published on `channel` shall have so many bits a second from now on."""

    channel: int
    bits_per_s: int


@dataclass(frozen=True, slots=True)
class Noticed:
    """Client: a notice for the host of the stream whose rendition is on `channel`, by language."""

    channel: int
    code: str
    severity: str
    text_en: str
    text_zh: str
    fix_en: str
    fix_zh: str


@dataclass(frozen=True, slots=True)
class Measured:
    """Client: a figure of the stream whose rendition is on `channel`; `name` is one of MEASURES."""

    channel: int
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class NewTrack:
    """Either: what `number` means in `channel` from here on.

    A publishing client that sends it declares the rendition, or that it begins anew.
    """

    channel: int
    number: int
    track: Track


@dataclass(frozen=True, slots=True)
class Media:
    """Either: one packet."""

    channel: int
    number: int
    pts: int
    dts: int
    wallclock_ms: int
    keyframe: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """Server: nothing more comes, or is taken, on `channel`."""

    channel: int
    reason: str


Message = (
    Hello
    | Watch
    | Subscribe
    | Publish
    | Close
    | Change
    | NewTrack
    | Media
    | Ended
    | Description
    | KeyframeWanted
    | Wanted
    | Bitrate
    | Noticed
    | Measured
)


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ProtocolError("a relay field is not an integer")
    return value


def _channel(value: object) -> int:
    if type(value) is not int or not 0 <= value < MAX_CHANNEL:
        raise ProtocolError("a relay channel is out of range")
    return value


def _rtp_timestamp(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ProtocolError("an RTP timestamp on the relay has 32 bits")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < MAX_TRACKS:
        raise ProtocolError("a relay track number is out of range")
    return value


def _boolean(value: object) -> bool:
    if type(value) is not bool:
        raise ProtocolError("a relay field is not a boolean")
    return value


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise ProtocolError("a relay field is not bytes")
    return value


def _string(value: object) -> str:
    if type(value) is not str:
        raise ProtocolError("a relay field is not a string")
    return value


def _change(value: object) -> str:
    if value not in ("online", "offline", "removed"):
        raise ProtocolError("an unknown change on the relay")
    return str(value)


def _bits_per_s(value: object) -> int:
    if type(value) is not int or not 0 < value <= MAX_BITS_PER_S:
        raise ProtocolError("a bitrate on the relay is out of range")
    return value


def _severity(value: object) -> str:
    if value not in ("info", "warning", "error"):
        raise ProtocolError("an unknown severity on the relay")
    return str(value)


def _measure(value: object) -> str:
    if value not in MEASURES:
        raise ProtocolError("an unknown figure on the relay")
    return str(value)


def _finite(value: object) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise ProtocolError("a relay field is not a finite number")
    return value


def _list(value: object) -> list[Any]:
    if type(value) is not list:
        raise ProtocolError("a relay field is not an array")
    return value


def _kinds(value: object) -> tuple[Kind, ...]:
    chosen = _list(value)
    if any(kind not in _KINDS for kind in chosen):
        raise ProtocolError("an unknown kind of track on the relay")
    return tuple(chosen)


def _track(value: object) -> Track:
    fields = _list(value)
    if len(fields) != 7 or fields[0] not in _KINDS or fields[1] not in _CODECS:
        raise ProtocolError("a malformed track on the relay")
    kind, codec, clock_rate, config, width, height, channels = fields
    if _integer(clock_rate) <= 0:
        raise ProtocolError("a track without a clock rate on the relay")
    sizes = _integer(width), _integer(height), _integer(channels)
    return Track(kind, codec, clock_rate, _bytes(config), *sizes)


def _tracks(value: object) -> tuple[Track, ...]:
    return tuple(_track(each) for each in _list(value))


_Check = Callable[[object], object]
_MESSAGES: tuple[tuple[type[Any], tuple[_Check, ...]], ...] = (
    (Hello, (_integer,)),
    (Watch, ()),
    (Subscribe, (_channel, _string, _boolean, _kinds)),
    (Publish, (_channel, _string, _string)),
    (Close, (_channel,)),
    (Change, (_change, _string, _tracks)),
    (NewTrack, (_channel, _number, _track)),
    (Media, (_channel, _number, _integer, _integer, _integer, _boolean, _bytes)),
    (Ended, (_channel, _string)),
    (Description, (_channel, _boolean, _rtp_timestamp, _integer, _tracks)),
    (KeyframeWanted, (_channel,)),
    (Wanted, (_channel, _boolean)),
    (Bitrate, (_channel, _bits_per_s)),
    (Noticed, (_channel, _string, _severity, _string, _string, _string, _string)),
    (Measured, (_channel, _measure, _finite)),
)
_NUMBERS = {message: number for number, (message, _) in enumerate(_MESSAGES)}


def serialize(message: Message) -> bytes:
    """One frame; raises ValueError for a message that is longer than a frame may be."""
    fields = [getattr(message, name) for name in message.__slots__]
    body: bytes = msgpack.packb([_NUMBERS[type(message)], *fields], default=_track_fields)
    return frame(body)


def parse(body: bytes | bytearray) -> Message:
    """The message in one frame's body, without its length; raises ProtocolError."""
    try:
        fields = msgpack.unpackb(body, max_array_len=MAX_FIELDS, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolError("a relay frame is not msgpack") from error
    if type(fields) is not list or not fields:
        raise ProtocolError("a relay frame is not an array")
    number, *values = fields
    if type(number) is not int or not 0 <= number < len(_MESSAGES):
        raise ProtocolError("an unknown message on the relay")
    message, checks = _MESSAGES[number]
    if len(values) != len(checks):
        raise ProtocolError(f"a relay {message.__name__} has {len(values)} fields")
    return cast(
        Message, message(*(check(value) for check, value in zip(checks, values, strict=True)))
    )


class MessageReader:
    """Cuts received bytes into messages; holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._frames = FrameReader()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes; raises ProtocolError, after which it is of no use."""
        return [parse(body) for body in self._frames.feed(data)]


class PacketWriter:
    """One channel's packets to frames; sends a track before the first packet of it."""

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self._tracks: dict[Kind, Track] = {}

    def declare(self, track: Track) -> bytes:
        """The track alone, though it be known already: the channel begins anew with it."""
        self._tracks[track.kind] = track
        return serialize(NewTrack(self.channel, _KINDS.index(track.kind), track))

    def serialize(self, packet: Packet) -> bytes:
        track = packet.track
        number = _KINDS.index(track.kind)
        frame = serialize(
            Media(
                self.channel,
                number,
                packet.pts,
                packet.dts,
                packet.wallclock_ms,
                packet.keyframe,
                packet.payload,
            )
        )
        known = self._tracks.get(track.kind)
        if known is track or known == track:
            return frame
        self._tracks[track.kind] = track
        return serialize(NewTrack(self.channel, number, track)) + frame


class PacketReader:
    """One channel's messages to packets; all packets of a track share one Track object."""

    def __init__(self) -> None:
        self._tracks: dict[int, Track] = {}

    def track(self, message: NewTrack) -> None:
        self._tracks[message.number] = message.track

    def packet(self, message: Media) -> Packet:
        """Raises ProtocolError where the track was not told before."""
        track = self._tracks.get(message.number)
        if track is None:
            raise ProtocolError("a packet of an unknown track on the relay")
        return Packet(
            track,
            message.pts,
            message.dts,
            message.wallclock_ms,
            message.keyframe,
            message.payload,
        )


def _track_fields(value: object) -> tuple[object, ...]:
    if not isinstance(value, Track):
        raise TypeError(f"{type(value).__name__} has no form on the relay")
    return astuple(value)
