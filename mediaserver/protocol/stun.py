"""STUN Binding for ICE (RFC 8489, RFC 8445 §7): parse, verify, answer, ask.

Hot path: every viewer asks for consent about once a second, and an unknown address is let in only
by a request that verifies, so parse + verify + answer is also what a flood costs.

Parsing does not need the key. Whoever listens looks the session up by `username` and then calls
`verify_integrity`; a message is worth nothing before that.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from zlib import crc32

from mediaserver.errors import ProtocolError

BINDING_REQUEST = 0x0001
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111

MAPPED_ADDRESS = 0x0001
USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
UNKNOWN_ATTRIBUTES = 0x000A
REALM = 0x0014
NONCE = 0x0015
MESSAGE_INTEGRITY_SHA256 = 0x001C
XOR_MAPPED_ADDRESS = 0x0020
PRIORITY = 0x0024
USE_CANDIDATE = 0x0025
FINGERPRINT = 0x8028
ICE_CONTROLLED = 0x8029
ICE_CONTROLLING = 0x802A

MAGIC_COOKIE = 0x2112A442
HEADER_BYTES = 20
INTEGRITY_BYTES = 24  # MESSAGE-INTEGRITY with its attribute header
FINGERPRINT_BYTES = 8  # FINGERPRINT with its attribute header
# RFC 8489 §14.3 has 508; two ufrags of 256 (RFC 8839 §5.4) and their colon are a little more.
MAX_USERNAME_BYTES = 513
MAX_UNKNOWN = 8  # named in a 420; a datagram has room for hundreds

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_FINGERPRINT_XOR = 0x5354554E
# Comprehension-required attributes that a Binding may carry and that change nothing here.
_UNDERSTOOD = frozenset(
    (MAPPED_ADDRESS, UNKNOWN_ATTRIBUTES, REALM, NONCE, MESSAGE_INTEGRITY_SHA256)
)
_HEADER = Struct(">HHI12s")
_ATTRIBUTE = Struct(">HH")
_U32 = Struct(">I")
_U64 = Struct(">Q")
_INTEGRITY = Struct(">HH20s")
_FINGERPRINT = Struct(">HHI")
_ADDRESS_V4 = Struct(">HHBBHI")
_ADDRESS_V6 = Struct(">HHBBH16s")

# (host, port), or the four-tuple of an IPv6 socket; only the first two are used.
Address = tuple[str, int] | tuple[str, int, int, int]


@dataclass(slots=True)
class StunMessage:
    """One STUN message; None where an attribute is absent.

    `fingerprint_ok` is None without FINGERPRINT. `integrity_offset` is where MESSAGE-INTEGRITY
    stands in the datagram, 0 if it doesn't. `unknown_required` names the comprehension-required
    attributes not understood: a request that has any is answered 420 (RFC 8489 §6.3.1).
    """

    message_type: int
    transaction_id: bytes
    username: str | None = None
    priority: int | None = None
    use_candidate: bool = False
    ice_controlling: int | None = None
    ice_controlled: int | None = None
    mapped_address: tuple[str, int] | None = None
    error_code: int | None = None
    fingerprint_ok: bool | None = None
    integrity_offset: int = 0
    unknown_required: tuple[int, ...] = ()


def is_stun(data: bytes) -> bool:
    """Whether a datagram is STUN rather than DTLS, RTP or noise (RFC 7983, RFC 8489 §5)."""
    return len(data) >= HEADER_BYTES and data[0] < 4 and data[4:8] == _COOKIE


def parse(data: bytes) -> StunMessage:
    """Read one whole message; ProtocolError when header or an attribute is malformed.

    Of a repeated attribute the first counts, and none between MESSAGE-INTEGRITY and FINGERPRINT
    (RFC 8489 §14, §14.5): what the key does not cover is not read.
    """
    size = len(data)
    if size < HEADER_BYTES:
        raise ProtocolError("STUN message shorter than its header")
    message_type, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if cookie != MAGIC_COOKIE or message_type & 0xC000:
        raise ProtocolError("not a STUN message")
    if length & 3 or length + HEADER_BYTES != size:
        raise ProtocolError("STUN length does not match the datagram")
    message = StunMessage(message_type, transaction_id)
    offset = HEADER_BYTES
    while offset < size:
        # The size is a multiple of four, so an attribute header always fits.
        kind, length = _ATTRIBUTE.unpack_from(data, offset)
        start = offset + 4
        end = start + length
        if end > size:
            raise ProtocolError("STUN attribute longer than its message")
        if kind == FINGERPRINT:
            if length != 4 or end != size:
                raise ProtocolError("STUN FINGERPRINT malformed or not last")
            value = _U32.unpack_from(data, start)[0]
            message.fingerprint_ok = crc32(data[:offset]) ^ _FINGERPRINT_XOR == value
        elif message.integrity_offset:
            pass
        elif kind == MESSAGE_INTEGRITY:
            if length != 20:
                raise ProtocolError("STUN MESSAGE-INTEGRITY is not 20 bytes")
            message.integrity_offset = offset
        elif kind == USERNAME:
            if message.username is None:
                message.username = _username(data[start:end])
        elif kind == PRIORITY:
            if length != 4:
                raise ProtocolError("STUN PRIORITY is not 4 bytes")
            if message.priority is None:
                message.priority = _U32.unpack_from(data, start)[0]
        elif kind == USE_CANDIDATE:
            message.use_candidate = True
        elif kind == ICE_CONTROLLING:
            if length != 8:
                raise ProtocolError("STUN ICE-CONTROLLING is not 8 bytes")
            if message.ice_controlling is None:
                message.ice_controlling = _U64.unpack_from(data, start)[0]
        elif kind == ICE_CONTROLLED:
            if length != 8:
                raise ProtocolError("STUN ICE-CONTROLLED is not 8 bytes")
            if message.ice_controlled is None:
                message.ice_controlled = _U64.unpack_from(data, start)[0]
        elif kind == XOR_MAPPED_ADDRESS:
            if message.mapped_address is None:
                message.mapped_address = _xor_address(data[start:end], transaction_id)
        elif kind == ERROR_CODE:
            if length < 4:
                raise ProtocolError("STUN ERROR-CODE shorter than 4 bytes")
            if message.error_code is None:
                message.error_code = (data[start + 2] & 7) * 100 + data[start + 3]
        elif kind < 0x8000 and kind not in _UNDERSTOOD:
            unknown = message.unknown_required
            if len(unknown) < MAX_UNKNOWN and kind not in unknown:
                message.unknown_required = (*unknown, kind)
        offset = (end + 3) & ~3
    return message


def verify_integrity(data: bytes, message: StunMessage, key: bytes) -> bool:
    """Whether MESSAGE-INTEGRITY (HMAC-SHA1, RFC 8489 §14.5) was made with `key`, the ICE password.

    `message` is what `parse(data)` returned; a message without the attribute does not verify.
    """
    offset = message.integrity_offset
    if not offset:
        return False
    # The header is hashed as if the message ended with this attribute.
    covered = offset + INTEGRITY_BYTES - HEADER_BYTES
    signed = data[:2] + covered.to_bytes(2, "big") + data[4:offset]
    return hmac.compare_digest(hmac.digest(key, signed, "sha1"), data[offset + 4 : offset + 24])


def binding_success(transaction_id: bytes, address: Address, key: bytes) -> bytes:
    """The answer to a request from `address`: XOR-MAPPED-ADDRESS, integrity, fingerprint."""
    return _seal(BINDING_SUCCESS, transaction_id, _mapped_address(address, transaction_id), key)


def binding_error(
    transaction_id: bytes,
    code: int,
    reason: str,
    key: bytes | None,
    unknown: tuple[int, ...] = (),
) -> bytes:
    """A refusal: 487 Role Conflict, 420 with the `unknown` attributes, 400 or 401.

    Without a key (400, 401: there is none both sides know) it carries no integrity.
    """
    text = reason.encode()
    attributes = _attribute(ERROR_CODE, bytes((0, 0, code // 100, code % 100)) + text)
    if unknown:
        types = b"".join(kind.to_bytes(2, "big") for kind in unknown)
        attributes += _attribute(UNKNOWN_ATTRIBUTES, types)
    return _seal(BINDING_ERROR, transaction_id, attributes, key)


def binding_request(
    transaction_id: bytes,
    username: str,
    key: bytes,
    priority: int,
    tie_breaker: int,
    *,
    controlling: bool = True,
    use_candidate: bool = False,
) -> bytes:
    """A connectivity check of a client: `username` is "theirs:ours", `key` the peer's password.

    `priority` is 32 bits, that of a peer-reflexive candidate; `tie_breaker` 64 bits.
    """
    attributes = (
        _attribute(USERNAME, username.encode())
        + _attribute(PRIORITY, _U32.pack(priority))
        + _attribute(ICE_CONTROLLING if controlling else ICE_CONTROLLED, _U64.pack(tie_breaker))
    )
    if use_candidate:
        attributes += _attribute(USE_CANDIDATE, b"")
    return _seal(BINDING_REQUEST, transaction_id, attributes, key)


def _username(value: bytes) -> str:
    if len(value) > MAX_USERNAME_BYTES:
        raise ProtocolError("STUN USERNAME too long")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("STUN USERNAME is not UTF-8") from error


def _xor_address(value: bytes, transaction_id: bytes) -> tuple[str, int]:
    size = len(value)
    if size < 4 or (value[1], size) not in ((1, 8), (2, 20)):
        raise ProtocolError("STUN XOR-MAPPED-ADDRESS malformed")
    port = int.from_bytes(value[2:4], "big") ^ (MAGIC_COOKIE >> 16)
    mask = int.from_bytes((_COOKIE + transaction_id)[: size - 4], "big")
    host = (int.from_bytes(value[4:], "big") ^ mask).to_bytes(size - 4, "big")
    return str(IPv4Address(host) if size == 8 else IPv6Address(host)), port


def _mapped_address(address: Address, transaction_id: bytes) -> bytes:
    host = address[0]
    port = address[1] ^ (MAGIC_COOKIE >> 16)
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]  # an IPv4 peer of a dual-stack socket: it knows itself by its IPv4 address
    if ":" not in host:
        packed = int(IPv4Address(host)) ^ MAGIC_COOKIE
        return _ADDRESS_V4.pack(XOR_MAPPED_ADDRESS, 8, 0, 1, port, packed)
    mask = int.from_bytes(_COOKIE + transaction_id, "big")
    plain = int(IPv6Address(host.partition("%")[0]))
    return _ADDRESS_V6.pack(XOR_MAPPED_ADDRESS, 20, 0, 2, port, (plain ^ mask).to_bytes(16, "big"))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) & 3)


def _seal(message_type: int, transaction_id: bytes, attributes: bytes, key: bytes | None) -> bytes:
    if len(transaction_id) != 12:
        raise ValueError("a STUN transaction id is 12 bytes")
    length = len(attributes)
    body = attributes
    if key is not None:
        length += INTEGRITY_BYTES
        signed = _HEADER.pack(message_type, length, MAGIC_COOKIE, transaction_id) + attributes
        digest = hmac.digest(key, signed, "sha1")
        body += _INTEGRITY.pack(MESSAGE_INTEGRITY, 20, digest)
    length += FINGERPRINT_BYTES
    message = _HEADER.pack(message_type, length, MAGIC_COOKIE, transaction_id) + body
    return message + _FINGERPRINT.pack(FINGERPRINT, 4, crc32(message) ^ _FINGERPRINT_XOR)
