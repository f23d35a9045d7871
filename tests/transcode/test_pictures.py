"""One source to several renditions, with real decoders and encoders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import av
import pytest

from mediaserver.media import Codec, Packet
from mediaserver.protocol import h264
from mediaserver.transcode.encoder import NVENC, X264
from mediaserver.transcode.encoders import choose, works
from mediaserver.transcode.frame_filter import Upright
from mediaserver.transcode.ladder import Form, Rung, mended, plan
from mediaserver.transcode.looking import look
from mediaserver.transcode.pictures import PictureLadder
from tests.protocol import encoded
from tests.transcode.film import TICKS, film, show

RUNGS = (Rung(120, 300, preset="ultrafast"), Rung(90, 200, preset="ultrafast"))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def forms_of(packets: list[Packet], rungs: Iterable[Rung] = RUNGS) -> list[Form]:
    source = look(packets[0])
    assert source is not None
    return plan(rungs, source)


def make(ladder: PictureLadder, packets: Iterable[Packet]) -> dict[str, list[Packet]]:
    made: dict[str, list[Packet]] = defaultdict(list)
    for packet in packets:
        for suffix, each in ladder.feed(packet):
            made[suffix].append(each)
    return made


def ladder_of(packets: list[Packet], pool: ThreadPoolExecutor) -> PictureLadder:
    ladder = PictureLadder(packets[0].track, X264, pool)
    ladder.set_forms(forms_of(packets))
    return ladder


@pytest.mark.parametrize("codec", ["h264", "h265", "vp8", "vp9", "av1"])
def test_every_frame_of_every_codec_keeps_its_time(codec: Codec, pool: ThreadPoolExecutor) -> None:
    packets = encoded.packets(codec)
    made = make(ladder_of(packets, pool), packets)
    assert set(made) == {"120p", "90p"}
    for rendition in made.values():
        assert [each.pts for each in rendition] == [each.pts for each in packets]
        assert [each.wallclock_ms for each in rendition] == [each.wallclock_ms for each in packets]
        assert all(each.dts == each.pts for each in rendition)


def test_a_rendition_shows_the_same_frames_at_the_same_times(pool: ThreadPoolExecutor) -> None:
    packets = film(40)
    made = make(ladder_of(packets, pool), packets)
    assert show(made["90p"]) == show(made["120p"]) == show(packets)


def test_parameter_sets_are_in_the_track_alone(pool: ThreadPoolExecutor) -> None:
    packets = film(5)
    for suffix, rendition in make(ladder_of(packets, pool), packets).items():
        track = rendition[0].track
        assert min(track.width, track.height) == int(suffix[:-1])
        kinds = {
            h264.nal_type(nal)
            for each in rendition
            for nal in h264.split_length_prefixed(each.payload)
        }
        assert kinds <= {h264.NAL_SLICE, h264.NAL_IDR, h264.NAL_SEI}
        sps = h264.parse_sps(h264.AvcConfig.parse(track.config).sps[0])
        assert (sps.max_reorder_frames, sps.width) == (0, track.width)


def test_keyframes_are_the_same_frames_in_all_rungs(pool: ThreadPoolExecutor) -> None:
    packets = film(140, gop=130)
    ladder = ladder_of(packets, pool)
    made = make(ladder, packets[:80])
    ladder.request_keyframe()
    for suffix, each in make(ladder, packets[80:]).items():
        made[suffix] += each
    keyframes = [
        [each.pts // TICKS for each in rendition if each.keyframe] for rendition in made.values()
    ]
    assert keyframes[0] == keyframes[1] == [0, 60, 80, 130]


def test_a_player_may_begin_at_any_keyframe(pool: ThreadPoolExecutor) -> None:
    packets = film(90, gop=30)
    rendition = make(ladder_of(packets, pool), packets)["90p"]
    whole = show(rendition)
    for start in (30, 60):
        assert rendition[start].keyframe
        assert show(rendition[start:]) == whole[start:]


def test_b_frames_are_put_in_order(pool: ThreadPoolExecutor) -> None:
    packets = film(40, b_frames=2)
    assert [each.pts for each in packets] != sorted(each.pts for each in packets)
    rendition = make(ladder_of(packets, pool), packets)["90p"]
    times = [each.pts for each in rendition]
    assert times == sorted(times)
    assert show(rendition) == show(packets)[: len(rendition)]
    assert len(rendition) >= 36  # what the decoder still holds comes with the next packets


def test_what_is_mended_has_the_sources_size_and_no_b_frames(pool: ThreadPoolExecutor) -> None:
    packets = film(40, b_frames=2)
    source = look(packets[0])
    assert source is not None
    ladder = PictureLadder(packets[0].track, X264, pool)
    ladder.set_forms([mended(source, "ultrafast"), *plan(RUNGS, source)])
    made = make(ladder, packets)
    track = made["mended"][0].track
    assert (track.width, track.height) == (320, 180)
    assert show(made["mended"]) == show(made["90p"])


def test_pixels_that_are_not_square_stay_as_they_are(pool: ThreadPoolExecutor) -> None:
    packets = film(3, pixel=Fraction(4, 3))
    rendition = make(ladder_of(packets, pool), packets)["90p"]
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = rendition[0].track.config
    decoder.decode(av.Packet(rendition[0].payload))
    assert decoder.sample_aspect_ratio == Fraction(4, 3)


def test_a_packet_that_is_damaged_is_counted_and_the_next_keyframe_is_clean(
    pool: ThreadPoolExecutor,
) -> None:
    packets = film(60, gop=30)
    ladder = ladder_of(packets, pool)
    packets[10].payload = b"\x00\x00\x00\x09" + b"\xff" * 9
    packets[12].payload = packets[12].payload[: len(packets[12].payload) // 2]
    packets[13].payload = b""
    rendition = make(ladder, packets)["90p"]
    assert ladder.corrupt >= 1
    after = [each for each in rendition if each.pts >= 30 * TICKS]
    assert show(after) == show(packets[30:])
    assert len(rendition) >= 50


def test_half_the_frames_are_left_out_but_no_keyframe(pool: ThreadPoolExecutor) -> None:
    packets = film(60, gop=15)
    ladder = ladder_of(packets, pool)
    ladder.half_rate = True
    rendition = make(ladder, packets)["90p"]
    assert len(rendition) == pytest.approx(30, abs=4)
    assert [each.pts // TICKS for each in rendition if each.keyframe] == [0, 15, 30, 45]


def test_what_is_only_decoded_costs_no_keyframe(pool: ThreadPoolExecutor) -> None:
    packets = film(70, gop=30)
    ladder = ladder_of(packets, pool)
    make(ladder, packets[:28])
    assert [ladder.feed(packet, encode=False) for packet in packets[28:35]] == [[]] * 7
    rendition = make(ladder, packets[35:])["90p"]
    assert (rendition[0].pts, rendition[0].keyframe) == (35 * TICKS, True)
    assert show(rendition) == show(packets)[35:]


def test_a_rung_that_is_wanted_later_begins_with_a_keyframe(pool: ThreadPoolExecutor) -> None:
    packets = film(30, gop=30)
    ladder = PictureLadder(packets[0].track, X264, pool)
    forms = forms_of(packets)
    ladder.set_forms(forms[:1])
    assert set(make(ladder, packets[:10])) == {"120p"}
    ladder.set_forms(forms)
    made = make(ladder, packets[10:20])
    assert [each.keyframe for each in made["90p"]] == [True] + [False] * 9
    assert not any(each.keyframe for each in made["120p"])
    ladder.set_forms([])
    assert make(ladder, packets[20:]) == {}


def test_a_slower_rung_keeps_the_times_of_its_frames(pool: ThreadPoolExecutor) -> None:
    packets = film(60, gop=30)
    rungs = (Rung(120, 300, preset="ultrafast"), Rung(90, 200, fps=15, preset="ultrafast"))
    ladder = PictureLadder(packets[0].track, X264, pool)
    ladder.set_forms(forms_of(packets, rungs))
    made = make(ladder, packets)
    assert (len(made["120p"]), len(made["90p"])) == (60, 30)
    assert set(show(made["90p"])) < set(show(made["120p"]))


def test_a_bitrate_that_is_changed_changes_the_bitrate(pool: ThreadPoolExecutor) -> None:
    packets = encoded.packets("h264", 90)
    form = replace(forms_of(packets)[0], bits_per_s=1_000_000)
    ladder = PictureLadder(packets[0].track, X264, pool)
    sizes = []
    for part, bits_per_s in enumerate((1_000_000, 200_000, 1_500_000)):
        ladder.set_forms([replace(form, bits_per_s=bits_per_s)])
        made = make(ladder, packets[part * 30 : part * 30 + 30])["120p"]
        sizes.append(sum(len(each.payload) for each in made))
    assert sizes[1] < sizes[0] / 2
    assert sizes[2] > sizes[0]


def test_filters_see_each_frame_once_whatever_is_made_of_it(pool: ThreadPoolExecutor) -> None:
    class Dark:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def filter(self, frame: av.VideoFrame, media_time_ms: int) -> av.VideoFrame:
            self.seen.append(media_time_ms)
            dark = av.VideoFrame(frame.width, frame.height, "yuv420p")
            for plane, grey in zip(dark.planes, (60, 128, 128), strict=True):
                plane.update(bytes([grey]) * plane.buffer_size)
            return dark

    packets, dark = film(6), Dark()
    ladder = PictureLadder(packets[0].track, X264, pool, filters=[dark])
    ladder.set_forms(forms_of(packets))
    made = make(ladder, packets)
    assert dark.seen == [0, 33, 66, 100, 133, 166]
    assert show(made["90p"]) == [(n * TICKS, 0) for n in range(6)]
    assert show(made["120p"]) == show(made["90p"])


@pytest.mark.parametrize(("rotation", "size"), [(90, (4, 6)), (180, (6, 4)), (270, (4, 6))])
def test_a_picture_that_lies_is_put_upright(rotation: int, size: tuple[int, int]) -> None:
    frame = av.VideoFrame(6, 4, "gray")
    rows = [bytes([10, 0, 0, 0, 0, 20]), bytes(6), bytes(6), bytes([40, 0, 0, 0, 0, 30])]
    stride = frame.planes[0].line_size
    frame.planes[0].update(b"".join(row.ljust(stride, b"\0") for row in rows))
    frame.pts, frame.time_base = 7, Fraction(1, 30)
    turned = Upright(rotation).filter(frame, 0)
    picture = turned.to_ndarray()
    corners = [int(picture[y, x]) for y, x in ((0, 0), (0, -1), (-1, -1), (-1, 0))]
    clockwise = [10, 20, 30, 40]
    turns = rotation // 90
    assert (turned.width, turned.height, turned.pts) == (*size, 7)
    assert corners == clockwise[turns:] + clockwise[:turns]


def test_x264_works_wherever_there_is_no_card() -> None:
    assert works(X264)
    assert not works(replace(NVENC, name="no such encoder"))
    assert works(choose())
