"""SDP: offers as browsers, FFmpeg and OBS write them, and the answers they get."""

from __future__ import annotations

import random

import aiortc.sdp
import pytest

from mediaserver.errors import ProtocolError
from mediaserver.protocol import sdp
from mediaserver.protocol.sdp import MID_EXTENSION as MID
from mediaserver.protocol.sdp import RID_EXTENSION as RID
from mediaserver.protocol.sdp import AnswerMedia, Candidate, Codec, Offer, OfferMedia

FINGERPRINT = ":".join(f"{byte:02X}" for byte in range(32))
OTHER_FINGERPRINT = ":".join(f"{byte:02X}" for byte in range(100, 132))
FEEDBACK = frozenset(("nack", "nack pli", "ccm fir", "goog-remb"))


def video_codec(payload_type: int, name: str, fmtp: str, rtx: int) -> str:
    """A video payload type and its rtx as Chromium writes them."""
    kinds = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")
    feedback = "".join(f"a=rtcp-fb:{payload_type} {kind}\n" for kind in kinds)
    parameters = f"a=fmtp:{payload_type} {fmtp}\n" if fmtp else ""
    return (
        f"a=rtpmap:{payload_type} {name}/90000\n{feedback}{parameters}"
        f"a=rtpmap:{rtx} rtx/90000\na=fmtp:{rtx} apt={payload_type}\n"
    )


def h264(payload_type: int, mode: int, profile: str, rtx: int) -> str:
    fmtp = f"level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile}"
    return video_codec(payload_type, "H264", fmtp, rtx)


