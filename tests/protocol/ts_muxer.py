"""A transport stream written by hand, packet by packet, and by FFmpeg's muxer inside PyAV."""

from __future__ import annotations

import io
from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from mediaserver.protocol.mpegts.psi import crc32

PMT_PID, VIDEO_PID, AUDIO_PID = 0x1000, 0x100, 0x101
VIDEO_ID, AUDIO_ID, PRIVATE_ID = 0xE0, 0xC0, 0xBD  # of PES packets
_PAYLOAD_BYTES = 184


class Muxer:
    """Packets with their continuity counters."""

    def __init__(self) -> None:
        self._counters: dict[int, int] = {}

    def packets(self, pid: int, payload: bytes, *, discontinuity: bool = False) -> list[bytes]:
        """A section with its pointer, or a PES packet, in as many packets as it takes."""
        found = []
        for at in range(0, len(payload), _PAYLOAD_BYTES):
            counter = self._counters[pid] = (self._counters.get(pid, -1) + 1) & 15
            piece = payload[at : at + _PAYLOAD_BYTES]
            found.append(packet(pid, piece, counter, start=not at, discontinuity=discontinuity))
        return found

    def pat(self, pmt_pid: int = PMT_PID, programme: int = 1, version: int = 0) -> list[bytes]:
        body = bytes(4) + (programme << 16 | 0xE000 | pmt_pid).to_bytes(4, "big")
        return self.packets(0, b"\0" + section(0x00, body[4:], version=version))

    def pmt(
        self, *streams: tuple[int, int, bytes], pid: int = PMT_PID, version: int = 0
    ) -> list[bytes]:
        """Streams of stream_type, PID and descriptors."""
        body = b"\xe1\x00\xf0\x00"
        for stream_type, stream_pid, descriptors in streams:
            body += bytes((stream_type,)) + (0xE000 | stream_pid).to_bytes(2, "big")
            body += (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
        return self.packets(pid, b"\0" + section(0x02, body, version=version))


def packet(
    pid: int, payload: bytes, counter: int, *, start: bool = False, discontinuity: bool = False
) -> bytes:
    """One packet, its payload filled up by an adaptation field."""
    room = _PAYLOAD_BYTES - len(payload)
    control, field = 0x10, b""
    if room or discontinuity:
        assert not discontinuity or room >= 2
        control = 0x30
        flags = bytes((0x80 if discontinuity else 0,)) if room > 1 else b""
        field = bytes((room - 1,)) + flags + b"\xff" * (room - 1 - len(flags))
    head = (0x4000 if start else 0) | pid
    return b"\x47" + head.to_bytes(2, "big") + bytes((control | counter,)) + field + payload


def section(table: int, body: bytes, *, version: int = 0, current: bool = True) -> bytes:
    """A PAT's or PMT's section of programme 1 around a body."""
    head = (0xB000 | 5 + len(body) + 4).to_bytes(2, "big")
    data = bytes((table,)) + head + b"\0\1" + bytes((0xC0 | version << 1 | current, 0, 0)) + body
    return data + crc32(data).to_bytes(4, "big")


def pes(
    stream_id: int, payload: bytes, pts: int | None, dts: int | None = None, *, bounded: bool = True
) -> bytes:
    """A PES packet; one that is not `bounded` does not say how long it is."""
    stamps = b"" if pts is None else _stamp(2 if dts is None else 3, pts)
    stamps += b"" if dts is None else _stamp(1, dts)
    flags = 0 if pts is None else 0x80 if dts is None else 0xC0
    rest = bytes((0x80, flags, len(stamps))) + stamps + payload
    length = len(rest) if bounded else 0
    return b"\0\0\1" + bytes((stream_id,)) + length.to_bytes(2, "big") + rest


def _stamp(prefix: int, value: int) -> bytes:
    value &= (1 << 33) - 1
    middle, low = value >> 15 & 0x7FFF, value & 0x7FFF
    first = prefix << 4 | value >> 30 << 1 | 1
    return (
        bytes((first,)) + (middle << 1 | 1).to_bytes(2, "big") + (low << 1 | 1).to_bytes(2, "big")
    )


@cache
def by_ffmpeg(video: str, audio: str, seconds: int = 2) -> bytes:
    """Noise and a tone from these encoders; pictures of H.264 with B-frames."""
    out = io.BytesIO()
    with av.open(out, "w", format="mpegts") as container:
        picture = _picture(container.add_stream(video, rate=25))
        sound = container.add_stream(audio, rate=48_000)
        assert isinstance(sound, AudioStream)
        sound.layout = "stereo"
        chance = np.random.default_rng(3)
        samples = np.arange(48_000 * seconds, dtype=np.float32)
        tone = np.tile(np.sin(samples * (440 * 2 * np.pi / 48_000)), (2, 1)).astype(np.float32) / 4
        for number in range(25 * seconds):
            noise = chance.integers(0, 255, (144 * 3 // 2, 160), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(picture.encode(frame))
            piece = tone[:, number * 1920 : (number + 1) * 1920]
            heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), "fltp", "stereo")
            heard.sample_rate, heard.pts = 48_000, number * 1920
            heard.time_base = Fraction(1, 48_000)
            container.mux(sound.encode(heard))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))
    return out.getvalue()


def _picture(stream: object) -> VideoStream:
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = 160, 144, "yuv420p"
    options = {"preset": "ultrafast", "threads": "1"}
    if stream.name == "libx265":
        options |= {"x265-params": "log-level=none:pools=1:keyint=25:bframes=2"}
    else:
        options |= {"bf": "2", "b_strategy": "0", "g": "25"}
    stream.options = options
    return stream
