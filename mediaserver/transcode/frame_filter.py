"""The seam between decoder and encoders: what is done to a picture once, whoever watches it.

The filters of a stream are applied in order to each decoded frame before it is scaled. Timestamps are
not theirs to change.
"""

from __future__ import annotations

from typing import Protocol

import av
from av.filter import Graph
from av.video.reformatter import Interpolation, VideoReformatter

_TURNS = {90: ("cclock",), 180: ("clock", "clock"), 270: ("clock",)}  # by degrees counter-clockwise


class FrameFilter(Protocol):
    """One step of the way of a picture."""

    def filter(self, frame: av.VideoFrame, media_time_ms: int) -> av.VideoFrame:
        """The picture to show at `media_time_ms`; may be the same, or another of another size."""
        ...


class Upright:
    """Turns pictures that come lying by `rotation` degrees counter-clockwise: 90, 180 or 270."""

    def __init__(self, rotation: int) -> None:
        self._turns = _TURNS[rotation]
        self._graph: Graph | None = None
        self._form: tuple[int, int, str] | None = None

    def filter(self, frame: av.VideoFrame, media_time_ms: int) -> av.VideoFrame:
        form = frame.width, frame.height, frame.format.name
        if self._graph is None or form != self._form:
            self._form, self._graph = form, self._turning(frame)
        self._graph.vpush(frame)
        return self._graph.vpull()

    def _turning(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        graph.threads = 1
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base,
        )
        turns = [graph.add("transpose", turn) for turn in self._turns]
        graph.link_nodes(source, *turns, graph.add("buffersink")).configure()
        return graph


class Scaler:
    """To one size and 4:2:0, by bicubic interpolation; a picture that is so already is not copied."""

    def __init__(self, width: int, height: int, pixel_format: str) -> None:
        self._width = width
        self._height = height
        self._pixel_format = pixel_format
        self._reformatter = VideoReformatter()

    def filter(self, frame: av.VideoFrame, media_time_ms: int) -> av.VideoFrame:
        return self._reformatter.reformat(
            frame,
            self._width,
            self._height,
            self._pixel_format,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