CHROMIUM_TRANSPORT = f"""\
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1535003707 1 udp 2113937151 1609e63e-19dc-4c6c-bbb0-e2dfbc52da35.local 33460 typ host \
generation 0 network-cost 999
a=candidate:3422211 1 tcp 1518280447 192.168.1.7 9 typ host tcptype active generation 0
a=ice-ufrag:3VBk
a=ice-pwd:t+pFKnhzlU2JTnd7crutJ/cs
a=ice-options:trickle
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
"""
CHROMIUM_AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\n"
    + CHROMIUM_TRANSPORT
    + f"""\
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:4 {MID}
DIRECTION
a=rtcp-mux
a=rtcp-rsize
a=rtcp-xr:rcvr-rtt=all
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
"""
)
CHROMIUM_VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 107 108 109 114 115 116 117 39 40 45 46 118 49\n"
    + CHROMIUM_TRANSPORT
    + f"""\
a=mid:1
a=extmap:14 urn:ietf:params:rtp-hdrext:toffset
a=extmap:4 {MID}
a=extmap:10 {RID}
DIRECTION
a=rtcp-mux
a=rtcp-rsize
"""
    + video_codec(96, "VP8", "", 97)
    + h264(102, 1, "42001f", 103)
    + h264(104, 0, "42001f", 107)
    + h264(108, 1, "42e01f", 109)
    + h264(114, 0, "42e01f", 115)
    + h264(116, 1, "4d001f", 117)
    + h264(39, 0, "4d001f", 40)
    + video_codec(45, "AV1", "level-idx=5;profile=0;tier=0", 46)
    + "a=rtpmap:118 red/90000\na=rtpmap:49 flexfec-03/90000\na=fmtp:49 repair-window=10000000\n"
)
CHROMIUM_DATA = (
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\n"
    + CHROMIUM_TRANSPORT
    + "a=mid:2\na=sctp-port:5000\na=max-message-size:262144\n"
)
WHEP = (
    "v=0\no=- 4596207610390343024 2 IN IP4 127.0.0.1\ns=-\nt=0 0\n"
    "a=group:BUNDLE 0 1 2\na=extmap-allow-mixed\na=msid-semantic: WMS\n"
    + CHROMIUM_AUDIO
    + CHROMIUM_VIDEO
    + CHROMIUM_DATA
).replace("DIRECTION", "a=recvonly")
WHIP = (
    "v=0\no=- 2935701641731288904 2 IN IP4 127.0.0.1\ns=-\nt=0 0\n"
    "a=group:BUNDLE 0 1\na=extmap-allow-mixed\na=msid-semantic: WMS 821f04a7\n"
    + CHROMIUM_AUDIO
    + "a=ssrc:1880529028 cname:giCwWws6+J03SujW\na=ssrc:1880529028 msid:821f04a7 7cac2d37\n"
    + CHROMIUM_VIDEO
    + """\
a=ssrc-group:FID 3001 3002
a=ssrc:3001 cname:giCwWws6+J03SujW
a=ssrc:3001 msid:821f04a7 7ce339ce
a=ssrc:3002 cname:giCwWws6+J03SujW
a=ssrc:3002 msid:821f04a7 7ce339ce
"""
).replace("DIRECTION", "a=sendonly")
FFMPEG = f"""\
v=0
o=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1
s=FFmpegPublishSession
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:16c4e28b
a=ice-pwd:89f0d42f7c1e2b3a4d5c6e7f8a9b0c1d
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:passive
a=mid:0
a=sendonly
a=msid:FFmpeg audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=ssrc:1733425132 cname:FFmpeg
a=ssrc:1733425132 msid:FFmpeg audio
m=video 9 UDP/TLS/RTP/SAVPF 106 105
c=IN IP4 0.0.0.0
a=ice-ufrag:16c4e28b
a=ice-pwd:89f0d42f7c1e2b3a4d5c6e7f8a9b0c1d
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:passive
a=mid:1
a=sendonly
a=msid:FFmpeg video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42c01f
a=rtcp-fb:106 nack
a=rtpmap:105 rtx/90000
a=fmtp:105 apt=106
a=ssrc-group:FID 2501343220 4201
a=ssrc:2501343220 cname:FFmpeg
a=ssrc:2501343220 msid:FFmpeg video
"""
OBS = f"""\
v=0
o=rtc 1722468151 0 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=group:LS 0 1
a=msid-semantic:WMS *
a=setup:actpass
a=ice-ufrag:BFZB
a=ice-pwd:mrU6rZkWlBnvLcwmJlEkQL
a=ice-options:ice2,trickle
a=fingerprint:sha-256 {FINGERPRINT.lower()}
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a=sendonly
a=ssrc:3405691582 cname:a8Hvg2x1bBe0pQc3
a=ssrc:3405691582 msid:KuAUvq 6I2kq
a=msid:KuAUvq 6I2kq
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a=sendonly
a=ssrc:3405691583 cname:a8Hvg2x1bBe0pQc3
a=ssrc:3405691583 msid:KuAUvq 92dWQ
a=msid:KuAUvq 92dWQ
a=rtcp-mux
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:96 goog-remb
a=fmtp:96 profile-level-id=42e01f; packetization-mode=1; level-asymmetry-allowed=1
a=end-of-candidates
"""
SSRCS = {"audio": 5000, "video": 4000}
OFFERS = {"WHEP": WHEP, "WHIP": WHIP, "FFmpeg": FFMPEG, "OBS": OBS}


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def media_of(offer: Offer, kind: str) -> OfferMedia:
    return next(media for media in offer.medias if media.kind == kind)


def answer_to(offer: Offer, medias: list[AnswerMedia | None], setup: sdp.Setup = "passive") -> str:
    return sdp.write_answer(
        offer,
        medias,
        session_id=77,
        ice_ufrag="w0abcdefgh",
        ice_pwd="0123456789abcdef01234567",
        fingerprint=OTHER_FINGERPRINT,
        setup=setup,
        candidates=[
            Candidate("203.0.113.5", 8189, 2130706431),
            Candidate("203.0.113.5", 8189, 1671430143, "2", 1, "tcp", "host", "passive"),
        ],
        cname="hawker",
        stream_id="show",
    )


def accept_all(offer: Offer) -> list[AnswerMedia | None]:
    """What the server does with an offer: one codec each, feedback it knows, data channels."""
    answers: list[AnswerMedia | None] = []
    for media in offer.medias:
        chosen = sdp.choose_opus(media) if media.kind == "audio" else sdp.choose_h264(media)
        if media.is_data and media.usable:
            answers.append(AnswerMedia())
        elif chosen is None:
            answers.append(None)
        else:
            payloads = {chosen: sdp.with_feedback(media.payloads[chosen], FEEDBACK)}
            rtx = media.rtx.get(chosen)
            if rtx is not None:
                payloads[rtx] = media.payloads[rtx]
            sending = media.direction == "recvonly"
            answers.append(
                AnswerMedia(
                    direction="sendonly" if sending else "recvonly",
                    payloads=payloads,
                    ssrc=SSRCS[media.kind] if sending else None,
                    rtx_ssrc=4001 if sending and rtx is not None else None,
                    extmaps={uri: media.extmaps[uri] for uri in (MID, RID) if uri in media.extmaps},
                    rids=media.simulcast,
                )
            )
    return answers


