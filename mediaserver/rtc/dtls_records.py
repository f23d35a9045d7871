"""DTLS 1.2 records of a session that has shaken hands, without OpenSSL's state for them.

With AES-128-GCM (RFC 5288 §3), which every WebRTC endpoint has (RFC 8827 §6.5), a record is one sealed
box: its keys are derived here from the master secret (RFC 5246 §6.3) and the connection is let go,
which held 70 KiB of a viewer's 110. Another cipher leaves the records to the connection.

Numbers and nonces go on from those of OpenSSL's own records, so that none is used twice under one key.
"""

from __future__ import annotations

import contextlib
import hmac
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = range(20, 24)
VERSION = 0xFEFD
HEADER_BYTES = 13
NONCE_BYTES = 8  # in the record; the other four are of the key block
TAG_BYTES = 16
SEALED_BYTES = NONCE_BYTES + TAG_BYTES
RECORD_BYTES = 1500  # more than any datagram of ours or of a peer holds
EPOCH = 1  # the first and only one that is encrypted
FIRST = EPOCH << 48  # number of its first record
WINDOW = 64  # records, against replay (RFC 6347 §4.1.2.6)
CLOSE_NOTIFY = b"\x01\0"
FATAL = b"\x02"
GCM_CIPHERS = frozenset({"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"})
_HEADER = struct.Struct("!BHQH")  # type, version, epoch and number, length
_SEALED = struct.Struct("!BHQHQ")  # with the nonce
_NONCE = struct.Struct("!4sQ")
_BOUND = struct.Struct("!QBHH")  # what the tag also covers (RFC 5246 §6.2.3.3)
_NUMBERS = (1 << 64) - 1
_NOTHING = 0, 0, 0, 0


# One record as it stands in a datagram: type, number with the epoch in its upper 16 bits, and body.
Record: TypeAlias = tuple[int, int, bytes]


class Records(Protocol):
    """What turns data into datagrams and back."""

    def seal(self, data: bytes) -> bytes:
        """The datagram of one packet; raises ConnectionError when there may be no more."""

    def open(self, datagram: bytes) -> Sequence[bytes]:
        """The packets in it, without what is forged; raises ConnectionError at the peer's goodbye."""

    def goodbye(self) -> bytes:
        """The last datagram."""


@dataclass(frozen=True, slots=True)
class RecordKeys:
    """Of one session, seen from our side; salts of 4 bytes."""

    tx_key: bytes
    tx_salt: bytes
    rx_key: bytes
    rx_salt: bytes

    @classmethod
    def derive(cls, master: bytes, randoms: bytes, server: bool) -> RecordKeys:
        """`randoms` are the server's and the client's, in this order; `server` is our role."""
        block = expand(master, b"key expansion" + randoms, 40)
        client = block[:16], block[32:36]
        ours, theirs = client, (block[16:32], block[36:])
        if server:
            ours, theirs = theirs, ours
        return cls(*ours, *theirs)


