"""Sound with a beep at a known media time: encoded as a publisher does, decoded as a player does."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from mediaserver.media import Packet, Track
from mediaserver.protocol.aac import audio_track
from mediaserver.protocol.opus import opus_track

Samples = NDArray[np.float32]
EPOCH_MS = 1_700_000_000_000
BEEP_HZ = 1000
BEEP_S = 0.05


def beep(at_s: float, length_s: float, rate: int) -> Samples:
    """Mono silence with one beep."""
    samples = np.zeros(round(length_s * rate), np.float32)
    count = round(BEEP_S * rate)
    begin = round(at_s * rate)
    samples[begin : begin + count] = 0.5 * np.sin(2 * np.pi * BEEP_HZ * np.arange(count) / rate)
    return samples


def tone(dbfs: float, seconds: float, rate: int = 48_000) -> Samples:
    """Mono, 1 kHz: where both channels have it, of as many LUFS as its peak has dB of full scale."""
    times = np.arange(round(rate * seconds)) / rate
    return np.asarray(10 ** (dbfs / 20) * np.sin(2 * np.pi * BEEP_HZ * times), np.float32)


def find_beep(samples: Samples, rate: int) -> float:
    """When the beep begins, in seconds from the first sample, to a part of a millisecond."""
    pattern = beep(0.01, BEEP_S + 0.02, rate)
    envelope = np.abs(np.correlate(samples, pattern, "valid"))
    return float(np.argmax(envelope)) / rate + 0.01


def publish(codec: str, samples: Samples, rate: int, channels: int, begin_s: float) -> list[Packet]:
    """Packets of mono `samples` on every channel, the first sample at `begin_s` of media time."""
    layout = "mono" if channels == 1 else "stereo"
    name, form = ("aac", "fltp") if codec == "aac" else ("libopus", "flt")
    encoder = cast(AudioCodecContext, av.CodecContext.create(name, "w"))
    encoder.sample_rate, encoder.layout, encoder.format = rate, layout, form
    encoder.bit_rate = 64_000 * channels
    encoder.open()
    track = audio_track(encoder.extradata or b"") if codec == "aac" else opus_track(channels)
    packets = []
    size = encoder.frame_size
    begin = round(begin_s * rate)
    for start in range(0, len(samples) - size + 1, size):
        block = np.tile(samples[start : start + size], (channels, 1))
        if form == "flt":
            block = block.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), form, layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), begin + start
        for encoded in encoder.encode(frame):
            assert encoded.pts is not None
            pts = encoded.pts
            wallclock_ms = EPOCH_MS + pts * 1000 // rate
            packets.append(Packet(track, pts, pts, wallclock_ms, True, bytes(encoded)))
    return packets


def play(packets: Iterable[Packet]) -> tuple[float, Samples]:
    """Media time (s) of the first sample, and the left channel at 48 kHz, placed by pts alone.

    As a browser plays RTP: no OpusHead, nothing skipped. Where packets overlap or leave a gap the
    sound shows it.
    """
    packets = list(packets)
    track = packets[0].track
    decoder = _decoder(track)
    first = packets[0].pts
    placed = np.zeros(packets[-1].pts - first + 4096, np.float32)
    for packet in packets:
        at = packet.pts - first
        for frame in decoder.decode(av.Packet(packet.payload)):
            block = frame.to_ndarray()
            if block.dtype == np.int16:
                block = block.astype(np.float32) / 32768
            if not frame.format.is_planar:
                block = block.reshape(-1, frame.layout.nb_channels).T
            placed[at : at + frame.samples] = block[0]
            at += frame.samples
    return first / track.clock_rate, placed


def _decoder(track: Track) -> AudioCodecContext:
    name = "aac" if track.codec == "aac" else "libopus"
    decoder = cast(AudioCodecContext, av.CodecContext.create(name, "r"))
    if track.codec == "aac":
        decoder.extradata = track.config
    else:
        decoder.sample_rate, decoder.layout = 48_000, "mono" if track.channels == 1 else "stereo"
    return decoder
