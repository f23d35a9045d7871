"""RTMP publishers by the hundred in one process: 600 kbit/s each, no encoder, no muxer.

30 pictures a second, every 60th of eight times the size of the others, and AAC of 44.1 kHz: 73 messages
a second, each in a write of its own, as encoders send them. The bytes are made once: chunk headers hold
differences of time, so that what one publisher sends is right for all. Publishers begin one after the
other within a picture's time; what a server sends back is left unread.
"""

from __future__ import annotations

import asyncio
import resource
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.loads import Commands
from benchmarks.picture import PPS, SPS
from mediaserver.media import AAC_FRAME_SAMPLES
from mediaserver.protocol import amf0
from mediaserver.protocol.aac import LC, AudioSpecificConfig
from mediaserver.protocol.flv import DATA, SEQUENCE_HEADER, AudioTag, VideoTag
from mediaserver.protocol.h264 import AvcConfig, join_length_prefixed
from mediaserver.protocol.rtmp import messages
from mediaserver.protocol.rtmp.chunk_stream import ChunkWriter, Message
from mediaserver.protocol.rtmp.handshake import PACKET_BYTES, client_handshake
from mediaserver.protocol.rtmp.messages import Command

BITRATE_BPS = 600_000
FRAMES_PER_S = 30
GOP_FRAMES = 60
KEYFRAME_FRAMES = 8  # a keyframe is as large as so many others
SAMPLE_RATE = 44_100
SOUND_BYTES = 160
CHUNK_BYTES = 4096  # as OBS and FFmpeg
LOOP_PICTURES, LOOP_SOUNDS = 1536, 2205  # 51.2 s of both to the sample
STEP_S = 0.002
SPARE_DESCRIPTORS = 256
ANSWER_S = 30.0
APP = "live"
_VIDEO_CHUNK_STREAM, _AUDIO_CHUNK_STREAM = 6, 4
_TYPE_1, _TYPE_3 = 0x40, 0xC0
_DIFFERENT = 10  # pictures: enough that none is like the one before it

Target = tuple[str, int, str]  # host, port and stream key


@dataclass(slots=True)
class Sent:
    """By all publishers since they began; `late` messages did not fit into their socket at once."""

    messages: int = 0
    pictures: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """One message of the loop: when it is due, in seconds, and its chunks."""

    due_s: float
    picture: bool
    data: bytes


@dataclass(slots=True)
class Publisher:
    """`position` counts moments; `began_at` is when the first of them was due."""

    sock: socket.socket
    began_at: float = 0.0
    position: int = 0
    due_at: float = 0.0
    rest: bytes = b""


async def publish(commands: Commands, targets: Sequence[Target]) -> None:
    """A publisher to each target; commands are `go`, and `stop`, after which all is sent."""
    _allow_descriptors(len(targets) + SPARE_DESCRIPTORS)
    loop, sent = moments(), Sent()
    crowd = [Publisher(connected(*target)) for target in targets]
    commands.answer("connected")
    while True:
        await commands.next()
        sending = asyncio.create_task(_send(crowd, loop, sent))
        commands.answer(replace(sent))
        try:
            await commands.next()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        commands.answer(replace(sent))


