"""STUN: the vectors of RFC 5769, ICE checks both ways, and what must not pass."""

from __future__ import annotations

import os
import random
import zlib

import aioice.stun
import pytest

from mediaserver.errors import ProtocolError
from mediaserver.protocol import stun

KEY = b"VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
# RFC 5769 §2.1 to §2.3; a USERNAME and a SOFTWARE padded with blanks, as the RFC has them.
SAMPLE_REQUEST = bytes.fromhex(
    "00010058 2112a442 b7e7a701bc34d686fa87dfae"
    "80220010 5354554e207465737420636c69656e74"
    "00240004 6e0001ff"
    "80290008 932ff9b151263b36"
    "00060009 6576746a3a68367659202020"
    "00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004 e57a3bcf"
)
SAMPLE_IPV4_RESPONSE = bytes.fromhex(
    "0101003c 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 7465737420766563746f7220"
    "00200008 0001a147e112a643"
    "00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004 c07d4c96"
)
SAMPLE_IPV6_RESPONSE = bytes.fromhex(
    "01010048 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 7465737420766563746f7220"
    "00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014 a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004 c8fb0b4c"
)
SAMPLES = [SAMPLE_REQUEST, SAMPLE_IPV4_RESPONSE, SAMPLE_IPV6_RESPONSE]


def message(*attributes: tuple[int, bytes], kind: int = stun.BINDING_REQUEST) -> bytes:
    """A message with these attributes in this order and nothing else."""
    body = b"".join(
        number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    header = kind.to_bytes(2, "big") + len(body).to_bytes(2, "big")
    return header + stun.MAGIC_COOKIE.to_bytes(4, "big") + TRANSACTION + body


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_of_rfc_5769_verify(sample: bytes) -> None:
    parsed = stun.parse(sample)
    assert stun.is_stun(sample)
    assert parsed.transaction_id == TRANSACTION
    assert parsed.fingerprint_ok is True
    assert stun.verify_integrity(sample, parsed, KEY)
    assert not stun.verify_integrity(sample, parsed, KEY[:-1] + b"x")


def test_the_sample_request_is_read() -> None:
    parsed = stun.parse(SAMPLE_REQUEST)
    assert parsed.message_type == stun.BINDING_REQUEST
    assert parsed.username == "evtj:h6vY"
    assert parsed.priority == 0x6E0001FF
    assert parsed.ice_controlled == 0x932FF9B151263B36
    assert parsed.ice_controlling is None
    assert not parsed.use_candidate
    assert parsed.unknown_required == ()


def test_the_sample_responses_carry_mapped_addresses() -> None:
    assert stun.parse(SAMPLE_IPV4_RESPONSE).mapped_address == ("192.0.2.1", 32853)
    assert stun.parse(SAMPLE_IPV6_RESPONSE).mapped_address == (
        "2001:db8:1234:5678:11:2233:4455:6677",
        32853,
    )


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_changed_bit_before_the_integrity_does_not_verify(sample: bytes) -> None:
    end = stun.parse(sample).integrity_offset
    for bit in range(8 * 8, end * 8):  # behind type, length and cookie
        changed = bytearray(sample)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            parsed = stun.parse(bytes(changed))
        except ProtocolError:
            continue
        assert not stun.verify_integrity(bytes(changed), parsed, KEY)
        assert parsed.fingerprint_ok is not True


@pytest.mark.parametrize("sample", SAMPLES)
def test_only_the_whole_message_is_one(sample: bytes) -> None:
    for end in range(len(sample)):
        with pytest.raises(ProtocolError):
            stun.parse(sample[:end])
    for trailing in (b"\0", bytes(4), bytes(8)):
        with pytest.raises(ProtocolError):
            stun.parse(sample + trailing)


def test_other_protocols_are_not_stun() -> None:
    dtls = bytes.fromhex("16fefd0000000000000000") + bytes(30)
    rtp = bytes.fromhex("806a000100000000") + bytes(30)
    no_cookie = SAMPLE_REQUEST[:4] + bytes(4) + SAMPLE_REQUEST[8:]
    for data in (b"", SAMPLE_REQUEST[:19], dtls, rtp, no_cookie):
        assert not stun.is_stun(data)
        with pytest.raises(ProtocolError):
            stun.parse(data)


def test_a_request_of_ours_is_read_by_us_and_by_aioice() -> None:
    data = stun.binding_request(
        TRANSACTION, "theirs:ours", KEY, 1853824767, 0xF00D, use_candidate=True
    )
    parsed = stun.parse(data)
    assert stun.verify_integrity(data, parsed, KEY)
    assert parsed.username == "theirs:ours"
    assert parsed.priority == 1853824767
    assert parsed.ice_controlling == 0xF00D
    assert parsed.ice_controlled is None
    assert parsed.use_candidate
    assert parsed.fingerprint_ok

    theirs = aioice.stun.parse_message(data)
    assert theirs.check_message_integrity(KEY)
    assert theirs.transaction_id == TRANSACTION
    assert theirs.attributes["USERNAME"] == "theirs:ours"
    assert theirs.attributes["ICE-CONTROLLING"] == 0xF00D
    assert "USE-CANDIDATE" in theirs.attributes


def test_a_request_of_aioice_verifies() -> None:
    request = aioice.stun.Message(
        message_method=aioice.stun.Method.BINDING, message_class=aioice.stun.Class.REQUEST
    )
    request.attributes["USERNAME"] = "a:b"
    request.attributes["PRIORITY"] = 7
    request.attributes["ICE-CONTROLLED"] = 9
    request.add_message_integrity(KEY)
    data = bytes(request)
    parsed = stun.parse(data)
    assert stun.verify_integrity(data, parsed, KEY)
    assert (parsed.username, parsed.priority, parsed.ice_controlled) == ("a:b", 7, 9)


def test_a_controlled_client_says_so() -> None:
    data = stun.binding_request(TRANSACTION, "a:b", KEY, 1, 2, controlling=False)
    parsed = stun.parse(data)
    assert (parsed.ice_controlled, parsed.ice_controlling, parsed.use_candidate) == (2, None, False)


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        (("203.0.113.9", 1), ("203.0.113.9", 1)),
        (("0.0.0.0", 65535), ("0.0.0.0", 65535)),
        (("2001:db8::7", 54321, 0, 0), ("2001:db8::7", 54321)),
        (("fe80::1%eth0", 99, 0, 2), ("fe80::1", 99)),
        (("::ffff:198.51.100.4", 443, 0, 0), ("198.51.100.4", 443)),
    ],
)
def test_an_answer_gives_the_address_back(address: stun.Address, seen: tuple[str, int]) -> None:
    data = stun.binding_success(TRANSACTION, address, KEY)
    parsed = stun.parse(data)
    assert parsed.message_type == stun.BINDING_SUCCESS
    assert parsed.transaction_id == TRANSACTION
    assert parsed.mapped_address == seen
    assert parsed.fingerprint_ok
    assert stun.verify_integrity(data, parsed, KEY)
    theirs = aioice.stun.parse_message(data)
    assert theirs.check_message_integrity(KEY)
    assert theirs.attributes["XOR-MAPPED-ADDRESS"] == seen


