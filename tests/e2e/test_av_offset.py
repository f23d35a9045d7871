"""Sound and picture: a flash and a beep that begin together must arrive together, within 40 ms."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext

from benchmarks.webrtc_client import AUDIO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE
from mediaserver.protocol import rtcp, rtp
from mediaserver.protocol.rtp_h264 import Depacketizer
from mediaserver.rtc.dtls import Certificate
from tests.e2e.server import Server, program, running

LIMIT_S = 0.040
PERIOD_S = 1.0
FLASHES = 5
WATCH_S = 9.0


def _flash_and_beep(ffmpeg: str) -> list[str]:
    flash = "drawbox=color=white:t=fill:enable='lt(mod(t,1),0.2)'"
    beep = "aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.2)':s=48000"
    return [
        *(ffmpeg, "-hide_banner", "-loglevel", "warning"),
        *("-re", "-f", "lavfi", "-i", f"color=black:size=320x180:rate=30,{flash}"),
        *("-re", "-f", "lavfi", "-i", beep),
        *("-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline"),
        *("-pix_fmt", "yuv420p", "-tune", "zerolatency", "-g", "30", "-threads", "1"),
    ]


def _publisher(protocol: str, ffmpeg: str, server: Server, key: str) -> list[str]:
    source = _flash_and_beep(ffmpeg)
    if protocol == "rtmp":
        audio = ["-c:a", "aac", "-ac", "2"]
        return [*source, *audio, "-f", "flv", f"{server.ready['rtmp']}/{key}"]
    audio = ["-c:a", "libopus", "-ac", "2"]
    muxer = ["-f", "whip", "-whip_flags", "dtls_active", "-authorization", key]
    return [*source, *audio, *muxer, f"{server.url}/whip"]


def _onsets(times_s: list[float], loud: list[bool]) -> list[float]:
    """When a stretch begins that is loud (or bright) after one that isn't."""
    pairs = zip(loud, loud[1:], times_s[1:], strict=False)
    return [at for before, now, at in pairs if now and not before]


def _offsets(flashes: list[float], beeps: list[float]) -> list[float]:
    """Beep minus flash, for each flash that has a beep in the same half period."""
    nearest = [(min(beeps, key=lambda beep: abs(beep - flash)), flash) for flash in flashes]
    return [beep - flash for beep, flash in nearest if abs(beep - flash) < PERIOD_S / 2]


def _brightness(frame: av.VideoFrame) -> bool:
    return bool(frame.to_ndarray(format="gray").mean() > 128)


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


@dataclass
class Ears:
    """Decodes what a WHEP viewer gets, on the sender reports' clock, and skips nothing."""

    video_s: list[float] = field(default_factory=list)
    bright: list[bool] = field(default_factory=list)
    audio_s: list[float] = field(default_factory=list)
    loud: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._packets: list[rtp.RtpPacket] = []

    def on_rtp(self, packet: rtp.RtpPacket, gap: bool) -> None:
        assert not gap
        self._packets.append(packet)

    def decode(self, reports: list[rtcp.RtcpPacket]) -> None:
        clocks = {
            each.ssrc: (each.rtp_timestamp, rtcp.utc_ms_from_ntp(each.ntp) / 1000)
            for each in reports
            if isinstance(each, rtcp.SenderReport)
        }
        h264 = cast(VideoCodecContext, av.CodecContext.create("h264", "r"))
        opus = cast(AudioCodecContext, av.CodecContext.create("libopus", "r"))
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


async def _by_whep(server: Server) -> list[float]:
    ears = Ears()
    client = WebRtcClient(Certificate.generateCertificate(), on_rtp=ears.on_rtp)
    await client.watch(server.http, f"{server.url}/whep/show")
    await asyncio.sleep(WATCH_S)  # what is measured is nine seconds of the show
    await client.close()
    await asyncio.to_thread(ears.decode, client.reports)
    return _offsets(_onsets(ears.video_s, ears.bright), _onsets(ears.audio_s, ears.loud))


def _by_hls(url: str) -> list[float]:
    """Each rendition by itself, as tfdt says: no player's corrections in between."""
    flashes: list[float] = []
    beeps: list[float] = []
    for name in ("video.m3u8", "audio.m3u8"):
        times, high = [], []
        with av.open(f"{url}/hls/show/{name}", options={"live_start_index": "0"}) as container:
            (stream,) = container.streams
            for frame in container.decode(stream):
                assert frame.pts is not None and frame.time_base is not None
                start_s = float(frame.pts * frame.time_base)
                if isinstance(frame, av.VideoFrame):
                    times.append(start_s)
                    high.append(_brightness(frame))
                elif isinstance(frame, av.AudioFrame):
                    for seconds, loud in _loudness(frame):
                        times.append(start_s + seconds)
                        high.append(loud)
                if times[-1] - times[0] > WATCH_S:
                    break
        (flashes if name.startswith("video") else beeps).extend(_onsets(times, high))
    return _offsets(flashes, beeps)


@pytest.mark.parametrize("protocol", ["rtmp", "whip"])
async def test_flash_and_beep_arrive_together_over_whep_and_hls(
    protocol: str, tmp_path: Path, whip_ffmpeg: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*_publisher(protocol, whip_ffmpeg, server, key)):
            await server.live()
            by_whep = await _by_whep(server)
            by_hls = await asyncio.to_thread(_by_hls, server.url)
    for offsets in (by_whep, by_hls):
        print([round(each * 1000, 1) for each in offsets])
        assert len(offsets) >= FLASHES, offsets
        assert abs(statistics.median(offsets)) <= LIMIT_S, offsets
