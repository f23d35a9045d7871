"""Opus packets' durations against libopus, and OpusHead."""

from __future__ import annotations

import av
import pytest
from av.audio.codeccontext import AudioCodecContext
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.errors import ProtocolError
from mediaserver.protocol.opus import OpusHead, opus_track, packet_duration


def encoder(**options: str) -> AudioCodecContext:
    context = av.CodecContext.create("libopus", "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = 48_000, "stereo", "s16"
    context.options = options
    context.open()
    return context


@pytest.mark.parametrize("frame_ms", ["2.5", "5", "10", "20", "40", "60", "120"])
@pytest.mark.parametrize("application", ["voip", "audio"])
def test_a_packet_lasts_what_libopus_put_in(frame_ms: str, application: str) -> None:
    context = encoder(frame_duration=frame_ms, application=application)
    samples = round(float(frame_ms) * 48)
    frame = av.AudioFrame("s16", "stereo", samples)
    frame.sample_rate = 48_000
    (packet,) = context.encode(frame)
    assert packet_duration(bytes(packet)) == samples
    assert packet_duration(memoryview(bytes(packet))) == samples


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"\x00", 480),  # SILK, 10 ms, one frame
        (b"\x08", 960),
        (b"\x18", 2880),
        (b"\x19", 5760),  # two of 60 ms
        (b"\x60", 480),  # hybrid, 10 ms
        (b"\x78", 960),
        (b"\x80", 120),  # CELT, 2.5 ms
        (b"\xfc", 960),  # CELT, 20 ms, stereo: what browsers send
        (b"\xff\x03", 2880),  # three of 20 ms
        (b"\x83\xb0", 5760),  # 48 of 2.5 ms, flags above the count
    ],
)
def test_the_toc_tells_the_duration(packet: bytes, samples: int) -> None:
    assert packet_duration(packet) == samples


@pytest.mark.parametrize("packet", [b"", b"\xff", b"\xff\x00", b"\xff\x07", b"\x83\x31"])
def test_a_packet_without_frames_or_beyond_120_ms_is_refused(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        packet_duration(packet)


def test_the_head_that_libopus_writes_is_read() -> None:
    extradata = encoder().extradata
    assert extradata is not None
    assert OpusHead.parse(extradata) == OpusHead(2, 312, 48_000)
    assert OpusHead.parse(extradata).serialize() == extradata


@given(
    st.builds(
        OpusHead,
        channels=st.integers(1, 2),
        pre_skip=st.integers(0, 0xFFFF),
        input_sample_rate=st.integers(0, 0xFFFFFFFF),
        output_gain=st.integers(-0x8000, 0x7FFF),
    ),
    st.binary(max_size=8),
)
def test_a_head_serializes_and_parses_whole(head: OpusHead, trailing: bytes) -> None:
    assert OpusHead.parse(head.serialize() + trailing) == head


def test_a_head_cut_anywhere_is_refused() -> None:
    whole = OpusHead(2).serialize()
    for end in range(len(whole)):
        with pytest.raises(ProtocolError):
            OpusHead.parse(whole[:end])


@pytest.mark.parametrize(("at", "value"), [(0, 0x6F), (8, 0x10), (9, 0), (9, 3), (18, 1)])
def test_another_magic_version_or_channel_mapping_is_refused(at: int, value: int) -> None:
    head = bytearray(OpusHead(2).serialize())
    head[at] = value
    with pytest.raises(ProtocolError):
        OpusHead.parse(head)


def test_a_track_counts_at_48_khz() -> None:
    track = opus_track(2)
    assert (track.kind, track.codec, track.clock_rate, track.channels) == (
        "audio",
        "opus",
        48_000,
        2,
    )
    assert OpusHead.parse(track.config) == OpusHead(2, 312, 48_000)
    assert OpusHead.parse(opus_track(1, pre_skip=0).config).pre_skip == 0
