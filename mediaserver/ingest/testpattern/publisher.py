"""Publishes the picture and the sound over RTMP in real time, and comes back when the server went.

Frames are numbered from the UTC epoch, so each has one moment at which it is due; UTC is taken once
per connection and then counted by the monotonic clock, so nothing drifts while it is watched. Sound is
made from the same count: sample n of a second belongs to that second, and a beep to the flash.

The muxer lets no picture out before it holds sound of a later time, and the AAC encoder holds two
frames back: so the sound is made LEAD_SAMPLES early, and the picture leaves when it is due.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np

from mediaserver import child
from mediaserver.ingest.testpattern import sound
from mediaserver.ingest.testpattern.frame_number import FPS
from mediaserver.ingest.testpattern.picture import HEIGHT, WIDTH, Picture

log = logging.getLogger("hawker.testpattern")

KEYFRAME_S = 2
VIDEO_BITS_PER_S = 2_000_000
AUDIO_BITS_PER_S = 128_000
AAC_SAMPLES = 1024
LEAD_SAMPLES = 3 * AAC_SAMPLES
SAMPLES_PER_FRAME = sound.RATE // FPS
MEDIA_START_S = Fraction(1, 10)  # above the AAC priming, so that no timestamp is negative
LATE_S = 0.1  # behind by more, frames are left out
LOST_S = 2.0  # behind by more (a machine that slept), the connection is made anew
RETRY_MIN_S = 0.5
RETRY_MAX_S = 8.0
STEADY_S = 10.0  # a connection that lasted so long is tried again soon
ORPHAN_CHECK_S = 0.5
_BT709, _LIMITED = 1, 1  # as libavutil numbers them
_X264 = {
    "preset": "superfast",
    "tune": "zerolatency",
    "profile": "baseline",
    "maxrate": str(VIDEO_BITS_PER_S * 5 // 4),
    "bufsize": str(VIDEO_BITS_PER_S),
    "x264-params": "scenecut=0:sliced-threads=0",
}


class Connection:
    """One publication; raises av.FFmpegError where the server refuses it, or goes.

    Close it also where `open` failed: its encoder holds 6 MB that are not given back otherwise.
    """

    def __init__(self, url: str, picture: Picture, loop: sound.Loop) -> None:
        self._picture, self._loop = picture, loop
        self._container = av.open(url, "w", format="flv")
        self._video = self._container.add_stream("libx264", rate=FPS, options=_X264)
        codec = self._video.codec_context
        codec.width, codec.height, codec.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED
        codec.bit_rate, codec.gop_size, codec.thread_count = VIDEO_BITS_PER_S, KEYFRAME_S * FPS, 1
        self._audio = self._container.add_stream("aac", rate=sound.RATE, layout="stereo")
        self._audio.codec_context.bit_rate = AUDIO_BITS_PER_S
        self._first: int | None = None
        self._samples = 0  # sent since the first frame

    def open(self) -> None:
        """Connect and begin to publish."""
        self._container.start_encoding()

    def send(self, number: int) -> None:
        """The frame of this number, and the sound that goes with it and somewhat beyond."""
        if self._first is None:
            self._first = number
        count = number - self._first
        while self._samples < (count + 1) * SAMPLES_PER_FRAME + LEAD_SAMPLES:
            self._send_sound(self._first * SAMPLES_PER_FRAME)
        frame = av.VideoFrame.from_ndarray(self._picture.frame(number), format="yuv420p")
        frame.time_base = Fraction(1, FPS)
        frame.pts = count + int(MEDIA_START_S * FPS)
        self._container.mux(self._video.encode(frame))

    def close(self) -> None:
        with suppress(av.FFmpegError):  # the trailer has nobody to go to
            self._container.close()

    def _send_sound(self, first_sample: int) -> None:
        at = (first_sample + self._samples + np.arange(AAC_SAMPLES)) % self._loop.shape[1]
        frame = av.AudioFrame.from_ndarray(
            np.take(self._loop, at, axis=1), format="fltp", layout="stereo"
        )
        frame.sample_rate = sound.RATE
        frame.time_base = Fraction(1, sound.RATE)
        frame.pts = self._samples + int(MEDIA_START_S * sound.RATE)
        self._samples += AAC_SAMPLES
        self._container.mux(self._audio.encode(frame))


def publish(url: str) -> None:
    """Publish to `url`, whose last part is the stream key, until the parent is gone."""
    picture, loop = Picture(), sound.loop()
    pause_s = RETRY_MIN_S
    while not child.orphaned():
        began_at = time.monotonic()
        try:
            _publish_once(Connection(url, picture, loop))
        except av.FFmpegError as error:  # its text would name the URL, and so the key
            log.warning("not publishing: %s", error.strerror)
        if time.monotonic() - began_at > STEADY_S:
            pause_s = RETRY_MIN_S
        _pause(pause_s)
        pause_s = min(2 * pause_s, RETRY_MAX_S)


def _publish_once(connection: Connection) -> None:
    try:
        connection.open()
        log.info("publishing")
        for number in due_frames():
            connection.send(number)
            if child.orphaned():
                return
    finally:
        connection.close()


def due_frames() -> Iterator[int]:
    """The number of each frame at the moment it is due; ends when the clock was lost."""
    offset_s = time.time() - time.monotonic()
    number = math.ceil(time.time() * FPS)
    while True:
        late_s = time.monotonic() + offset_s - number / FPS
        if late_s > LOST_S:
            return
        if late_s > LATE_S:
            number += int(late_s * FPS)
        elif late_s < 0:
            time.sleep(-late_s)
        yield number
        number += 1


def _pause(pause_s: float) -> None:
    until = time.monotonic() + pause_s
    while (left_s := until - time.monotonic()) > 0 and not child.orphaned():
        time.sleep(min(left_s, ORPHAN_CHECK_S))
