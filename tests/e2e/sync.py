"""Sound and picture together: a flash and a beep that begin at once, and how far apart they arrive.

Viewers here decode what they get and put it on the stream's own clock (sender reports, tfdt), so that
no player's corrections are in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np

from benchmarks.webrtc_client import AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE
from mediaserver.protocol import rtcp, rtp
from mediaserver.protocol.rtp_h264 import Depacketizer
from mediaserver.rtc.dtls import Certificate
from tests.e2e.server import Server

PERIOD_S = 1.0
PATIENCE_S = 30.0
FLASH = "iw/6"  # of the width: so little that an encoder sees no new scene in it


class Ended(Exception):
    """The server ended the session."""


def flash_and_beep(ffmpeg: str, *pace: str, size: str = "640x360", rate: int = 30) -> list[str]:
    """ffmpeg's moving picture whose left turns white, and silence that beeps, for 0.2 s of every second.

    `pace` is "-re" for a live source.
    """
    dark = "lutyuv=y=16+val/5"
    flash = f"drawbox=w={FLASH}:color=white:t=fill:enable='lt(mod(t,1),0.2)'"
    beep = "aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.2)':s=48000"
    return [
        *(ffmpeg, "-hide_banner", "-loglevel", "warning"),
        *(*pace, "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate},{dark},{flash}"),
        *(*pace, "-f", "lavfi", "-i", beep),
        *("-pix_fmt", "yuv420p", "-ac", "2"),
    ]


async def by_whep(server: Server, watch_s: float, room: str = "show") -> list[float]:
    """Beep minus flash, in seconds, of each second that a WHEP viewer saw; raises Refused and Ended."""
    ears = Ears()
    client = WebRtcClient(Certificate.generateCertificate(), on_rtp=ears.on_rtp)
    try:
        await client.watch(server.http, f"{server.url}/whep/{room}")
        await _first(client.closed, ears.seeing.wait(), PATIENCE_S)
        await _first(client.closed, asyncio.sleep(watch_s), watch_s + 1)  # so much of the show
    finally:
        await client.close()
    if client.closed.done():
        raise Ended
    await asyncio.to_thread(ears.decode, client.reports)
    return _offsets(_onsets(ears.video_s, ears.bright), _onsets(ears.audio_s, ears.loud))


async def _first(end: asyncio.Future[Any], event: Awaitable[Any], most_s: float) -> None:
    """Wait for an event, or for the end."""
    part = asyncio.ensure_future(event)
    await asyncio.wait({part, end}, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
    part.cancel()


def by_hls(url: str, watch_s: float, skip_s: float = 0.0) -> list[float]:
    """The same of HLS, each rendition by itself, as tfdt says; without the first `skip_s`."""
    flashes = _rendition(f"{url}/video.m3u8", skip_s, watch_s)
    return _offsets(flashes, _rendition(f"{url}/audio.m3u8", skip_s, watch_s))


def _rendition(url: str, skip_s: float, watch_s: float) -> list[float]:
    """When it flashes, or beeps."""
    times: list[float] = []
    high: list[bool] = []
    with av.open(url, options={"live_start_index": "0"}) as container:
        for frame in container.decode(container.streams[0]):
            if isinstance(frame, av.VideoFrame):
                times.append(_start_s(frame))
                high.append(_brightness(frame))
            elif isinstance(frame, av.AudioFrame):
                for seconds, loud in _loudness(frame):
                    times.append(_start_s(frame) + seconds)
                    high.append(loud)
            if times[-1] - times[0] > skip_s + watch_s:
                break
    return [onset for onset in _onsets(times, high) if onset - times[0] > skip_s]


def _start_s(frame: av.VideoFrame | av.AudioFrame) -> float:
    assert frame.pts is not None and frame.time_base is not None
    return float(frame.pts * frame.time_base)


@dataclass
class Ears:
    """Decodes what a WHEP viewer gets, on the sender reports' clock, and skips nothing."""

    video_s: list[float] = field(default_factory=list)
    bright: list[bool] = field(default_factory=list)
    audio_s: list[float] = field(default_factory=list)
    loud: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seeing = asyncio.Event()
        self._packets: list[rtp.RtpPacket] = []

    def on_rtp(self, packet: rtp.RtpPacket, gap: bool) -> None:
        assert not gap
        if packet.payload_type == VIDEO_PAYLOAD_TYPE:
            self.seeing.set()
        self._packets.append(packet)

    def decode(self, reports: list[rtcp.RtcpPacket]) -> None:
        clocks = {
            each.ssrc: (each.rtp_timestamp, rtcp.utc_ms_from_ntp(each.ntp) / 1000)
            for each in reports
            if isinstance(each, rtcp.SenderReport)
        }
        h264 = av.CodecContext.create("h264", "r")
        opus = av.CodecContext.create("libopus", "r")
        opus.sample_rate, opus.layout = 48000, "stereo"
        depacketizer = Depacketizer()
        for packet in self._packets:
            timestamp, at_s = clocks[packet.ssrc]
            ticks = (packet.timestamp - timestamp + 0x80000000) % 0x100000000 - 0x80000000
            if packet.payload_type == AUDIO_PAYLOAD_TYPE:
                for frame in opus.decode(av.Packet(packet.payload)):
                    for seconds, loud in _loudness(frame):
                        self.audio_s.append(at_s + ticks / OPUS_CLOCK_RATE + seconds)
                        self.loud.append(loud)
                continue
            units = depacketizer.feed(packet.payload, packet.marker, packet.timestamp)
            for unit in units:
                data = b"".join(b"\0\0\0\1" + nal for nal in unit.nals)
                for picture in h264.decode(av.Packet(data)):
                    self.video_s.append(at_s + ticks / VIDEO_CLOCK_RATE)
                    self.bright.append(_brightness(picture))


def _onsets(times_s: list[float], loud: list[bool]) -> list[float]:
    """When a stretch begins that is loud (or bright) after one that isn't."""
    pairs = zip(loud, loud[1:], times_s[1:], strict=False)
    return [at for before, now, at in pairs if now and not before]


def _offsets(flashes: list[float], beeps: list[float]) -> list[float]:
    """Beep minus flash, for each flash that has a beep in the same half period."""
    nearest = [(min(beeps, key=lambda beep: abs(beep - flash)), flash) for flash in flashes]
    return [beep - flash for beep, flash in nearest if abs(beep - flash) < PERIOD_S / 2]


def _brightness(frame: av.VideoFrame) -> bool:
    return bool(frame.to_ndarray(format="gray")[:, : frame.width // 8].mean() > 128)


def _loudness(frame: av.AudioFrame) -> Iterator[tuple[float, bool]]:
    """(seconds into the frame, loud?) for each millisecond."""
    samples = np.abs(frame.to_ndarray().astype(np.float32))
    scale = 1.0 if frame.format.name.startswith("flt") else 32768.0
    mono = samples.reshape(-1) if not frame.format.is_planar else samples[0]
    channels = 1 if frame.format.is_planar else len(frame.layout.channels)
    step = frame.sample_rate // 1000 * channels
    for start in range(0, len(mono) - step + 1, step):
        seconds = start / channels / frame.sample_rate
        yield seconds, bool(mono[start : start + step].max() / scale > 0.05)
