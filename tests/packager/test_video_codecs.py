"""HLS of every video codec: real encodes, packaged and read back by FFmpeg."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import av
import pytest

from mediaserver.media import Codec
from mediaserver.packager.fmp4 import ORIGIN_S, init_segment
from mediaserver.packager.muxer import AUDIO, INDEX, VIDEO, Muxer
from mediaserver.packager.playlist import with_query
from mediaserver.packager.video_codecs import VIDEO_CODECS
from tests.packager.boxes import read_boxes
from tests.packager.reading import playlist, read_rendition
from tests.packager.streams import audio, interleaved, mux
from tests.protocol import encoded

FRAMES = 150
CODECS: tuple[Codec, ...] = ("h264", "h265", "vp9", "av1")
DECODERS = {"h264": "h264", "h265": "hevc", "vp9": "vp9", "av1": "av1"}
NAMES = {"h264": "avc1.", "h265": "hvc1.1.6.L", "vp9": "vp09.00.11.08", "av1": "av01.0.00M.08"}


def muxed(codec: Codec) -> Muxer:
    return mux(interleaved(list(encoded.packets(codec, FRAMES)), audio(0, 5)))


def file_of(muxer: Muxer) -> bytes:
    """The video rendition as one file: an initialization segment and all segments."""
    entries = playlist(muxer, VIDEO).entries
    parts = [muxer.segment(name) for name in (entries[0].init, *(e.uri for e in entries))]
    assert len({entry.init for entry in entries}) == 1
    return b"".join(part for part in parts if part is not None)


@pytest.mark.parametrize("codec", CODECS)
def test_ffmpeg_decodes_every_picture(codec: Codec) -> None:
    muxer = muxed(codec)
    segments = read_rendition(muxer, VIDEO)
    assert len(segments) >= 2
    assert all(segment.samples[0].sync for segment in segments)
    with av.open(io.BytesIO(file_of(muxer))) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert stream.codec_context.codec.canonical_name == DECODERS[codec]
    assert [frame.pts for frame in frames] == [
        packet.pts + ORIGIN_S * 90_000 for packet in encoded.packets(codec, FRAMES)
    ]
    assert {(frame.width, frame.height) for frame in frames} == {encoded.SIZE}


@pytest.mark.parametrize("codec", CODECS)
def test_ffprobe_names_codec_tag_and_size(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(file_of(muxed(codec)))
    command = ["ffprobe", "-v", "error", "-show_streams", "-count_packets", "-of", "json"]
    found = subprocess.run([*command, str(path)], capture_output=True, check=True)
    assert found.stderr == b""
    [stream] = json.loads(found.stdout)["streams"]
    assert stream["codec_name"] == DECODERS[codec]
    assert stream["codec_tag_string"].encode() == VIDEO_CODECS[codec].sample_entry
    assert (stream["width"], stream["height"]) == encoded.SIZE
    assert stream["nb_read_packets"] == str(FRAMES)


@pytest.mark.parametrize("codec", CODECS)
def test_the_index_names_the_codec(codec: Codec) -> None:
    text = muxed(codec).playlist(INDEX)
    assert text is not None
    lines = with_query(text, "").decode()
    assert f'CODECS="{NAMES[codec]}' in lines
    assert ',mp4a.40.2"' in lines
    assert "RESOLUTION={}x{}".format(*encoded.SIZE) in lines
    assert "FRAME-RATE=30.000" in lines


@pytest.mark.parametrize("codec", CODECS)
def test_the_sample_entry_holds_the_configuration(codec: Codec) -> None:
    track = encoded.packets(codec)[0].track
    how = VIDEO_CODECS[codec]
    _, moov = read_boxes(init_segment(track))
    entry = moov.find("trak/mdia/minf/stbl/stsd/" + how.sample_entry.decode())
    assert entry.find(how.config_box.decode()).body == how.head + track.config


def test_vp8_leaves_the_sound_alone() -> None:
    muxer = mux(interleaved(list(encoded.packets("vp8", FRAMES)), audio(0, 8)))
    text = muxer.playlist(INDEX)
    assert text is not None
    lines = with_query(text, "").decode()
    assert 'CODECS="mp4a.40.2"' in lines
    assert "RESOLUTION" not in lines
    assert lines.splitlines()[-1] == AUDIO
    assert muxer.playlist(VIDEO) is None
    assert not muxer.wants_keyframe
    assert len(read_rendition(muxer, AUDIO)) >= 3