@pytest.mark.parametrize("text", OFFERS.values(), ids=OFFERS)
def test_line_ends_and_types_do_not_matter(text: str) -> None:
    offer = sdp.parse(text)
    assert sdp.parse(crlf(text)) == offer
    assert sdp.parse(text.rstrip()) == offer
    assert sdp.parse(text.encode() + b"\r\n\r\n") == offer
    assert all(media.usable for media in offer.medias)


def test_a_browsers_whep_offer_is_read() -> None:
    offer = sdp.parse(crlf(WHEP))
    assert offer.bundle == ("0", "1", "2")
    assert offer.session_id == "4596207610390343024"
    assert not offer.ice_lite
    audio, video, data = offer.medias
    assert [media.kind for media in offer.medias] == ["audio", "video", "application"]
    assert (audio.mid, audio.direction, audio.setup) == ("0", "recvonly", "actpass")
    assert audio.payloads[111] == Codec(
        "opus", 48000, 2, {"minptime": "10", "useinbandfec": "1"}, frozenset({"transport-cc"})
    )
    assert audio.payloads[63].fmtp == {"111/111": ""}
    assert audio.payloads[0] == Codec("PCMU", 8000)  # has no rtpmap: RFC 3551
    assert list(audio.payloads) == [111, 63, 9, 0, 8, 13, 110, 126]
    assert video.payloads[108].fmtp["profile-level-id"] == "42e01f"
    assert video.payloads[108].rtcp_fb == FEEDBACK | {"transport-cc"}
    assert video.rtx[108] == 109
    assert video.rtx[45] == 46
    assert video.extmaps == {"urn:ietf:params:rtp-hdrext:toffset": 14, MID: 4, RID: 10}
    assert (video.ice_ufrag, video.ice_pwd) == ("3VBk", "t+pFKnhzlU2JTnd7crutJ/cs")
    assert video.fingerprints == (("sha-256", FINGERPRINT),)
    assert (video.rtcp_mux, video.rtcp_rsize) == (True, True)
    assert data.is_data
    assert not video.is_data
    assert (data.sctp_port, data.max_message_size) == (5000, 262144)


def test_candidates_with_names_and_tcp_are_read() -> None:
    candidates = sdp.parse(WHEP).medias[0].candidates
    assert candidates == (
        Candidate("1609e63e-19dc-4c6c-bbb0-e2dfbc52da35.local", 33460, 2113937151, "1535003707"),
        Candidate("192.168.1.7", 9, 1518280447, "3422211", 1, "tcp", "host", "active"),
    )


def test_a_browsers_whip_offer_has_sources() -> None:
    audio, video = sdp.parse(WHIP).medias
    assert audio.direction == "sendonly"
    assert audio.ssrcs == (1880529028,)
    assert video.ssrcs == (3001, 3002)
    assert video.rtx_ssrcs == {3001: 3002}
    assert video.cname == "giCwWws6+J03SujW"
    assert video.rids == ()


def test_simulcast_layers_are_read_in_order() -> None:
    layers = "a=rid:h send\na=rid:m send\na=rid:l send pt=102\na=simulcast:send h;~m,x;l\n"
    video = sdp.parse(WHIP + layers).medias[1]
    assert video.rids == (("h", "send"), ("m", "send"), ("l", "send"))
    assert video.simulcast == ("h", "m", "l")
    both = sdp.parse(WHIP + "a=simulcast:recv x send h;l\n").medias[1]
    assert both.simulcast == ("h", "l")


def test_ffmpegs_offer_is_passive_and_has_no_candidates() -> None:
    offer = sdp.parse(crlf(FFMPEG))
    audio, video = offer.medias
    assert (audio.setup, audio.candidates) == ("passive", ())
    assert sdp.setup_for(audio.setup) == "active"
    assert audio.payloads == {111: Codec("opus", 48000, 2)}
    assert (sdp.choose_h264(video), sdp.choose_opus(audio)) == (106, 111)
    assert video.rtx == {106: 105}
    assert video.rtx_ssrcs == {2501343220: 4201}


