"""Fragments of ICE: the RFC's own, those of browsers and players, and what must not pass."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.errors import ProtocolError
from mediaserver.protocol.sdp import Candidate
from mediaserver.protocol.sdp_fragment import (
    MAX_CANDIDATES,
    MAX_FRAGMENT_BYTES,
    MAX_LINES,
    MAX_SECTIONS,
    MAX_TOKENS,
    Credentials,
    Fragment,
    Section,
    parse,
    serialize,
)

# The forms of the examples of RFC 9725 §4.3.2 and §4.3.3.
TRICKLE = b"""\
a=group:BUNDLE 0 1\r
m=audio 9 UDP/TLS/RTP/SAVPF 111\r
a=mid:0\r
a=ice-ufrag:EsAw\r
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r
a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r
a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0 ufrag EsAw\r
a=end-of-candidates\r
"""
RESTARTED = b"""\
a=ice-lite\r
a=ice-options:trickle ice2\r
a=group:BUNDLE 0 1\r
m=audio 9 UDP/TLS/RTP/SAVPF 111\r
a=mid:0\r
a=ice-ufrag:289b31b754eaa438\r
a=ice-pwd:0b66f472495ef0ccac7bda653ab6be49ea13114472a5d10a\r
a=candidate:1 1 udp 2130706431 198.51.100.1 39132 typ host\r
a=end-of-candidates\r
"""
# Credentials with the session, mDNS, an IPv6 address, a reflexive address, an empty last candidate.
BROWSER = b"""\
a=ice-ufrag:x+/9
a=ice-pwd:asd88fgpdd777uzjYhagZg
m=video 9 UDP/TLS/RTP/SAVPF 96
a=mid:0
a=candidate:7 1 udp 2113937151 5cf1ee1e-9b6a-4c6b-9a0b-bd4a3ef2c1ff.local 50533 typ host generation 0
a=candidate:8 1 UDP 2113939711 2001:db8::7 50534 typ host
a=candidate:842163049 1 udp 1677729535 203.0.113.9 50533 typ srflx raddr 0.0.0.0 rport 0
a=
"""
SAMPLES = (TRICKLE, RESTARTED, BROWSER)
HOST = "a=candidate:1 1 udp 2130706431 198.51.100.1 39132 typ host"
SECTION = "m=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:0\n"


def test_a_trickle_is_read() -> None:
    fragment = parse(TRICKLE)
    assert fragment.credentials == Credentials("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    assert fragment.bundle == ("0", "1")
    assert not fragment.ice_lite and not fragment.end_of_candidates
    (section,) = fragment.sections
    assert (section.media, section.mid) == ("audio 9 UDP/TLS/RTP/SAVPF 111", "0")
    assert section.end_of_candidates
    udp, tcp = fragment.candidates
    assert udp == Candidate("192.0.2.1", 61764, 2122260223, "1387637174")
    assert (tcp.protocol, tcp.port, tcp.tcp_type) == ("tcp", 9, "active")


def test_what_a_browser_sends_is_read() -> None:
    fragment = parse(BROWSER)
    assert fragment.credentials == Credentials("x+/9", "asd88fgpdd777uzjYhagZg")
    named, ipv6, reflexive = fragment.candidates
    assert named.address.endswith(".local")
    assert (ipv6.address, ipv6.protocol) == ("2001:db8::7", "udp")
    assert reflexive.type == "srflx"


def test_a_restart_is_written_as_the_rfc_writes_it() -> None:
    fragment = parse(RESTARTED)
    assert fragment.ice_lite and fragment.ice_options == ("trickle", "ice2")
    assert serialize(fragment) == RESTARTED


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_read_is_written_back(sample: bytes) -> None:
    assert parse(serialize(parse(sample))) == parse(sample)


@pytest.mark.parametrize("sample", SAMPLES)
def test_line_ends_may_be_either_and_the_last_may_be_missing(sample: bytes) -> None:
    bare = sample.replace(b"\r\n", b"\n")
    assert parse(bare) == parse(bare.replace(b"\n", b"\r\n")) == parse(bare.rstrip(b"\n"))


def test_credentials_may_stand_with_the_session_in_a_section_or_in_all_that_agree() -> None:
    pair = "a=ice-ufrag:abcd\na=ice-pwd:" + "p" * 22 + "\n"
    expected = Credentials("abcd", "p" * 22)
    for body in (pair, pair + SECTION, SECTION + pair, pair + SECTION + pair + SECTION + pair):
        assert parse(body.encode()).credentials == expected


def test_what_is_not_about_ice_is_ignored() -> None:
    body = "v=0\no=- 1 1 IN IP4 0.0.0.0\na=x-future:1 2\na=ice-pacing:50\nm=audio 9 RTP/AVP 0\n"
    body += "c=IN IP4 0.0.0.0\na=mid:0\na=rtcp-mux\na=sendonly\n" + HOST + " network-cost 10 odd\n"
    (candidate,) = parse(body.encode()).candidates
    assert candidate == Candidate("198.51.100.1", 39132, 2130706431)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n\r\n",
        b"hello",
        b"{}",
        b"A=ice-lite",
        b"a=ice-lite\0",
        b"a=ice-lite\ra=end-of-candidates\r",
        b"a=ice-ufrag:\xff\xff\xff\xff",
        b"a=ice-ufrag:abcd",
        b"a=ice-pwd:" + b"p" * 22,
        b"a=ice-ufrag:abc\na=ice-pwd:" + b"p" * 22,
        b"a=ice-ufrag:abcd\na=ice-pwd:" + b"p" * 21,
        b"a=ice-ufrag:" + b"u" * 257 + b"\na=ice-pwd:" + b"p" * 22,
        b"a=ice-ufrag:abcd\na=ice-pwd:" + b"p" * 257,
        b"a=ice-ufrag:ab:cd\na=ice-pwd:" + b"p" * 22,
        b"a=ice-ufrag:abcd\na=ice-ufrag:efgh\na=ice-pwd:" + b"p" * 22,
        b"a=ice-ufrag:abcd\na=ice-pwd:" + b"p" * 22 + b"\na=ice-pwd:" + b"q" * 22,
        b"m=audio 9 RTP/AVP",
        "m=audio 9 RTP/AVP é".encode(),
        b"m=audio 9 RTP/AVP 0\na=mid:",
        b"m=audio 9 RTP/AVP 0\na=mid:a b",
        b"a=group:BUNDLE " + b"0 " * (MAX_TOKENS + 1),
        b"a=ice-options:tri\"ckle",
        HOST.encode(),
        (SECTION * (MAX_SECTIONS + 1)).encode(),
        (SECTION + f"{HOST}\n" * (MAX_CANDIDATES + 1)).encode(),
        b"a=\n" * (MAX_LINES + 1),
        b"a=" + b"x" * MAX_FRAGMENT_BYTES,
    ],
)  # fmt: skip
def test_what_breaks_the_grammar_or_a_limit_is_malformed(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(body)


@pytest.mark.parametrize(
    "candidate",
    [
        "",
        "1 1 udp 2130706431 198.51.100.1 39132 typ",
        "1 1 udp 2130706431 198.51.100.1 39132 host typ",
        "1 0 udp 2130706431 198.51.100.1 39132 typ host",
        "1 257 udp 2130706431 198.51.100.1 39132 typ host",
        "1 1 udp 0 198.51.100.1 39132 typ host",
        "1 1 udp 4294967296 198.51.100.1 39132 typ host",
        "1 1 udp 2130706431 198.51.100.1 65536 typ host",
        "1 1 udp 2130706431 198.51.100.1 -1 typ host",
        "1 1 udp 2130706431 198.51.100.1 ٣ typ host",
        "1 1 udp 2130706431 <script> 39132 typ host",
        "1 1 u(p 2130706431 198.51.100.1 39132 typ host",
        "1 1 udp 2130706431 198.51.100.1 39132 typ ho(t",
        "1 1 tcp 2130706431 198.51.100.1 9 typ host tcptype ()",
        "x" * 33 + " 1 udp 2130706431 198.51.100.1 39132 typ host",
        "1 1 udp 2130706431 " + "h" * 254 + " 39132 typ host",
    ],
)
def test_a_candidate_that_is_none_is_malformed(candidate: str) -> None:
    with pytest.raises(ProtocolError):
        parse(f"{SECTION}a=candidate:{candidate}\n".encode())


def test_limits_may_be_reached() -> None:
    body = SECTION * MAX_SECTIONS + f"{HOST}\n" * MAX_CANDIDATES
    fragment = parse(body.encode())
    assert (len(fragment.sections), len(fragment.candidates)) == (MAX_SECTIONS, MAX_CANDIDATES)


# -- fuzz -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_prefix_is_a_fragment_or_malformed(sample: bytes) -> None:
    assert sum(is_a_fragment(sample[:end]) for end in range(len(sample))) > 0


@pytest.mark.parametrize("seed", range(4))
def test_mutated_fragments_raise_nothing_but_protocol_errors(seed: int) -> None:
    """10,000 and more in all, of which a good part still passes and is written back."""
    chance = random.Random(seed)
    passed = sum(is_a_fragment(mutated(chance.choice(SAMPLES), chance)) for _ in range(3000))
    assert 300 < passed < 2900


tokens = st.from_regex(r"[A-Za-z0-9.-]{1,16}", fullmatch=True)
candidates = st.builds(
    Candidate,
    address=st.sampled_from(["192.0.2.1", "2001:db8::1", "a-b-c.local"]),
    port=st.integers(0, 0xFFFF),
    priority=st.integers(1, 0xFFFF_FFFF),
    foundation=st.from_regex(r"[A-Za-z0-9+/]{1,32}", fullmatch=True),
    component=st.integers(1, 256),
    protocol=st.sampled_from(["udp", "tcp"]),
    type=st.sampled_from(["host", "srflx", "prflx", "relay"]),
    tcp_type=st.sampled_from(["", "active", "passive", "so"]),
)
fragments = st.builds(
    Fragment,
    credentials=st.none()
    | st.builds(
        Credentials,
        ufrag=st.from_regex(r"[A-Za-z0-9+/]{4,40}", fullmatch=True),
        password=st.from_regex(r"[A-Za-z0-9+/]{22,60}", fullmatch=True),
    ),
    sections=st.lists(
        st.builds(
            Section,
            media=st.sampled_from(["audio 9 RTP/AVP 0", "video 9 UDP/TLS/RTP/SAVPF 96 97"]),
            mid=st.just("") | tokens,
            candidates=st.lists(candidates, max_size=4).map(tuple),
            end_of_candidates=st.booleans(),
        ),
        max_size=4,
    ).map(tuple),
    bundle=st.lists(tokens, max_size=4).map(tuple),
    ice_lite=st.booleans(),
    ice_options=st.lists(tokens, max_size=3).map(tuple),
    end_of_candidates=st.booleans(),
)


@given(fragments)
def test_what_is_written_is_read_back(fragment: Fragment) -> None:
    if fragment == Fragment():
        assert serialize(fragment) == b""
    else:
        assert parse(serialize(fragment)) == fragment


@given(st.binary(max_size=300))
def test_any_bytes_are_a_fragment_or_malformed(body: bytes) -> None:
    is_a_fragment(body)


def is_a_fragment(body: bytes) -> bool:
    """Whether it parses; if so, it is written back and read as the same."""
    try:
        fragment = parse(body)
    except ProtocolError:
        return False
    if fragment != Fragment():
        assert parse(serialize(fragment)) == fragment
    return True


def mutated(sample: bytes, chance: random.Random) -> bytes:
    """The sample with lines dropped, doubled, moved or cut, or with bytes changed."""
    lines = sample.split(b"\n")
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                lines[at] = b""
            case 1:
                lines.insert(chance.randrange(len(lines)), lines[at])
            case 2:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            case 3:
                lines[at] += chance.randbytes(chance.randrange(4))
            case 4 if lines[at]:
                changed = bytearray(lines[at])
                changed[chance.randrange(len(changed))] = chance.choice(b"\0 :=-azAZ09\xff")
                lines[at] = bytes(changed)
    return b"\n".join(lines)
