"""SDP: short offers as less usual publishers write them, and the answers they get."""

from __future__ import annotations

import pytest

from mediaserver.protocol import sdp
from mediaserver.protocol.sdp import AnswerMedia, Candidate

OURS = ":".join(f"{byte:02X}" for byte in range(32))
SHA_256 = ":".join(f"{byte:02X}" for byte in range(50, 82))
SHA_384 = ":".join(f"{byte:02x}" for byte in range(48))
SHA_512 = ":".join(f"{byte:02x}" for byte in range(64))

TRANSPORT = f"""\
a=ice-ufrag:Ufrg
a=ice-pwd:0123456789abcdefghijklmn
a=fingerprint:sha-256 {SHA_256}
a=setup:actpass
"""
AUDIO = """\
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a=sendonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
"""
VIDEO = """\
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a=sendonly
a=rtcp-mux
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=fmtp:96 packetization-mode=1;profile-level-id=42e01f
"""
SESSION = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0 1\n"

# Pion and GStreamer before their candidates are gathered: each section has its transport.
WITHOUT_CANDIDATES = SESSION + AUDIO + TRANSPORT + VIDEO + TRANSPORT
# A browser without a camera permission yet, or on a network that hides addresses.
NAMED_CANDIDATES = WITHOUT_CANDIDATES + (
    "a=candidate:1 1 udp 2122260223 6d7f0c3a-1f1e-4a0e-9a52-5d2f8e0b1c11.local 54321 typ host\n"
    "a=candidate:2 1 udp 2122194687 [fe80::1] 54322 typ host\n"
    "a=end-of-candidates\n"
)
# OBS 30 and later (libdatachannel): the transport stands at session level.
OBS = (
    SESSION.replace("a=group", "a=setup:actpass\na=group")
    + "a=ice-ufrag:Ufrg\na=ice-pwd:0123456789abcdefghijklmn\na=ice-options:ice2,trickle\n"
    + f"a=fingerprint:sha-256 {SHA_256}\n"
    + AUDIO
    + VIDEO
)
# Once negotiated, what all bundled sections share may stand in the first alone (RFC 8843 §7.1.3).
FIRST_ONLY = SESSION + AUDIO + TRANSPORT + VIDEO.replace("a=rtcp-mux\n", "")


def answered(text: str) -> tuple[sdp.Offer, str]:
    """The offer and what a server that takes all it can says to it."""
    offer = sdp.parse(text.replace("\n", "\r\n").encode())
    medias: list[AnswerMedia | None] = []
    for media in offer.medias:
        chosen = [number for number, _ in sdp.offered_video(media)[:1]]
        if media.kind == "audio":
            opus = sdp.choose_opus(media)
            chosen = [] if opus is None else [opus]
        payloads = {number: media.payloads[number] for number in chosen}
        medias.append(AnswerMedia("recvonly", payloads) if payloads else None)
    first = next((media for media in offer.medias if media.usable), offer.medias[0])
    answer = sdp.write_answer(
        offer,
        medias,
        session_id=7,
        ice_ufrag="ours",
        ice_pwd="ours-ours-ours-ours-ours",
        fingerprint=OURS,
        setup=sdp.setup_for(first.setup),
        candidates=[Candidate("203.0.113.5", 8189, 2130706431)],
    )
    return offer, answer


def section(answer: str, kind: str) -> str:
    start = answer.index(f"m={kind}")
    end = answer.find("m=", start + 1)
    return answer[start:] if end < 0 else answer[start:end]


@pytest.mark.parametrize("text", [WITHOUT_CANDIDATES, NAMED_CANDIDATES, OBS, FIRST_ONLY])
def test_both_tracks_are_taken_on_one_transport(text: str) -> None:
    offer, answer = answered(text)
    assert all(media.usable for media in offer.medias)
    for media in offer.medias:
        assert (media.ice_ufrag, media.ice_pwd) == ("Ufrg", "0123456789abcdefghijklmn")
        assert media.fingerprints == (("sha-256", SHA_256),)
        assert media.setup == "actpass"
    assert "a=group:BUNDLE 0 1\r\n" in answer
    assert answer.count("a=candidate:") == 1
    for kind, payload_type in (("audio", 111), ("video", 96)):
        lines = section(answer, kind).split("\r\n")
        assert lines[0] == f"m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type}"
        for line in ("a=ice-ufrag:ours", "a=setup:passive", "a=rtcp-mux", "a=recvonly"):
            assert lines.count(line) == 1
        assert f"a=fingerprint:sha-256 {OURS}" in lines


def test_an_offer_without_candidates_has_none() -> None:
    offer, answer = answered(WITHOUT_CANDIDATES)
    assert [media.candidates for media in offer.medias] == [(), ()]
    assert "a=end-of-candidates" in section(answer, "audio")


def test_names_that_only_the_publishers_network_knows_are_kept_as_they_are() -> None:
    offer, _ = answered(NAMED_CANDIDATES)
    addresses = [candidate.address for candidate in offer.medias[1].candidates]
    assert addresses == ["6d7f0c3a-1f1e-4a0e-9a52-5d2f8e0b1c11.local", "[fe80::1]"]
    assert offer.medias[1].end_of_candidates


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (f"a=fingerprint:sha-384 {SHA_384}\n", [("sha-384", SHA_384)]),
        (f"a=fingerprint:SHA-512 {SHA_512.upper()}\n", [("sha-512", SHA_512)]),
        (
            f"a=fingerprint:sha-256 {SHA_256}\na=fingerprint:sha-384 {SHA_384}\n",
            [("sha-256", SHA_256), ("sha-384", SHA_384)],
        ),
    ],
)
def test_digests_of_any_length_are_read(lines: str, expected: list[tuple[str, str]]) -> None:
    text = OBS.replace(f"a=fingerprint:sha-256 {SHA_256}\n", lines)
    offer, answer = answered(text)
    wanted = tuple((name, digest.upper()) for name, digest in expected)
    assert [media.fingerprints for media in offer.medias] == [wanted, wanted]
    assert answer.count(f"a=fingerprint:sha-256 {OURS}") == 2  # ours is what it is


@pytest.mark.parametrize("line", ["a=rtcp-mux-only", "a=rtcp-mux\na=rtcp-mux-only"])
def test_who_can_only_multiplex_may_say_so_alone(line: str) -> None:
    offer, answer = answered(WITHOUT_CANDIDATES.replace("a=rtcp-mux", line))
    assert [media.rtcp_mux for media in offer.medias] == [True, True]
    assert answer.count("a=rtcp-mux\r\n") == 2


def test_without_rtcp_mux_a_track_is_refused_and_the_other_is_not() -> None:
    """RFC 5761 §5.1.1: an answer must not have it then, and a second port we don't have."""
    text = WITHOUT_CANDIDATES.replace(AUDIO, AUDIO.replace("a=rtcp-mux\n", ""))
    offer, answer = answered(text)
    assert [media.usable for media in offer.medias] == [False, True]
    assert section(answer, "audio").startswith("m=audio 0 ")
    assert section(answer, "video").startswith("m=video 9 ")
    assert "a=group:BUNDLE 1\r\n" in answer
    assert "a=candidate:" in section(answer, "video")


def test_the_sections_own_transport_goes_before_the_sessions() -> None:
    text = OBS.replace("a=mid:1\n", f"a=mid:1\na=ice-ufrag:own\na=fingerprint:sha-256 {OURS}\n")
    video = sdp.parse(text).medias[1]
    assert (video.ice_ufrag, video.ice_pwd) == ("own", "0123456789abcdefghijklmn")
    assert video.fingerprints == (("sha-256", OURS),)
