"""Everything that reads what a stranger has sent."""

from __future__ import annotations

from benchmarks.fuzzing import codecs, messages, rtmp, transport_stream, webrtc
from benchmarks.fuzzing.parser import Parser

_ALL = (
    *rtmp.PARSERS,
    *codecs.PARSERS,
    *webrtc.PARSERS,
    *transport_stream.PARSERS,
    *messages.PARSERS,
)
PARSERS: dict[str, Parser] = {each.name: each for each in _ALL}