def test_obs_writes_the_transport_at_session_level_and_blanks_in_fmtp() -> None:
    audio, video = sdp.parse(crlf(OBS)).medias
    for media in (audio, video):
        assert (media.ice_ufrag, media.ice_pwd) == ("BFZB", "mrU6rZkWlBnvLcwmJlEkQL")
        assert media.fingerprints == (("sha-256", FINGERPRINT),)
        assert media.setup == "actpass"
        assert media.bundled
    assert audio.payloads[111].fmtp["stereo"] == "1"
    assert video.payloads[96].fmtp == {
        "profile-level-id": "42e01f",
        "packetization-mode": "1",
        "level-asymmetry-allowed": "1",
    }
    assert video.end_of_candidates
    assert not audio.end_of_candidates


def test_the_first_bundled_section_gives_the_others_its_transport() -> None:
    video = CHROMIUM_VIDEO.replace(CHROMIUM_TRANSPORT, "c=IN IP4 0.0.0.0\na=bundle-only\n")
    text = WHEP[: WHEP.index("m=video")] + video.replace("m=video 9", "m=video 0")
    offer = sdp.parse(text.replace("DIRECTION", "a=recvonly"))
    assert offer.medias[1].port == 0
    assert offer.medias[1].ice_ufrag == "3VBk"
    assert offer.medias[1].fingerprints == (("sha-256", FINGERPRINT),)
    assert offer.medias[1].setup == "actpass"
    assert offer.medias[1].usable


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        (WHEP.replace("m=audio 9", "m=audio 0"), [False, True, True]),  # stopped
        (WHEP.replace("BUNDLE 0 1 2", "BUNDLE 0 2"), [True, False, True]),
        (WHEP.replace("a=group:BUNDLE 0 1 2\n", ""), [True, False, False]),
        (WHEP.replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE"), [True, False, False]),
        (WHEP.replace("a=rtcp-mux\n", ""), [False, False, True]),
        (WHEP.replace("video 9 UDP/TLS/RTP/SAVPF", "video 9 RTP/AVP"), [True, False, True]),
        (WHEP.replace("a=ice-ufrag:3VBk\n", ""), [False, False, False]),
        (WHEP.replace(f"a=fingerprint:sha-256 {FINGERPRINT}\n", ""), [False, False, False]),
        (WHEP.replace("webrtc-datachannel", "other").replace("a=sctp", "a=x"), [True, True, False]),
    ],
)
def test_what_can_only_be_rejected_is_not_usable(text: str, usable: list[bool]) -> None:
    assert text != WHEP
    offer = sdp.parse(text)
    assert [media.usable for media in offer.medias] == usable
    for media in offer.medias:
        if not media.usable:
            assert sdp.choose_h264(media) is None
            assert sdp.choose_opus(media) is None


@pytest.mark.parametrize(
    ("profile", "chosen"),
    [
        ("", 102),
        ("nonsense", 102),
        ("42001f", 102),
        ("42c01f", 108),
        ("42e028", 108),
        ("4d4028", 116),
        ("640028", 116),
        ("f4001f", 116),
    ],
)
def test_the_profile_orders_what_mode_1_offers(profile: str, chosen: int) -> None:
    assert sdp.choose_h264(sdp.parse(WHEP).medias[1], profile) == chosen


def test_mode_0_is_taken_when_there_is_nothing_else() -> None:
    video = sdp.parse(WHEP.replace("packetization-mode=1", "packetization-mode=2")).medias[1]
    assert sdp.choose_h264(video, "42e01f") == 114
    bare = WHEP.replace("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id", "x")
    assert sdp.choose_h264(sdp.parse(bare).medias[1]) == 102
    assert sdp.choose_h264(sdp.parse(WHEP.replace("H264", "H265")).medias[1]) is None
    assert sdp.choose_opus(sdp.parse(WHEP.replace("opus", "L16")).medias[0]) is None


