"""Several layers of one picture (RFC 8853): which of them the stream carries, and where the others go.

The stream itself carries the best layer that is coming in, the largest picture and among equals the
most bytes; every other one is a rendition of it. So no picture is in the hub twice, and who takes
only the stream (HLS, a recorder, a viewer without a choice) gets the best there is. A layer that
becomes the stream ends as a rendition once its keyframe is in the stream: who watched it goes on
there with the very next picture. Each change is made at a keyframe of the new layer, asked for at once.

Browsers stop sending the upper layers on a thin link: a layer without a packet for SILENT_S, while
another has some, is passed over, and taken again at its next keyframe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mediaserver.hub import Publication
from mediaserver.ingest.whip.layer import VideoLayer
from mediaserver.media import Track
from mediaserver.protocol.rtp_video import CodedFrame

SILENT_S = 0.7
RENDITION_SILENT_S = 3.0  # then it ends: those who watch it have to be moved
BETTER_RATE = 1.25  # of two layers of one size: below it they would take turns


class Simulcast:
    """The layers of one publisher; `take` is given every whole frame."""

    def __init__(self, publication: Callable[[], Publication | None]) -> None:
        self.layers: Sequence[VideoLayer] = ()
        self.shown: VideoLayer | None = None
        self._publication = publication

    def take(self, layer: VideoLayer, frame: CodedFrame, track: Track, now: float) -> None:
        publication = self._publication()
        if publication is None or publication.closed:
            return
        shown = self.shown
        if layer is not shown and self._better(layer, now):
            if frame.keyframe:
                self._show(layer, publication, frame, track, now)
                return
            layer.ask_keyframe(own_loss=True)
        if layer is self.shown:
            self._write(publication, layer, frame, track, now)
        elif frame.keyframe or layer.rendition is not None:
            self._write_rendition(publication, layer, frame, track, now)
        else:
            layer.ask_keyframe(own_loss=True)  # its rendition begins with it

    def request_keyframe(self) -> None:
        """Somebody wants one of the stream itself."""
        if self.shown is not None:
            self.shown.request_keyframe()

    def every_second(self, now: float) -> None:
        """End renditions that nothing comes for."""
        publication = self._publication()
        latest = max((layer.arrived_at for layer in self.layers), default=now)
        for layer in self.layers:
            silent = latest - layer.arrived_at > RENDITION_SILENT_S
            if silent and layer.rendition is not None and publication is not None:
                publication.end_rendition(layer.rendition)
                layer.rendition = None

    def _better(self, layer: VideoLayer, now: float) -> bool:
        """Whether this is the layer to show, from its next keyframe on."""
        shown = self.shown
        if shown is None:
            return True
        if now - shown.arrived_at <= SILENT_S:
            return _above(layer, shown)
        return not any(
            _above(other, layer)
            for other in self.layers
            if other is not layer and now - other.arrived_at <= SILENT_S
        )

    def _show(
        self,
        layer: VideoLayer,
        publication: Publication,
        frame: CodedFrame,
        track: Track,
        now: float,
    ) -> None:
        self.shown = layer
        self._write(publication, layer, frame, track, now)
        if layer.rendition is not None:
            publication.end_rendition(layer.rendition)
            layer.rendition = None

    def _write(
        self,
        publication: Publication,
        layer: VideoLayer,
        frame: CodedFrame,
        track: Track,
        now: float,
    ) -> None:
        publication.write_layer(
            layer.line, track, frame.timestamp, frame.payload, keyframe=frame.keyframe, arrival=now
        )

    def _write_rendition(
        self,
        publication: Publication,
        layer: VideoLayer,
        frame: CodedFrame,
        track: Track,
        now: float,
    ) -> None:
        if layer.rendition is None:
            layer.rendition = publication.rendition(layer.name, track)
            layer.rendition.on_keyframe_request = layer.request_keyframe
        publication.write_layer(
            layer.line,
            track,
            frame.timestamp,
            frame.payload,
            keyframe=frame.keyframe,
            arrival=now,
            rendition=layer.rendition,
        )


def _above(layer: VideoLayer, other: VideoLayer) -> bool:
    if layer.pixels != other.pixels:
        return layer.pixels > other.pixels
    return layer.bytes_per_s > BETTER_RATE * other.bytes_per_s
