"""Fragmented MP4: its boxes read by our own reader, its media decoded by FFmpeg."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import pytest

from mediaserver.media import Packet, Track
from mediaserver.packager.fmp4 import ORIGIN_S, Sample, fragment, init_segment
from mediaserver.protocol.aac import AudioSpecificConfig, audio_track
from mediaserver.protocol.silence import silent_frame
from tests.packager.boxes import read_boxes, read_samples
from tests.packager.encoding import Encode, encode

TRACK_TREE = (
    "trak",
    [
        "tkhd",
        (
            "mdia",
            [
                "mdhd",
                "hdlr",
                (
                    "minf",
                    [
                        "vmhd",
                        ("dinf", [("dref", ["url "])]),
                        ("stbl", [("stsd", [("avc1", ["avcC"])]), "stts", "stsc", "stsz", "stco"]),
                    ],
                ),
            ],
        ),
    ],
)


def samples_of(packets: list[Packet], duration: int) -> list[Sample]:
    return [
        Sample(packet.dts, duration, packet.pts - packet.dts, packet.keyframe, packet.payload)
        for packet in packets
    ]


def test_an_init_segment_of_video_has_these_boxes_and_values() -> None:
    track = encode(Encode(0.1, audio=False))[0].track
    ftyp, moov = read_boxes(init_segment(track))
    assert ftyp.kind == "ftyp"
    assert ftyp.body[:4] == b"iso6"
    assert moov.tree() == ("moov", ["mvhd", TRACK_TREE, ("mvex", ["trex"])])
    assert moov.find("trak/mdia/mdhd").body[12:16] == (90_000).to_bytes(4, "big")
    assert moov.find("trak/tkhd").body[-8:] == bytes.fromhex("00a00000 00600000")
    avc1 = moov.find("trak/mdia/minf/stbl/stsd/avc1")
    assert avc1.body[24:28] == bytes.fromhex("00a0 0060")
    assert avc1.find("avcC").body == track.config


def test_an_init_segment_of_audio_has_these_boxes_and_values() -> None:
    track = encode(Encode(0.1, video=False, sample_rate=44_100))[0].track
    _, moov = read_boxes(init_segment(track))
    assert moov.find("trak/mdia/mdhd").body[12:16] == (44_100).to_bytes(4, "big")
    assert moov.find("trak/mdia/hdlr").body[8:12] == b"soun"
    assert [box.kind for box in moov.find("trak/mdia/minf").children] == ["smhd", "dinf", "stbl"]
    mp4a = moov.find("trak/mdia/minf/stbl/stsd/mp4a")
    assert mp4a.body[16:18] == b"\x00\x02"
    assert mp4a.body[24:28] == (44_100 << 16).to_bytes(4, "big")
    esds = mp4a.find("esds").body
    assert b"\x05\x80\x80\x80" + bytes((len(track.config),)) + track.config in esds


def test_a_rate_beyond_16_bits_is_left_to_the_decoder_configuration() -> None:
    track = audio_track(AudioSpecificConfig(2, 96_000, 2).serialize())
    _, moov = read_boxes(init_segment(track))
    assert moov.find("trak/mdia/minf/stbl/stsd/mp4a").body[24:28] == bytes(4)
    assert moov.find("trak/mdia/mdhd").body[12:16] == (96_000).to_bytes(4, "big")


def test_a_fragment_says_of_each_sample_where_it_is_and_when() -> None:
    track = Track("video", "h264", 90_000, b"")
    samples = [
        Sample(900, 3000, 6000, True, b"first"),
        Sample(3900, 3003, -3000, False, b"second one"),
        Sample(6903, 2997, 0, False, b""),
    ]
    data = fragment(track, 7, samples)
    moof, mdat = read_boxes(data)
    assert moof.tree() == ("moof", ["mfhd", ("traf", ["tfhd", "tfdt", "trun"])])
    assert moof.find("mfhd").body[4:] == (7).to_bytes(4, "big")
    assert mdat.body == b"firstsecond one"
    read = read_samples(data)
    assert read[0].dts == 900 + ORIGIN_S * 90_000
    for sample, back in zip(samples, read, strict=True):
        assert (back.duration, back.composition) == (sample.duration, sample.composition)
        assert (back.sync, back.payload) == (sample.keyframe, sample.payload)


def test_decode_times_beyond_32_bits_and_below_zero_are_written() -> None:
    track = Track("video", "h264", 90_000, b"")
    for dts in (1 << 40, -1024):
        (read,) = read_samples(fragment(track, 1, [Sample(dts, 1, 0, True, b"x")]))
        assert read.dts == dts + ORIGIN_S * 90_000


@pytest.mark.parametrize("b_frames", [0, 3])
def test_ffmpeg_decodes_every_picture_at_its_time(b_frames: int) -> None:
    packets = encode(Encode(2, audio=False, b_frames=b_frames))
    track = packets[0].track
    pieces = [samples_of(packets[at : at + 20], 3000) for at in range(0, len(packets), 20)]
    file = b"".join(fragment(track, number, piece) for number, piece in enumerate(pieces, 1))
    with av.open(io.BytesIO(init_segment(track) + file)) as container:
        frames = [frame.pts for frame in container.decode(video=0)]
        assert container.streams.video[0].time_base == Fraction(1, 90_000)
    assert frames == sorted(packet.pts + ORIGIN_S * 90_000 for packet in packets)


@pytest.mark.parametrize(("sample_rate", "layout"), [(48_000, "stereo"), (44_100, "mono")])
def test_ffmpeg_decodes_every_audio_frame_at_its_time(sample_rate: int, layout: str) -> None:
    packets = encode(Encode(1, video=False, sample_rate=sample_rate, layout=layout))
    track = packets[0].track
    file = init_segment(track) + fragment(track, 1, samples_of(packets, 1024))
    with av.open(io.BytesIO(file)) as container:
        frames = list(container.decode(audio=0))
    assert [frame.pts for frame in frames] == [p.pts + ORIGIN_S * sample_rate for p in packets]
    assert {(frame.sample_rate, frame.layout.name) for frame in frames} == {(sample_rate, layout)}
    assert abs(frames[5].to_ndarray()).max() > 0.1  # the tone


@pytest.mark.parametrize(("channels", "layout"), [(1, "mono"), (2, "stereo")])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_a_silent_frame_decodes_to_silence(channels: int, layout: str, rate: int) -> None:
    track = audio_track(AudioSpecificConfig(2, rate, channels).serialize())
    silence = silent_frame(track)
    assert silence is not None
    samples = [Sample(number * 1024, 1024, 0, True, silence) for number in range(10)]
    with av.open(io.BytesIO(init_segment(track) + fragment(track, 1, samples))) as container:
        frames = list(container.decode(audio=0))
    assert len(frames) == 10
    assert all(frame.layout.name == layout and frame.samples == 1024 for frame in frames)
    assert all(not frame.to_ndarray().any() for frame in frames)


def test_there_is_no_silent_frame_for_other_layouts() -> None:
    assert silent_frame(audio_track(AudioSpecificConfig(2, 48_000, 6).serialize())) is None
    assert silent_frame(Track("audio", "opus", 48_000, b"")) is None