def connected(host: str, port: int, key: str) -> socket.socket:
    """A socket whose server waits for pictures; raises OSError."""
    sock = socket.create_connection((host, port), ANSWER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(client_handshake(secrets.token_bytes(PACKET_BYTES - 8)))
    _read(sock, 1 + 2 * PACKET_BYTES)
    writer = ChunkWriter()

    def send(message: Message, chunk_stream: int = 3) -> None:
        sock.sendall(writer.serialize(message, chunk_stream))

    sock.sendall(bytes(PACKET_BYTES))  # C2, which nobody compares
    send(messages.set_chunk_size(CHUNK_BYTES), 2)
    url = f"rtmp://{host}:{port}/{APP}"
    send(Command("connect", 1, [{"app": APP, "type": "nonprivate", "tcUrl": url}]).serialize())
    _read_until(sock, b"NetConnection.Connect.Success")
    send(Command("createStream", 2, [None]).serialize())
    _read_until(sock, b"_result")
    send(Command("publish", 3, [None, key, "live"]).serialize(1))
    _read_until(sock, b"NetStream.Publish.Start")
    for message, chunk_stream in _headers():
        send(message, chunk_stream)
    sock.setblocking(False)
    return sock


def moments() -> list[Moment]:
    """What follows the headers, over and over."""
    unit = (BITRATE_BPS / 8 - SOUND_BYTES * SAMPLE_RATE / AAC_FRAME_SAMPLES) * GOP_FRAMES
    frame_bytes = round(unit / FRAMES_PER_S / (GOP_FRAMES - 1 + KEYFRAME_FRAMES))
    key = _picture(True, frame_bytes * KEYFRAME_FRAMES)
    others = [_picture(False, frame_bytes) for _ in range(_DIFFERENT)]
    sound = AudioTag(DATA, b"\x21" + secrets.token_bytes(SOUND_BYTES - 1)).serialize()
    found = []
    for number in range(LOOP_PICTURES):
        tag = others[number % _DIFFERENT] if number % GOP_FRAMES else key
        step_ms = _ms(number + 1, FRAMES_PER_S, 1) - _ms(number, FRAMES_PER_S, 1)
        chunks = _chunks(_VIDEO_CHUNK_STREAM, messages.VIDEO, step_ms, tag)
        found.append(Moment(number / FRAMES_PER_S, True, chunks))
    for number in range(LOOP_SOUNDS):
        step_ms = _ms(number + 1, SAMPLE_RATE, AAC_FRAME_SAMPLES)
        step_ms -= _ms(number, SAMPLE_RATE, AAC_FRAME_SAMPLES)
        chunks = _chunks(_AUDIO_CHUNK_STREAM, messages.AUDIO, step_ms, sound)
        found.append(Moment(number * AAC_FRAME_SAMPLES / SAMPLE_RATE, False, chunks))
    return sorted(found, key=lambda moment: moment.due_s)


async def _send(crowd: Sequence[Publisher], loop: Sequence[Moment], sent: Sent) -> None:
    """In real time from where it was left."""
    start = time.monotonic()
    for number, publisher in enumerate(crowd):
        publisher.due_at = start + number / len(crowd) / FRAMES_PER_S
        publisher.began_at = publisher.due_at - _media_s(loop, publisher.position)
    while True:
        now = time.monotonic()
        for publisher in crowd:
            while publisher.due_at <= now:
                _advance(publisher, loop, sent)
        await asyncio.sleep(STEP_S)


def _advance(publisher: Publisher, loop: Sequence[Moment], sent: Sent) -> None:
    moment = loop[publisher.position % len(loop)]
    data = publisher.rest + moment.data
    try:
        count = publisher.sock.send(data)
    except BlockingIOError:
        count = 0
    publisher.rest = data[count:]
    sent.messages += 1
    sent.pictures += moment.picture
    sent.late += count < len(data)
    publisher.position += 1
    publisher.due_at = publisher.began_at + _media_s(loop, publisher.position)


def _media_s(loop: Sequence[Moment], position: int) -> float:
    rounds, place = divmod(position, len(loop))
    return rounds * LOOP_PICTURES / FRAMES_PER_S + loop[place].due_s


def _ms(number: int, rate: int, ticks: int) -> int:
    return round(number * ticks * 1000 / rate)


def _headers() -> list[tuple[Message, int]]:
    about = amf0.EcmaArray(width=1280.0, height=720.0, framerate=30.0, videocodecid=7.0)
    config = AudioSpecificConfig(LC, SAMPLE_RATE, 2).serialize()
    video = VideoTag(SEQUENCE_HEADER, True, 0, AvcConfig((SPS,), (PPS,)).serialize())
    audio = AudioTag(SEQUENCE_HEADER, config)
    metadata = amf0.serialize(["@setDataFrame", "onMetaData", about])
    return [
        (Message(messages.DATA_AMF0, 1, 0, metadata), _AUDIO_CHUNK_STREAM),
        (Message(messages.VIDEO, 1, 0, video.serialize()), _VIDEO_CHUNK_STREAM),
        (Message(messages.AUDIO, 1, 0, audio.serialize()), _AUDIO_CHUNK_STREAM),
    ]


def _picture(key: bool, size_bytes: int) -> bytes:
    nal = bytes((0x65 if key else 0x41, 0x9A)) + secrets.token_bytes(size_bytes - 2)
    return VideoTag(DATA, key, 0, join_length_prefixed([nal])).serialize()


def _chunks(chunk_stream: int, type_id: int, step_ms: int, body: bytes) -> bytes:
    header = bytes((_TYPE_1 | chunk_stream,)) + step_ms.to_bytes(3, "big")
    parts = [header + len(body).to_bytes(3, "big") + bytes((type_id,)), body[:CHUNK_BYTES]]
    for start in range(CHUNK_BYTES, len(body), CHUNK_BYTES):
        parts += (bytes((_TYPE_3 | chunk_stream,)), body[start : start + CHUNK_BYTES])
    return b"".join(parts)


def _read(sock: socket.socket, count: int) -> None:
    while count:
        data = sock.recv(count)
        if not data:
            raise ConnectionError("the server closed the connection")
        count -= len(data)


def _read_until(sock: socket.socket, word: bytes) -> None:
    seen = b""
    while word not in seen:
        data = sock.recv(4096)
        if not data:
            raise ConnectionError(f"the server closed the connection before {word!r}")
        seen += data


def _allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count and soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
