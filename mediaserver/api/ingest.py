"""What the server sees of a publisher's stream, for the host: codecs, picture, rates, notices.

Rates are means over the last RATE_WINDOW_S, from samples of the streams' counters once a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from mediaserver.hub import Hub, Stream
from mediaserver.media import Track
from mediaserver.protocol import h264

RATE_WINDOW_S = 5
SAMPLE_S = 1.0


class IngestMeter:
    """Bit rates of the hub's published streams; from `start` to `close` it samples by itself."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._samples: dict[Stream, deque[tuple[float, int]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.sample(time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(SAMPLE_S, self.start)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def sample(self, now: float) -> None:
        """Note the counters of every published stream; `now` is monotonic seconds."""
        streams = [stream for name, stream in self._hub.streams.items() if "/" not in name]
        kept = {stream: self._samples.get(stream) for stream in streams}
        self._samples = {
            stream: samples if samples is not None else deque(maxlen=RATE_WINDOW_S + 1)
            for stream, samples in kept.items()
        }
        for stream, samples in self._samples.items():
            samples.append((now, stream.counters.bytes))

    def bitrate_bps(self, stream: Stream) -> int:
        """Mean payload bits per second; 0 until two samples are there."""
        samples = self._samples.get(stream)
        if samples is None or len(samples) < 2:
            return 0
        (begin, first), (end, last) = samples[0], samples[-1]
        return round((last - first) * 8 / (end - begin)) if end > begin else 0


def describe(room: str, stream: Stream | None, meter: IngestMeter) -> dict[str, object]:
    """The document of `GET /v1/rooms/{room}/ingest`; without a stream nothing is known."""
    if stream is None:
        return {
            "room": room,
            "live": False,
            "protocol": None,
            "codecs": {},
            "resolution": None,
            "frame_rate": None,
            "bitrate_bps": 0,
            "notices": [],
        }
    video = stream.tracks.get("video")
    return {
        "room": room,
        "live": stream.live,
        "protocol": stream.protocol or None,
        "codecs": {kind: track.codec for kind, track in stream.tracks.items()},
        "resolution": None if video is None else f"{video.width}x{video.height}",
        "frame_rate": None if video is None else _frame_rate(video),
        "bitrate_bps": meter.bitrate_bps(stream),
        "notices": [
            {
                "code": notice.code,
                "severity": notice.severity,
                "text": notice.text,
                "fix": notice.fix,
            }
            for notice in stream.notices.values()
        ],
    }


def _frame_rate(video: Track) -> float | None:
    """Frames per second as the encoder declares them, if it does."""
    if video.codec != "h264":
        return None
    declared = h264.parse_sps(h264.AvcConfig.parse(video.config).sps[0]).frame_rate
    return None if declared is None else round(declared, 3)