def test_payload_types_that_look_like_rtcp_are_not_chosen() -> None:
    video = sdp.parse(FFMPEG.replace("106", "72")).medias[1]
    assert video.payloads[72].name == "H264"
    assert sdp.choose_h264(video) is None


@pytest.mark.parametrize(
    ("offered", "ours"),
    [("actpass", "passive"), ("active", "passive"), ("passive", "active"), ("", "passive")],
)
def test_our_role_follows_from_theirs(offered: str, ours: str) -> None:
    assert sdp.setup_for(offered) == ours


@pytest.mark.parametrize("offered", ["holdconn", "server", "ACTIVE "])
def test_a_role_that_makes_no_connection_is_the_peers_error(offered: str) -> None:
    with pytest.raises(ProtocolError):
        sdp.setup_for(offered)


@pytest.mark.parametrize("text", OFFERS.values(), ids=OFFERS)
def test_every_offer_gets_an_answer_that_reads_back(text: str) -> None:
    offer = sdp.parse(text)
    answers = accept_all(offer)
    written = answer_to(offer, answers)
    assert written.endswith("\r\n")
    assert "\n" not in written.replace("\r\n", "")
    answer = sdp.parse(written)
    assert answer.ice_lite
    assert answer.bundle == offer.bundle
    assert [media.kind for media in answer.medias] == [media.kind for media in offer.medias]
    for media, wanted, offered in zip(answer.medias, answers, offer.medias, strict=True):
        assert wanted is not None
        assert media.usable
        assert (media.mid, media.protocol) == (offered.mid, offered.protocol)
        assert (media.ice_ufrag, media.setup) == ("w0abcdefgh", "passive")
        assert media.ice_pwd == "0123456789abcdef01234567"
        assert media.fingerprints == (("sha-256", OTHER_FINGERPRINT),)
        assert media.payloads == wanted.payloads
        assert media.extmaps == wanted.extmaps
        if not media.is_data:
            assert media.direction == wanted.direction
            assert media.rtcp_rsize == offered.rtcp_rsize
    first, *others = answer.medias
    assert [(candidate.address, candidate.port) for candidate in first.candidates] == [
        ("203.0.113.5", 8189)
    ] * 2
    assert first.candidates[1].tcp_type == "passive"
    assert first.end_of_candidates
    assert not any(media.candidates or media.end_of_candidates for media in others)


def test_a_whep_answer_sends_one_stream_of_two_tracks() -> None:
    offer = sdp.parse(WHEP)
    written = answer_to(offer, accept_all(offer))
    audio, video, data = sdp.parse(written).medias
    assert list(video.payloads) == [102, 103]
    assert video.payloads[102].rtcp_fb == FEEDBACK
    assert video.payloads[102].fmtp == offer.medias[1].payloads[102].fmtp
    assert video.rtx == {102: 103}
    assert video.rtx_ssrcs == {4000: 4001}
    assert (audio.cname, video.cname) == ("hawker", "hawker")
    assert written.count("a=msid:show ") == 2
    assert data.sctp_port == 5000
    assert data.max_message_size == sdp.DEFAULT_MAX_MESSAGE_BYTES
    lines = written.split("\r\n")
    assert "a=group:BUNDLE 0 1 2" in lines
    assert "m=application 9 UDP/DTLS/SCTP webrtc-datachannel" in lines
    assert "a=ssrc:4000 msid:show video" in lines
    # The session part ends before the first m-line, and says that we are ICE-lite.
    assert lines.index("a=ice-lite") < lines.index("m=audio 9 UDP/TLS/RTP/SAVPF 111")


def test_a_whip_answer_keeps_the_publishers_fmtp_and_has_no_sources() -> None:
    offer = sdp.parse(OBS)
    written = answer_to(offer, accept_all(offer), "active")
    audio, video = sdp.parse(written).medias
    assert audio.payloads[111].fmtp == offer.medias[0].payloads[111].fmtp
    assert "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1" in (
        written
    )
    assert (video.setup, video.direction, video.ssrcs) == ("active", "recvonly", ())
    assert "a=ssrc" not in written
    assert "a=msid:" not in written