class GcmRecords:
    """Records under AES-128-GCM; a context is made when it is first needed."""

    __slots__ = ("_keys", "_newest", "_next", "_nonce", "_rx", "_seen", "_tx")

    def __init__(self, keys: RecordKeys, last: Record, heard: Collection[int] = ()) -> None:
        """`last` is the last encrypted record that OpenSSL has sent; `heard` numbers it was given."""
        self._keys = keys
        _, number, body = last
        self._next = number + 1
        self._nonce = (int.from_bytes(body[:NONCE_BYTES], "big") + 1) & _NUMBERS
        self._newest = newest = max(heard, default=FIRST)
        # bit n: the record n before the newest has been opened
        self._seen = sum(1 << newest - number for number in heard)
        self._tx: AESGCM | None = None
        self._rx: AESGCM | None = None

    def seal(self, data: bytes, kind: int = APPLICATION_DATA) -> bytes:
        if self._tx is None:
            self._tx = AESGCM(self._keys.tx_key)
        size, number, nonce = len(data), self._next, self._nonce
        self._next = number + 1
        self._nonce = (nonce + 1) & _NUMBERS
        sealed = self._tx.encrypt(
            _NONCE.pack(self._keys.tx_salt, nonce), data, _BOUND.pack(number, kind, VERSION, size)
        )
        return _SEALED.pack(kind, VERSION, number, SEALED_BYTES + size, nonce) + sealed

    def open(self, datagram: bytes) -> Sequence[bytes]:
        kind, _, number, length = _HEADER.unpack_from(datagram) if datagram[12:] else _NOTHING
        if kind != APPLICATION_DATA or HEADER_BYTES + length != len(datagram):
            return self._open_all(datagram)
        data = self._open(kind, number, datagram[HEADER_BYTES:])
        return () if data is None else (data,)

    def _open_all(self, datagram: bytes) -> list[bytes]:
        packets = []
        for kind, number, body in records(datagram):
            data = self._open(kind, number, body)
            if data is None:
                continue
            if kind == APPLICATION_DATA:
                packets.append(data)
            elif kind == ALERT and (data == CLOSE_NOTIFY or data.startswith(FATAL)):
                raise ConnectionError("closed by the peer")
        return packets

    def goodbye(self) -> bytes:
        return self.seal(CLOSE_NOTIFY, ALERT)

    def _open(self, kind: int, number: int, body: bytes) -> bytes | None:
        """What is in a record; None for a replay or a forgery."""
        behind = self._newest - number
        if number >> 48 != EPOCH or behind >= WINDOW or (behind >= 0 and self._seen >> behind & 1):
            return None
        size = len(body) - SEALED_BYTES
        if size < 0:
            return None
        if self._rx is None:
            self._rx = AESGCM(self._keys.rx_key)
        bound = _BOUND.pack(number, kind, VERSION, size)
        try:
            data = self._rx.decrypt(
                self._keys.rx_salt + body[:NONCE_BYTES], body[NONCE_BYTES:], bound
            )
        except InvalidTag:
            return None
        if behind < 0:
            self._newest = number
            self._seen = (self._seen << min(-behind, WINDOW) | 1) & _NUMBERS
        else:
            self._seen |= 1 << behind
        return data


class OpenSslRecords:
    """The connection's own records, of whatever cipher it has agreed upon."""

    __slots__ = ("_connection",)

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def seal(self, data: bytes) -> bytes:
        try:
            self._connection.send(data)
            return self._connection.bio_read(RECORD_BYTES)
        except SSL.Error as error:
            raise ConnectionError("DTLS takes no more") from error

    def open(self, datagram: bytes) -> list[bytes]:
        self._connection.bio_write(datagram)
        try:
            return [self._connection.recv(RECORD_BYTES)]
        except SSL.ZeroReturnError as error:
            raise ConnectionError("closed by the peer") from error
        except SSL.Error:
            return []

    def goodbye(self) -> bytes:
        return farewell(self._connection)


def agreed(
    connection: SSL.Connection, server: bool, last: Record | None, heard: Collection[int]
) -> Records:
    """The records of a connection that has shaken hands; `last` and `heard` as GcmRecords has them."""
    if connection.get_cipher_name() not in GCM_CIPHERS or last is None:
        return OpenSslRecords(connection)
    master = connection.master_key()
    randoms = connection.server_random(), connection.client_random()
    assert master is not None and randoms[0] is not None and randoms[1] is not None
    keys = RecordKeys.derive(master, randoms[0] + randoms[1], server)
    return GcmRecords(keys, last, heard)


def farewell(connection: SSL.Connection) -> bytes:
    """What OpenSSL says at the end: the alert that is ready, else a goodbye; may be empty."""
    with contextlib.suppress(SSL.Error):
        connection.shutdown()
    with contextlib.suppress(SSL.Error):
        return connection.bio_read(RECORD_BYTES)
    return b""


def records(datagram: bytes) -> Iterator[Record]:
    """The records of a datagram, up to one that is cut off."""
    position, size = 0, len(datagram)
    while position + HEADER_BYTES <= size:
        kind, _, number, length = _HEADER.unpack_from(datagram, position)
        position += HEADER_BYTES + length
        if position > size:
            return
        yield kind, number, datagram[position - length : position]


def datagrams(flight: bytes, most_bytes: int) -> Iterator[bytes]:
    """What OpenSSL has written, cut between records into datagrams (RFC 6347 §4.1.1)."""
    start = end = 0
    while end + HEADER_BYTES <= len(flight):
        length = HEADER_BYTES + int.from_bytes(flight[end + 11 : end + HEADER_BYTES], "big")
        if end > start and end + length - start > most_bytes:
            yield flight[start:end]
            start = end
        end += length
    if flight[start:]:
        yield flight[start:]


def expand(secret: bytes, seed: bytes, size: int) -> bytes:
    """The pseudo-random function of TLS 1.2 with SHA-256 (RFC 5246 §5)."""
    made, link = b"", seed
    while len(made) < size:
        link = hmac.digest(secret, link, "sha256")
        made += hmac.digest(secret, link + seed, "sha256")
    return made[:size]