def test_a_role_conflict_is_answered_487() -> None:
    data = stun.binding_error(TRANSACTION, 487, "Role Conflict", KEY)
    parsed = stun.parse(data)
    assert parsed.message_type == stun.BINDING_ERROR
    assert parsed.error_code == 487
    assert stun.verify_integrity(data, parsed, KEY)
    theirs = aioice.stun.parse_message(data)
    assert theirs.check_message_integrity(KEY)
    assert theirs.attributes["ERROR-CODE"] == (487, "Role Conflict")


def test_unknown_attributes_that_must_be_understood_are_named_and_answered_420() -> None:
    request = stun.parse(
        message((0x0006, b"a:b"), (0x7FFE, b""), (0x0024, bytes(4)), (0x7FFE, b""))
    )
    assert request.unknown_required == (0x7FFE,)
    assert request.username == "a:b"
    answer = stun.binding_error(TRANSACTION, 420, "Unknown", None, request.unknown_required)
    assert b"\x00\x0a\x00\x02\x7f\xfe\x00\x00" in answer
    parsed = stun.parse(answer)
    assert (parsed.error_code, parsed.integrity_offset) == (420, 0)
    assert not stun.verify_integrity(answer, parsed, KEY)
    assert parsed.fingerprint_ok


def test_unknown_attributes_are_counted_up_to_a_limit() -> None:
    request = stun.parse(message(*((number, b"") for number in range(0x4000, 0x4100))))
    assert len(request.unknown_required) == stun.MAX_UNKNOWN