def test_who_receives_opus_wants_stereo_and_what_was_offered_of_fec() -> None:
    browser, obs = (sdp.parse(text).medias[0].payloads[111] for text in (WHIP, OBS))
    assert sdp.receiving_opus(browser).fmtp == {
        "minptime": "10",
        "useinbandfec": "1",
        "stereo": "1",
    }
    assert obs.fmtp["sprop-stereo"] == "1"
    assert "sprop-stereo" not in sdp.receiving_opus(obs).fmtp
    assert sdp.receiving_opus(obs).fmtp["stereo"] == "1"
    assert sdp.receiving_opus(sdp.Codec("opus", 48_000, 2)).fmtp == {"stereo": "1"}


def test_settings_are_added_to_those_offered() -> None:
    codec = sdp.Codec("H264", 90_000, fmtp={"packetization-mode": "1", "x": "1"})
    changed = sdp.with_settings(codec, {"x": "2", "y": "3"})
    assert changed.fmtp == {"packetization-mode": "1", "x": "2", "y": "3"}
    assert codec.fmtp["x"] == "1"


def test_simulcast_is_answered_with_the_same_rids() -> None:
    layers = "a=rid:h send\na=rid:l send\na=simulcast:send h;l\n"
    offer = sdp.parse(WHIP + layers)
    written = answer_to(offer, accept_all(offer))
    assert "a=rid:h recv\r\na=rid:l recv\r\na=simulcast:recv h;l\r\n" in written
    video = sdp.parse(written).medias[1]
    assert video.rids == (("h", "recv"), ("l", "recv"))
    assert video.extmaps[RID] == offer.medias[1].extmaps[RID]


def test_what_has_no_common_codec_gets_port_0_and_the_rest_goes_on() -> None:
    offer = sdp.parse(WHEP.replace("opus", "L16"))
    answers = accept_all(offer)
    assert answers[0] is None
    written = answer_to(offer, answers)
    answer = sdp.parse(written)
    audio, video, data = answer.medias
    assert (audio.port, audio.direction, audio.formats) == (0, "inactive", offer.medias[0].formats)
    assert (audio.usable, video.usable, data.usable) == (False, True, True)
    assert answer.bundle == ("1", "2")
    assert video.candidates
    assert video.end_of_candidates


def test_nothing_at_all_in_common_is_still_an_answer() -> None:
    offer = sdp.parse(WHEP)
    answer = sdp.parse(answer_to(offer, [None, None, None]))
    assert [media.port for media in answer.medias] == [0, 0, 0]
    assert answer.bundle == ()
    assert not any(media.usable for media in answer.medias)


def test_foreign_sections_are_answered_in_their_own_words() -> None:
    foreign = "m=image 9 udptl t38\na=mid:9\nm=application 9 TCP/BFCP *\n"
    offer = sdp.parse(WHEP + foreign)
    assert [media.usable for media in offer.medias] == [True] * 3 + [False] * 2
    written = answer_to(offer, accept_all(offer))
    assert "m=image 0 udptl t38\r\n" in written
    assert "m=application 0 TCP/BFCP *\r\n" in written


def test_options_of_ice_and_rtcp_are_answered_where_they_were_offered() -> None:
    plain = sdp.parse(WHEP)
    assert "rtcp-mux-only" not in answer_to(plain, accept_all(plain))
    wants = WHEP.replace("a=rtcp-mux\n", "a=rtcp-mux\na=rtcp-mux-only\n")
    wants = wants.replace("a=ice-options:trickle\n", "")
    wants = wants.replace("t=0 0\n", "t=0 0\na=ice-options:trickle ice2 renomination\n")
    offer = sdp.parse(wants)
    written = answer_to(offer, accept_all(offer))
    assert written.count("a=rtcp-mux-only\r\n") == 2
    assert "a=ice-options:ice2 trickle\r\n" in written


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sha-256", "sha-1"),
        ("a=ice-pwd:", "a=ice-pwd:short\na=x-pwd:"),
        ("a=ice-ufrag:", "a=ice-ufrag:abc\na=x-ufrag:"),
    ],
)
def test_what_could_never_connect_is_not_usable(old: str, new: str) -> None:
    offer = sdp.parse(WHEP.replace(old, new))
    assert not any(media.usable for media in offer.medias)


def test_simulcast_in_the_words_of_a_draft_keeps_its_first_layer() -> None:
    lines = "a=rid:h send\na=rid:m send\na=simulcast:send rid=h;m\n"
    video = sdp.parse(WHEP + lines).medias[-1]
    assert video.simulcast == ("h", "m")


