"""The audio bridge: AAC to Opus for WebRTC, Opus to AAC for HLS, sample by sample on the media clock.

Time is counted, not copied: output samples follow one another without a seam, and each input packet
says where they ought to be. A difference of more than RESYNC_S (lost packets) is made good at once,
with silence or by leaving samples out; a lasting one of more than NUDGE_S (a sound card that does not
keep its publisher's time) by making frames one sample longer or shorter, which nobody hears. After a
pause too long to fill, output begins anew. So no error grows beyond RESYNC_S.

Codec delay is made good as media.py has it: a packet's pts is the time of the first sample that a
decoder puts out for it. An encoder that looks ahead (Opus 2.5 ms, AAC 1,024 samples of priming)
therefore gives packets that begin earlier than the samples they were made from. The decoders here are
made without an OpusHead, for with it libavcodec drops the pre-skip itself and a browser does not.

Latency: an input packet is decoded, resampled and encoded at once. What waits is less than one output
frame, 16 samples of the resampler at 44.1 kHz, and what the encoder holds back: nothing for Opus, one
frame for AAC. Look-ahead included that is 12 ms in the middle and 26 at most from AAC to Opus, 52 and 62
from Opus to AAC (measured in tests/transcode/test_audio_bridge.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from mediaserver.media import Codec, Packet, Track
from mediaserver.protocol.aac import audio_track
from mediaserver.protocol.opus import OpusHead, opus_track
from mediaserver.transcode.loudness import LoudnessMeter

RATE = 48_000  # of both outputs
RESYNC_S = 0.015  # below one Opus or AAC frame, so that a lost one is noticed at once
NUDGE_S = 0.002
SMOOTHING = 64  # frames, over which jitter of timestamps averages out before a nudge
MAX_FILL_S = 1.0  # a longer pause is not filled with silence

Samples = NDArray[np.float32]  # (channels, samples), ±1


@dataclass(frozen=True, slots=True)
class Target:
    """How one codec is encoded."""

    codec: Codec
    encoder: str
    sample_format: str
    bit_rate_per_channel: int
    options: Mapping[str, str]

    def track(self, extradata: bytes) -> Track:
        if self.codec == "aac":
            return audio_track(extradata)
        head = OpusHead.parse(extradata)
        return opus_track(head.channels, head.pre_skip)


AAC = Target("aac", "aac", "fltp", 64_000, {})
# At 96 kbit/s libopus codes music and speech alike by CELT; `lowdelay` only spares its 4 ms of
# look-ahead for the other modes.
OPUS = Target("opus", "libopus", "flt", 48_000, {"application": "lowdelay", "frame_duration": "20"})
TARGETS: Mapping[Codec, Target] = {"aac": OPUS, "opus": AAC}  # by the codec that comes in
_DECODERS: Mapping[Codec, str] = {"aac": "aac", "opus": "libopus"}


class AudioBridge:
    """One track to the other codec; a track that changes needs a new bridge.

    Raises ValueError for a codec that is not bridged, av.FFmpegError for a configuration that no
    decoder takes.
    """

    def __init__(self, track: Track) -> None:
        if track.codec not in TARGETS:
            raise ValueError(f"{track.codec} is not bridged")
        self.track = track
        self.corrupt = 0  # packets that no decoder took
        self.resyncs = 0  # times that silence was put in or samples were left out
        self.meter = LoudnessMeter()
        self._decoder = _decoder(track)
        self._chain: _Chain | None = None

    def convert(self, packet: Packet) -> list[Packet]:
        """The packets that are complete with this one, none or more; a corrupt one is counted."""
        start = packet.pts * RATE // self.track.clock_rate
        epoch_ms = packet.wallclock_ms - packet.pts * 1000 / self.track.clock_rate
        converted: list[Packet] = []
        for frame in self._decode(packet.payload):
            self.meter.take(frame)
            chain = self._chain_for(frame, start)
            self.resyncs += chain.resynchronise(start)
            for encoded in chain.encode(frame):
                assert encoded.pts is not None
                wallclock_ms = int(epoch_ms + encoded.pts * 1000 / RATE)
                pts, payload = encoded.pts, bytes(encoded)
                converted.append(Packet(chain.track, pts, pts, wallclock_ms, True, payload))
            start += frame.samples * RATE // frame.sample_rate
        return converted

    def _decode(self, payload: bytes) -> list[av.AudioFrame]:
        if payload:  # libavcodec takes an empty packet for the end
            try:
                return self._decoder.decode(av.Packet(payload))
            except av.FFmpegError:
                pass
        self.corrupt += 1
        return []

    def _chain_for(self, frame: av.AudioFrame, start: int) -> _Chain:
        if self._chain is None or not self._chain.continues(frame, start):
            self._chain = _Chain(TARGETS[self.track.codec], frame, start)
        return self._chain


class _Chain:
    """Resampler, waiting samples and encoder, from `start` on and for frames of one form.

    Positions are samples at RATE on the media clock.
    """

    def __init__(self, target: Target, frame: av.AudioFrame, start: int) -> None:
        layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
        self._form = _form(frame)
        self._input_rate = frame.sample_rate
        self._resampler = AudioResampler("fltp", layout, RATE)
        self._encoder = _encoder(target, layout)
        self._sample_format = target.sample_format
        self._layout = layout
        self.track = target.track(self._encoder.extradata or b"")
        self._waiting: Samples = np.empty((self.track.channels, 0), np.float32)
        self._head = start  # position of the first waiting sample
        self._anchor = start  # position of the input's first sample, as corrected since
        self._taken = 0  # input samples since
        self._late = 0.0  # smoothed difference to the input's timestamps
        self._leave_out = 0  # samples still to drop
        self._nudge = 0

    def continues(self, frame: av.AudioFrame, start: int) -> bool:
        """Whether the frame can follow what was encoded before."""
        return _form(frame) == self._form and start - self._expected() <= MAX_FILL_S * RATE

    def resynchronise(self, start: int) -> bool:
        """Make good that the next frame belongs at `start`; True where that took a cut."""
        error = start - self._expected()
        self._nudge = 0
        if abs(error) <= RESYNC_S * RATE:
            self._late += (error - self._late) / SMOOTHING
            if abs(self._late) > NUDGE_S * RATE:
                self._nudge = 1 if self._late > 0 else -1
                self._late -= self._nudge
                self._anchor += self._nudge
            return False
        if error > 0:
            silence = np.zeros((self.track.channels, error), np.float32)
            self._waiting = np.concatenate((self._waiting, silence), axis=1)
        else:
            self._leave_out -= error
        self._late = 0.0
        self._anchor += error
        return True

    def encode(self, frame: av.AudioFrame) -> list[av.Packet[Any]]:
        self._taken += frame.samples
        self._wait(self._resample(frame))
        size = self._encoder.frame_size
        packets: list[av.Packet[Any]] = []
        while self._waiting.shape[1] >= size:
            packets += self._encoder.encode(self._frame(self._waiting[:, :size]))
            self._waiting = self._waiting[:, size:]
            self._head += size
        return packets

    def _expected(self) -> int:
        return self._anchor + self._taken * RATE // self._input_rate

    def _resample(self, frame: av.AudioFrame) -> Samples:
        frame.pts = None
        pieces = [piece.to_ndarray() for piece in self._resampler.resample(frame)]
        if not pieces:
            return self._waiting[:, :0]
        samples = np.concatenate(pieces, axis=1) if len(pieces) > 1 else pieces[0]
        # A damaged packet may decode to anything; an encoder refuses what is no number.
        return np.clip(np.nan_to_num(samples), -1.0, 1.0)

    def _wait(self, samples: Samples) -> None:
        if self._nudge and samples.shape[1] > 1:
            samples = _stretched(samples, self._nudge)
        if self._leave_out:
            dropped = min(self._leave_out, samples.shape[1])
            samples = samples[:, dropped:]
            self._leave_out -= dropped
        self._waiting = np.concatenate((self._waiting, samples), axis=1)

    def _frame(self, samples: Samples) -> av.AudioFrame:
        if self._sample_format == "flt":
            samples = samples.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), self._sample_format, self._layout
        )
        frame.sample_rate = RATE
        frame.time_base = Fraction(1, RATE)
        frame.pts = self._head
        return frame


def _decoder(track: Track) -> AudioCodecContext:
    decoder = cast(AudioCodecContext, av.CodecContext.create(_DECODERS[track.codec], "r"))
    if track.codec == "aac":
        decoder.extradata = track.config
    else:
        decoder.sample_rate = RATE
        decoder.layout = "mono" if track.channels == 1 else "stereo"
    decoder.open()
    return decoder


def _encoder(target: Target, layout: str) -> AudioCodecContext:
    encoder = cast(AudioCodecContext, av.CodecContext.create(target.encoder, "w"))
    encoder.sample_rate = RATE
    encoder.format = target.sample_format
    encoder.layout = layout
    encoder.bit_rate = target.bit_rate_per_channel * (1 if layout == "mono" else 2)
    encoder.options = dict(target.options)
    encoder.open()
    return encoder


def _form(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _stretched(samples: Samples, by: int) -> Samples:
    count = samples.shape[1]
    positions = np.linspace(0, count - 1, count + by)
    stretched = [np.interp(positions, np.arange(count), channel) for channel in samples]
    return np.asarray(stretched, np.float32)