def test_optional_attributes_of_browsers_are_stepped_over() -> None:
    parsed = stun.parse(message((0xC057, b"\0\1\0\x32"), (0x0006, b"a:b"), (0xC059, b"xyz")))
    assert parsed.username == "a:b"
    assert parsed.unknown_required == ()


def test_of_a_repeated_attribute_the_first_counts() -> None:
    parsed = stun.parse(message((0x0006, b"first"), (0x0006, b"second"), (0x0024, bytes(4))))
    assert parsed.username == "first"


def test_what_the_key_does_not_cover_is_not_read() -> None:
    inner = stun.binding_request(TRANSACTION, "a:b", KEY, 1, 2)[:-8]  # without FINGERPRINT
    forged = bytearray(inner + bytes.fromhex("00250000"))
    forged[2:4] = (len(forged) - 20).to_bytes(2, "big")
    parsed = stun.parse(bytes(forged))
    assert stun.verify_integrity(bytes(forged), parsed, KEY)
    assert not parsed.use_candidate


def test_a_wrong_fingerprint_is_told() -> None:
    data = SAMPLE_REQUEST[:-4] + bytes(4)
    assert stun.parse(data).fingerprint_ok is False
    assert stun.parse(message((0x0006, b"a:b"))).fingerprint_ok is None


@pytest.mark.parametrize(
    "attributes",
    [
        [(0x0024, b"")],  # PRIORITY of no length
        [(0x0024, bytes(8))],
        [(0x8029, bytes(4))],
        [(0x802A, bytes(12))],
        [(0x0008, bytes(16))],
        [(0x0008, b"")],
        [(0x8028, bytes(8))],
        [(0x8028, bytes(4)), (0x0024, bytes(4))],  # FINGERPRINT not last
        [(0x0020, b"")],
        [(0x0020, bytes(8))],  # family 0
        [(0x0020, b"\0\1" + bytes(18))],  # family and length differ
        [(0x0020, b"\0\2" + bytes(6))],
        [(0x0009, b"\0\0")],
        [(0x0006, b"\xff\xfe")],
        [(0x0006, b"u" * 600)],
    ],
)
def test_a_malformed_attribute_is_the_peers_error(attributes: list[tuple[int, bytes]]) -> None:
    with pytest.raises(ProtocolError):
        stun.parse(message(*attributes))


def test_an_attribute_longer_than_its_message_is_the_peers_error() -> None:
    data = bytearray(message((0x0006, b"abcd")))
    data[22:24] = (400).to_bytes(2, "big")
    with pytest.raises(ProtocolError):
        stun.parse(bytes(data))


def test_noise_raises_nothing_but_protocol_errors() -> None:
    chance = random.Random(5389)
    whole = [*SAMPLES, stun.binding_error(TRANSACTION, 420, "no", KEY, (1, 2))]
    for _ in range(10_000):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(20, len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            data = data[: chance.randrange(20, len(data)) & ~3]
            data[2:4] = (len(data) - 20).to_bytes(2, "big")
        try:
            parsed = stun.parse(bytes(data))
        except ProtocolError:
            continue
        assert isinstance(stun.verify_integrity(bytes(data), parsed, KEY), bool)


def test_random_attributes_behind_a_good_header_raise_nothing_but_protocol_errors() -> None:
    chance = random.Random(8489)
    kinds = [0x0001, 0x0006, 0x0008, 0x0009, 0x0020, 0x0024, 0x0025, 0x8028, 0x8029, 0x802A]
    parsed = 0
    for _ in range(5_000):
        attributes = [
            (chance.choice(kinds), chance.randbytes(chance.choice((0, 1, 4, 8, 20, 33))))
            for _ in range(chance.randint(0, 6))
        ]
        try:
            stun.parse(message(*attributes))
            parsed += 1
        except ProtocolError:
            continue
    assert parsed


def test_the_fingerprint_is_the_crc_of_all_before_it() -> None:
    data = stun.binding_success(os.urandom(12), ("127.0.0.1", 5000), KEY)
    assert zlib.crc32(data[:-8]) ^ 0x5354554E == int.from_bytes(data[-4:], "big")
