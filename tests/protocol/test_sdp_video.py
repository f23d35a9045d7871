"""SDP: which video payload types are taken of offers as browsers and OBS write them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mediaserver.media import Codec, Track
from mediaserver.protocol import sdp
from mediaserver.protocol.sdp import OfferMedia
from tests.protocol import encoded

CODECS: tuple[Codec, ...] = ("h264", "h265", "vp8", "vp9", "av1")
FINGERPRINT = ":".join(f"{byte:02X}" for byte in range(32))
HEAD = f"""\
v=0
o=- 4596207610390343024 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=ice-ufrag:3VBk
a=ice-pwd:t+pFKnhzlU2JTnd7crutJ/cs
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
"""
H264 = "level-asymmetry-allowed=1;packetization-mode={};profile-level-id={}"
# What Chromium offers, in its order.
CHROMIUM = [
    ("VP8", ""),
    ("H264", H264.format(1, "42001f")),
    ("H264", H264.format(0, "42001f")),
    ("H264", H264.format(1, "42e01f")),
    ("H264", H264.format(1, "4d001f")),
    ("AV1", "level-idx=5;profile=0;tier=0"),
    ("AV1", "level-idx=5;profile=1;tier=0"),
    ("VP9", "profile-id=0"),
    ("VP9", "profile-id=2"),
    ("H265", "level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST"),
    ("H265", "level-id=180;profile-id=2;tier-flag=0;tx-mode=SRST"),
    ("red", ""),
    ("ulpfec", ""),
]


def offer(codecs: list[tuple[str, str]], direction: str = "sendonly") -> OfferMedia:
    """One m-line with these codecs as payload types from 100 on, each with nack and rtx."""
    numbers = range(100, 100 + len(codecs))
    lines = [f"m=video 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, numbers))} 127", "a=mid:0"]
    lines += [f"a={direction}", "a=rtcp-mux", "a=rtpmap:127 rtx/90000", "a=fmtp:127 apt=100"]
    for number, (name, fmtp) in zip(numbers, codecs, strict=True):
        lines += [f"a=rtpmap:{number} {name}/90000", f"a=rtcp-fb:{number} nack"]
        lines += [f"a=fmtp:{number} {fmtp}"] if fmtp else []
    return sdp.parse(HEAD + "\n".join(lines) + "\n").medias[0]


def track(codec: Codec) -> Track:
    return encoded.packets(codec)[0].track


def changed(codec: Codec, at: int, value: int) -> Track:
    """The track with another byte in its configuration."""
    config = bytearray(track(codec).config)
    config[at] = value
    return replace(track(codec), config=bytes(config))


def test_everything_of_a_browsers_default_is_taken_h264_first_and_vp8_last() -> None:
    assert sdp.offered_video(offer(CHROMIUM)) == [
        (101, "h264"),
        (103, "h264"),
        (104, "h264"),
        (102, "h264"),
        (105, "av1"),
        (106, "av1"),
        (107, "vp9"),
        (108, "vp9"),
        (109, "h265"),
        (110, "h265"),
        (100, "vp8"),
    ]


def test_a_publishers_choice_stands() -> None:
    media = offer([("AV1", ""), ("VP8", ""), ("H265", ""), *CHROMIUM[1:4], ("VP9", "")])
    assert [codec for _, codec in sdp.offered_video(media)] == [
        *("av1", "h265", "h264", "h264", "vp9", "h264", "vp8")
    ]
    media = offer([("VP8", ""), ("H265", ""), ("VP9", ""), ("AV1", "")])
    assert [codec for _, codec in sdp.offered_video(media)] == ["h265", "vp9", "av1", "vp8"]
    assert sdp.offered_video(offer([("VP8", "")])) == [(100, "vp8")]
    assert sdp.offered_video(offer([("H264", "packetization-mode=2"), ("red", "")])) == []


def test_h265_out_of_decoding_order_or_in_several_streams_is_not_taken() -> None:
    for fmtp in ("sprop-max-don-diff=1", "sprop-depack-buf-nalus=2", "tx-mode=MRST"):
        assert sdp.offered_video(offer([("H265", fmtp)])) == []
    assert sdp.offered_video(offer([("H265", "sprop-max-don-diff=0;tx-mode=SRST")]))


def test_payload_types_that_look_like_rtcp_and_lines_that_are_not_usable_are_left_out() -> None:
    media = offer([("VP9", "")])
    assert sdp.offered_video(replace(media, payloads={72: media.payloads[100]})) == []
    assert sdp.offered_video(replace(media, rtcp_mux=False)) == []
    assert sdp.choose_video(replace(media, rtcp_mux=False), track("vp9")) is None


@pytest.mark.parametrize(
    ("codec", "chosen"),
    [("h264", 103), ("h265", 109), ("vp8", 100), ("vp9", 107), ("av1", 105)],
)
def test_a_viewer_gets_the_streams_codec(codec: Codec, chosen: int) -> None:
    assert sdp.choose_video(offer(CHROMIUM, "recvonly"), track(codec)) == chosen


@pytest.mark.parametrize("codec", CODECS)
def test_a_viewer_without_the_codec_gets_none(codec: Codec) -> None:
    names = {"h264": "H264", "h265": "H265", "vp8": "VP8", "vp9": "VP9", "av1": "AV1"}
    others = [each for each in CHROMIUM if each[0] != names[codec]]
    assert sdp.choose_video(offer(others), track(codec)) is None
    audio = Track("audio", "opus", 48_000, b"")
    assert sdp.choose_video(offer(CHROMIUM), audio) is None


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_without_parameters_is_its_main_profile(codec: Codec) -> None:
    names = {"h264": "H264", "h265": "h265", "vp8": "vp8", "vp9": "vp9", "av1": "av1"}
    assert sdp.choose_video(offer([(names[codec], "")]), track(codec)) == 100


def test_h264_mode_0_is_taken_when_there_is_nothing_else() -> None:
    modes = [("H264", H264.format(0, "42e01f")), ("H264", H264.format(1, "4d001f"))]
    assert sdp.choose_video(offer(modes), track("h264")) == 101
    assert sdp.choose_video(offer(modes[:1]), track("h264")) == 100
    assert sdp.offered_video(offer(modes)) == [(101, "h264"), (100, "h264")]


def test_vp9_profiles_do_not_contain_each_other() -> None:
    assert sdp.choose_video(offer(CHROMIUM), changed("vp9", 0, 2)) == 108
    assert sdp.choose_video(offer(CHROMIUM), changed("vp9", 0, 1)) is None


def test_av1_decoders_have_the_profiles_and_tiers_below_their_own() -> None:
    high = [("AV1", "profile=1;tier=1"), ("AV1", "profile=1"), ("AV1", "profile=0;tier=1")]
    assert sdp.choose_video(offer(high), track("av1")) == 102
    assert sdp.choose_video(offer(high[:2]), track("av1")) == 101
    assert sdp.choose_video(offer([("AV1", "profile=0;level-idx=0")]), track("av1")) == 100
    assert sdp.choose_video(offer([("AV1", "profile=0")]), changed("av1", 1, 1 << 5)) is None
    assert sdp.choose_video(offer(high), changed("av1", 2, 0x8C)) == 102


def test_h265_main_10_has_main_and_the_high_tier_the_main_tier() -> None:
    ten, main = ("H265", "profile-id=2"), ("H265", "profile-id=1")
    assert sdp.choose_video(offer([ten, main]), track("h265")) == 101
    assert sdp.choose_video(offer([ten]), track("h265")) == 100
    assert sdp.choose_video(offer([main]), changed("h265", 1, 2)) is None
    assert sdp.choose_video(offer([main]), changed("h265", 1, 0x21)) is None
    high = ("H265", "profile-id=1;tier-flag=1")
    assert sdp.choose_video(offer([main, high]), changed("h265", 1, 0x21)) == 101
    assert sdp.choose_video(offer([("H265", "tx-mode=MRST")]), track("h265")) is None


def test_parameters_that_are_no_numbers_are_taken_as_absent() -> None:
    assert sdp.choose_video(offer([("VP9", "profile-id=two")]), track("vp9")) == 100
    assert sdp.choose_video(offer([("AV1", "profile=;tier=-1")]), track("av1")) == 100