def test_an_offer_without_mids_is_answered_without() -> None:
    offer = sdp.parse(OBS.replace("a=mid:0\n", "").replace("a=group:BUNDLE 0 1\n", ""))
    assert [media.usable for media in offer.medias] == [True, False]
    written = answer_to(offer, accept_all(offer))
    assert "a=group" not in written
    assert written.count("a=mid:") == 1


def test_an_answer_is_one_decision_per_section() -> None:
    with pytest.raises(ValueError, match="shorter"):
        answer_to(sdp.parse(WHEP), [None])


def test_aiortc_reads_our_answer() -> None:
    offer = sdp.parse(WHEP)
    theirs = aiortc.sdp.SessionDescription.parse(answer_to(offer, accept_all(offer)))
    audio, video, data = theirs.media
    assert video.dtls is not None
    assert audio.ice is not None
    assert [group.items for group in theirs.group] == [["0", "1", "2"]]
    assert (video.direction, video.rtp.muxId, video.dtls.role) == ("sendonly", "1", "server")
    assert [codec.payloadType for codec in video.rtp.codecs] == [102, 103]
    assert [source.ssrc for source in video.ssrc] == [4000, 4001]
    assert video.msid == "show video"
    assert audio.ice.iceLite
    assert audio.ice_candidates[0].ip == "203.0.113.5"
    assert audio.ice_candidates_complete
    assert data.sctp_port == 5000


def test_the_old_way_to_offer_data_channels_is_understood() -> None:
    old = "m=application 9 DTLS/SCTP 5000\n" + CHROMIUM_TRANSPORT
    old += "a=mid:2\na=sctpmap:5000 webrtc-datachannel 1024\n"
    [*_, data] = sdp.parse(WHEP.replace(CHROMIUM_DATA, old)).medias
    assert data.usable
    assert data.is_data
    assert (data.sctp_port, data.max_message_size) == (5000, sdp.DEFAULT_MAX_MESSAGE_BYTES)


def test_strange_lines_change_nothing() -> None:
    offer = sdp.parse(OBS)
    strange = OBS + "\n".join(
        [
            "nonsense",
            "=",
            "a=",
            "a=:",
            "b=AS:5000",
            "z=1 2",
            "a=fmtp:97 apt=96",  # a payload type without rtpmap
            "a=fmtp:nonsense apt=96",
            "a=fmtp:96",
            "a=rtpmap:96",
            "a=rtpmap:",
            "a=rtpmap:97 ",
            "a=rtcp-fb:",
            "a=ssrc:",
            "a=ssrc:-1 cname:x",
            "a=ssrc:99999999999 cname:x",
            "a=ssrc-group:FID",
            "a=ssrc-group:FID 1",
            "a=extmap:x y",
            "a=extmap:3",
            "a=extmap:0 urn:x",
            "a=candidate:",
            "a=candidate:1 1 udp x 1.2.3.4 5 typ host",
            "a=candidate:1 1 udp 1 1.2.3.4 99999 typ host",
            "a=candidate:1 1 udp 1 1.2.3.4 5 kind host",
            "a=rid:",
            "a=rid:h sideways",
            "a=simulcast:",
            "a=simulcast:send",
            "a=group:",
            "a=unknown:thing",
        ]
    )
    assert sdp.parse(strange) == offer


def test_feedback_for_all_payload_types_counts_for_each() -> None:
    video = sdp.parse(FFMPEG.replace("a=rtcp-fb:106 nack", "a=rtcp-fb:*  nack   pli ")).medias[1]
    assert video.payloads[106].rtcp_fb == {"nack pli"}


