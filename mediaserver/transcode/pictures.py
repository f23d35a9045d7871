"""One source to several renditions: decoded once, filtered once, encoded once for each rung.

Frames are the same in all rungs, and so are their timestamps and their keyframes (`cadence`): a rung
that is slower by configuration leaves frames out, but never a keyframe. All calls block; rungs are
encoded side by side in the threads of `pool`, and the caller's own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace

import av

from mediaserver.media import VIDEO_CLOCK_RATE, Packet, Track
from mediaserver.transcode.cadence import Keyframes, Pace
from mediaserver.transcode.decoder import Picture, PictureDecoder
from mediaserver.transcode.encoder import X264, Encoded, Kind
from mediaserver.transcode.encoders import open_encoder
from mediaserver.transcode.frame_filter import FrameFilter, Scaler
from mediaserver.transcode.ladder import Form

log = logging.getLogger("hawker.transcode")


class PictureLadder:
    """One track's renditions from its next keyframe on; a track that changes needs a new ladder.

    Raises as PictureDecoder does.
    """

    def __init__(
        self,
        track: Track,
        kind: Kind,
        pool: Executor,
        *,
        threads: int = 0,
        filters: Sequence[FrameFilter] = (),
    ) -> None:
        """`threads` of each decoder and encoder, 0: as many as their size wants."""
        self.half_rate = False  # leave out every other frame
        self.left_out = 0  # frames that nothing was made of
        self._clock_rate = track.clock_rate
        self._decoder = PictureDecoder(track, threads or 1)
        self._kind = kind
        self._pool = pool
        self._threads = threads
        self._filters = filters
        self._rungs: dict[str, _Rung] = {}
        self._keyframes = Keyframes()
        self._odd = False
        self._last_pts: int | None = None

    @property
    def corrupt(self) -> int:
        return self._decoder.corrupt

    def set_forms(self, forms: Sequence[Form]) -> None:
        """What to make from the next frame on; what was made already goes on without a seam."""
        wanted = {form.suffix: form for form in forms}
        for suffix in self._rungs.keys() - wanted.keys():
            del self._rungs[suffix]
        for suffix, form in wanted.items():
            rung = self._rungs.get(suffix)
            if rung is None or not rung.turn(form):
                self._rungs[suffix] = _Rung(self._kind, form, self._threads)

    def request_keyframe(self) -> None:
        """A keyframe soon, in all rungs."""
        self._keyframes.request()

    def feed(self, packet: Packet, *, encode: bool = True) -> list[tuple[str, Packet]]:
        """What becomes of a packet: packets by suffix. `encode` False: decode only, to catch up."""
        made: list[tuple[str, Packet]] = []
        for picture in self._decoder.decode(packet):
            if self._last_pts is None or picture.pts > self._last_pts:
                self._last_pts = picture.pts
                made += self._take(picture, encode)
        return made

    def _take(self, picture: Picture, encode: bool) -> list[tuple[str, Packet]]:
        self._odd = not self._odd and not picture.keyframe
        if not encode or (self.half_rate and self._odd):
            self.left_out += 1
            if picture.keyframe:
                self._keyframes.missed()
            return []
        media_s = picture.pts / self._clock_rate
        keyframe = self._keyframes.at(media_s, picture.keyframe)
        frame = picture.frame
        for each in self._filters:
            frame = each.filter(frame, int(media_s * 1000))
        frame.pts = picture.pts * VIDEO_CLOCK_RATE // self._clock_rate
        return self._encode(frame, picture, media_s, keyframe)

    def _encode(
        self, frame: av.VideoFrame, picture: Picture, media_s: float, keyframe: bool
    ) -> list[tuple[str, Packet]]:
        rungs = [rung for rung in self._rungs.values() if rung.takes(media_s, keyframe)]
        scaled = [rung.scaler.filter(frame, int(media_s * 1000)) for rung in rungs]
        others = [
            self._pool.submit(rung.encode, each, keyframe)
            for rung, each in zip(rungs[1:], scaled[1:], strict=True)
        ]
        encoded = [
            rung.encode(each, keyframe) for rung, each in zip(rungs[:1], scaled, strict=False)
        ]
        encoded += [each.result() for each in others]
        assert frame.pts is not None
        epoch_ms = picture.wallclock_ms - frame.pts * 1000 / VIDEO_CLOCK_RATE
        return [
            (rung.form.suffix, rung.packet(each, epoch_ms))
            for rung, several in zip(rungs, encoded, strict=True)
            for each in several
        ]


class _Rung:
    def __init__(self, kind: Kind, form: Form, threads: int) -> None:
        self.form = form
        self._threads = threads
        self._encoder = open_encoder(kind, form, threads)
        self.scaler = Scaler(form.width, form.height, self._encoder.kind.pixel_format)
        self._pace = Pace(form.fps) if form.fps else None

    def turn(self, form: Form) -> bool:
        """Whether it makes that form from now on; another bitrate it can."""
        if form.bits_per_s != self.form.bits_per_s:
            if form != replace(self.form, bits_per_s=form.bits_per_s):
                return False
            self._encoder.set_bitrate(form.bits_per_s)
            self.form = form
        return form == self.form

    def takes(self, media_s: float, keyframe: bool) -> bool:
        return self._pace is None or self._pace.takes(media_s, keyframe)

    def encode(self, frame: av.VideoFrame, keyframe: bool) -> list[Encoded]:
        try:
            return self._encoder.encode(frame, keyframe=keyframe)
        except av.FFmpegError as error:
            kind = self._encoder.kind
            if kind is X264:
                raise
            log.warning("%s failed, x264 goes on: %s", kind.name, error)
        self._encoder = open_encoder(X264, self.form, self._threads)
        self.scaler = Scaler(self.form.width, self.form.height, X264.pixel_format)
        return []

    def packet(self, encoded: Encoded, epoch_ms: float) -> Packet:
        wallclock_ms = round(epoch_ms + encoded.pts * 1000 / VIDEO_CLOCK_RATE)
        pts, keyframe = encoded.pts, encoded.keyframe
        return Packet(self._encoder.track, pts, pts, wallclock_ms, keyframe, encoded.payload)
