"""SRTP of one session: RTCP both ways and RTP in through libsrtp; GCM RTP out is the sender's own.

RFC 3711, and RFC 7714 for AEAD. The outbound session may protect the same index twice, because a
retransmission on the media SSRC is the very same packet again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pylibsrtp import ERRORS, Error, Policy, Session, ffi, lib  # type: ignore[attr-defined]

from mediaserver.errors import ProtocolError
from mediaserver.rtc.dtls import SrtpKeys

REPLAY_WINDOW_PACKETS = 4096  # 1.5 s at 30 Mbit/s: as far back as the ring goes
INBOUND_WINDOW_PACKETS = 1024  # receivers hold no more; libsrtp shifts all of it for every packet
LONGEST_PACKET_BYTES = 1500  # a datagram over Ethernet

MAX_SSRCS = 64  # libsrtp keeps state for each that a peer uses; one has five

LABEL_ENCRYPTION = 0x00  # RFC 3711 §4.3.1
LABEL_SALT = 0x02

# What libsrtp works on in place, one for all sessions (which share the loop's thread): so it stays in
# the CPU's nearest cache.
_PACKET = ffi.new("char[]", LONGEST_PACKET_BYTES)
_BYTES = ffi.buffer(_PACKET)
_LENGTH = ffi.new("int *")
_UNPROTECT = lib.srtp_unprotect


class Srtp:
    """The cryptographic contexts of one session."""

    __slots__ = ("_context", "_ssrcs", "aead", "cipher", "inbound", "key", "outbound", "salt")

    def __init__(self, keys: SrtpKeys) -> None:
        self.inbound = Session(_policy(keys, keys.rx_key + keys.rx_salt, Policy.SSRC_ANY_INBOUND))
        self.outbound = Session(_policy(keys, keys.tx_key + keys.tx_salt, Policy.SSRC_ANY_OUTBOUND))
        self._context = self.inbound._srtp[0]
        self._ssrcs: set[bytes] = set()
        self.aead: AESGCM | None = None
        self.key = b""
        self.salt = 0
        self.cipher: object = None  # the compiled sender's context with that key
        if keys.gcm:
            self.key = derive(keys.tx_key, keys.tx_salt, LABEL_ENCRYPTION, 16)
            self.aead = AESGCM(self.key)
            salt = derive(keys.tx_key, keys.tx_salt, LABEL_SALT, 12)
            self.salt = int.from_bytes(salt, "big")

    @property
    def inbound_address(self) -> int:
        """Where libsrtp has the context of what comes; it is there as long as this is."""
        return int(ffi.cast("uintptr_t", self._context))

    def unprotect(self, data: bytes) -> bytes:
        """The RTP packet inside; raises ProtocolError when it is forged or replayed."""
        # As _unprotect, whose call every packet of a publisher would pay.
        size = len(data)
        if size > LONGEST_PACKET_BYTES or data[8:12] not in self._ssrcs:
            return self._unprotect(lib.srtp_unprotect, data, data[8:12])
        _BYTES[0:size] = data
        _LENGTH[0] = size
        status = _UNPROTECT(self._context, _PACKET, _LENGTH)
        if status:
            raise ProtocolError(f"SRTP: {ERRORS[status]}")
        packet: bytes = _BYTES[0 : _LENGTH[0]]
        return packet

    def unprotect_rtcp(self, data: bytes) -> bytes:
        """The RTCP compound inside; raises ProtocolError when it is forged or replayed."""
        return self._unprotect(lib.srtp_unprotect_rtcp, data, data[4:8])

    def protect(self, data: bytes) -> bytes:
        """The SRTP packet of an RTP packet; OSError when its index is too old to be sent again."""
        try:
            return bytes(self.outbound.protect(data))
        except (Error, ValueError) as exc:
            raise OSError(errno.EBADMSG, str(exc)) from None

    def protect_rtcp(self, data: bytes) -> bytes:
        return bytes(self.outbound.protect_rtcp(data))

    def _unprotect(self, function: Callable[..., int], data: bytes, ssrc: bytes) -> bytes:
        """By libsrtp itself: pylibsrtp's own call costs half as much again as what it calls."""
        known = ssrc in self._ssrcs
        if not known and len(self._ssrcs) >= MAX_SSRCS:
            raise ProtocolError("SRTP with too many SSRCs")
        size = len(data)
        if size > LONGEST_PACKET_BYTES:
            raise ProtocolError("SRTP packet too long")
        _BYTES[0:size] = data
        _LENGTH[0] = size
        status = function(self._context, _PACKET, _LENGTH)
        if status:
            raise ProtocolError(f"SRTP: {ERRORS[status]}")
        if not known:
            self._ssrcs.add(ssrc)
        packet: bytes = _BYTES[0 : _LENGTH[0]]
        return packet


def unprotect_address() -> int:
    """Where libsrtp's srtp_unprotect is."""
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, "srtp_unprotect")))


def derive(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """A session key or salt by the AES-CM PRF (RFC 3711 §4.3.3; RFC 7714 §11 pads the salt)."""
    block = bytearray(master_salt.ljust(14, b"\0") + b"\0\0")
    block[7] ^= label
    encryptor = Cipher(algorithms.AES(master_key), modes.CTR(bytes(block))).encryptor()
    return encryptor.update(bytes(length))


def _policy(keys: SrtpKeys, key: bytes, ssrc_type: int) -> Policy:
    policy = Policy(key=key, ssrc_type=ssrc_type, srtp_profile=keys.profile.libsrtp_profile)
    policy.allow_repeat_tx = ssrc_type == Policy.SSRC_ANY_OUTBOUND
    inbound = ssrc_type == Policy.SSRC_ANY_INBOUND
    policy.window_size = INBOUND_WINDOW_PACKETS if inbound else REPLAY_WINDOW_PACKETS
    return policy