def test_the_session_gives_defaults_and_the_section_its_own() -> None:
    text = OBS.replace("a=setup:actpass", "a=setup:actpass\na=recvonly\na=extmap:7 urn:s")
    text = text.replace("a=sendonly\na=ssrc:3405691583", "a=extmap:3/sendonly urn:s\na=ssrc:1")
    audio, video = sdp.parse(text).medias
    assert (audio.direction, video.direction) == ("sendonly", "recvonly")
    assert (audio.extmaps, video.extmaps) == ({"urn:s": 7}, {"urn:s": 3})
    assert sdp.parse(OBS.replace("a=sendonly\n", "")).medias[0].direction == "sendrecv"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "<html></html>",
        "v=1\n" + OBS[4:],
        OBS[4:],
        "v=0\ns=-\n",
        WHEP + "x" * sdp.MAX_SDP_BYTES,
        WHEP + "\n" * sdp.MAX_LINES,
        WHEP + "m=audio 9 UDP/TLS/RTP/SAVPF 0\n" * 14,
        WHEP + "a=candidate:1 1 udp 1 10.0.0.1 5 typ host\n" * 65,
        WHEP + "".join(f"a=ssrc:{number} cname:x\n" for number in range(65)),
        WHEP + "".join(f"a=extmap:1 urn:{number}\n" for number in range(65)),
        WHEP + "".join(f"a=rid:r{number} send\n" for number in range(17)),
        WHEP + f"a=fingerprint:sha-256 {FINGERPRINT}\n" * 17,
        WHEP + "m=audio 9 UDP/TLS/RTP/SAVPF\n",
        WHEP + "m=audio\n",
        WHEP + "m=audio nine UDP/TLS/RTP/SAVPF 0\n",
        WHEP + "m=audio 70000 UDP/TLS/RTP/SAVPF 0\n",
        WHEP + "m=audio 9 UDP/TLS/RTP/SAVPF 128\n",
        WHEP + "m=audio 9 UDP/TLS/RTP/SAVPF x\n",
        WHEP + "m=audio 9 UDP/TLS/RTP/SAVPF" + " 0" * 129 + "\n",
        WHEP.replace("a=mid:1", "a=mid:0"),
        WHEP.replace("a=mid:1", "a=mid:"),
        WHEP.replace("a=mid:1", "a=mid:a b"),
        WHEP.replace(FINGERPRINT, "AA:BB"),
        WHEP.replace(FINGERPRINT, "AA:" * 31 + "XX"),
        WHEP.replace("3VBk", "x" * 257),
        WHEP.replace("t+pFKnhzlU2JTnd7crutJ/cs", "x" * 257),
        WHEP.replace("a=mid:1", "a=mid:1\0"),
        b"v=0\n\xff\xfe",
    ],
)
def test_what_is_broken_or_too_much_is_the_peers_error(text: str | bytes) -> None:
    with pytest.raises(ProtocolError):
        sdp.parse(text)


def test_digits_of_other_scripts_and_signs_are_no_numbers() -> None:
    for number in ("٩", "²", "+9", "9_0", "-9", "9" * 5000):
        with pytest.raises(ProtocolError):
            sdp.parse(OBS.replace("m=audio 9", f"m=audio {number}"))


def mutated(text: str, chance: random.Random) -> str:
    """The text with some lines dropped, doubled, swapped, cut or with characters changed."""
    lines = text.split("\n")
    for _ in range(chance.randint(1, 4)):
        index = chance.randrange(len(lines))
        line = lines[index]
        match chance.randrange(6):
            case 0:
                lines[index] = ""
            case 1:
                lines.insert(chance.randrange(len(lines)), line)
            case 2:
                lines[index] = line[: chance.randrange(len(line) + 1)]
            case 3:
                name, colon, value = line.partition(":")
                words = value.split(" ")
                chance.shuffle(words)
                lines[index] = name + colon + " ".join(words)
            case 4:
                at = chance.randrange(len(line) + 1)
                lines[index] = line[:at] + chance.choice(" :;=/,~-*9a\t\0é²") + line[at + 1 :]
            case _:
                lines[index] = line.replace(chance.choice("0123456789"), "99999999999")
    return "\n".join(lines)


def test_mutated_offers_raise_nothing_but_protocol_errors_and_their_answers_read_back() -> None:
    chance = random.Random(8866)
    short = WHEP[: WHEP.index("m=video")]
    texts = [FFMPEG, OBS, short + CHROMIUM_DATA]
    answered = 0
    for round_number in range(10_000):
        text = mutated(chance.choice(texts), chance)
        try:
            offer = sdp.parse(text)
        except ProtocolError:
            continue
        if round_number % 5 == 0:
            sdp.parse(answer_to(offer, accept_all(offer)))
            answered += 1
    assert answered > 1000
