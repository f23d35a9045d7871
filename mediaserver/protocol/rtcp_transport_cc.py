"""Transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01).

A sender numbers all packets of a transport in a header extension (§2); the receiver says when each of
them came (§3.1), and the sender estimates from that what the path carries. Hot path of every such
publisher: each packet is appended to `Arrivals.came`, and looked at with the next feedback.

`rtcp.parse` steps over this feedback: we receive it from nobody. `parse` here is its mirror.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from struct import Struct, error
from typing import NamedTuple, cast

from mediaserver.errors import ProtocolError
from mediaserver.protocol.rtcp import TRANSPORT_FEEDBACK
from mediaserver.protocol.rtp import extend

EXTENSION = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
RTCP_FB = "transport-cc"
FORMAT = 15

TICKS_PER_S = 4000  # receive deltas count 250 µs
TICKS_PER_REFERENCE = 256  # the reference time counts 64 ms
REMEMBERED_S = 0.5  # a later feedback tells again of what came so little before it
MAX_STATUSES = 512  # of one feedback: below 1200 bytes whatever came of them
MAX_REMEMBERED = 4096  # 1 s at 30 Mbit/s
MAX_STEP = 2048  # a larger one is a sender that began anew

NOT_RECEIVED, SMALL_DELTA, LARGE_DELTA = range(3)
MAX_RUN = 0x1FFF
ONE_BIT_STATUSES = 14
TWO_BIT_STATUSES = 7

_HEADER = Struct(">BBHIIHHI")  # the last: 24 bits of reference time, 8 of the feedback's count
_CHUNK = Struct(">H")
_LARGE_DELTA = Struct(">h")


class TransportFeedback(NamedTuple):
    """When the packets from `base_sequence` on came.

    `deltas` has one entry per packet: None when it did not come, else ticks of 250 µs since the one
    before it that did; for the first, since `reference_time`, which counts 64 ms in 24 bits.
    `feedback_count` goes up by one with each feedback, in 8 bits.
    """

    sender_ssrc: int
    media_ssrc: int
    base_sequence: int
    reference_time: int
    feedback_count: int
    deltas: Sequence[int | None]


def serialize(feedback: TransportFeedback) -> bytes:
    """One RTCP packet; ValueError for a delta outside 16 bits or statuses outside 1 to 0xFFFF."""
    if not 0 < len(feedback.deltas) <= 0xFFFF:
        raise ValueError("transport feedback is about 1 to 65535 packets")
    body = _small(feedback.deltas) or _any(feedback.deltas)
    body += bytes(-len(body) & 3)  # no P: RFC 3550 §6.4.1 counts that padding in fours
    header = _HEADER.pack(
        0x80 | FORMAT,
        TRANSPORT_FEEDBACK,
        4 + len(body) // 4,
        feedback.sender_ssrc,
        feedback.media_ssrc,
        feedback.base_sequence,
        len(feedback.deltas),
        feedback.reference_time << 8 | feedback.feedback_count,
    )
    return header + body


def parse(data: bytes) -> TransportFeedback:
    """Read one RTCP packet, which has to be this feedback; ProtocolError when it is not."""
    if len(data) < _HEADER.size:
        raise ProtocolError("transport feedback cut short")
    first, kind, words, sender, media, base, count, reference = _HEADER.unpack_from(data)
    if first & 0xDF != 0x80 | FORMAT or kind != TRANSPORT_FEEDBACK or 4 * words + 4 != len(data):
        raise ProtocolError("not one transport feedback")
    end = len(data) - (data[-1] if first & 0x20 else 0)
    statuses, offset = _read_statuses(data, _HEADER.size, end, count)
    deltas = _read_deltas(data, offset, end, statuses)
    return TransportFeedback(sender, media, base, reference >> 8, reference & 0xFF, deltas)


def _small(deltas: Sequence[int | None]) -> bytes:
    """Statuses and deltas where all packets came, in small steps: mostly so; b"" where not."""
    try:
        small = bytes(cast("Sequence[int]", deltas))
    except (TypeError, ValueError):  # one that is None, or not 0 to 255
        return b""
    return _CHUNK.pack(SMALL_DELTA << 13 | len(small)) + small if len(small) <= MAX_RUN else b""


def _any(deltas: Sequence[int | None]) -> bytes:
    """Statuses and deltas whatever came; raises ValueError."""
    statuses = bytes(map(_status, deltas))
    body = bytearray()
    for chunk in _chunks(statuses):
        body += _CHUNK.pack(chunk)
    try:
        for delta, status in zip(deltas, statuses, strict=True):
            if delta is not None:
                body += bytes((delta,)) if status == SMALL_DELTA else _LARGE_DELTA.pack(delta)
    except error as exc:
        raise ValueError("a receive delta has 16 bits") from exc
    return bytes(body)


def _status(delta: int | None) -> int:
    if delta is None:
        return NOT_RECEIVED
    return SMALL_DELTA if 0 <= delta <= 0xFF else LARGE_DELTA


def _chunks(statuses: bytes) -> Iterator[int]:
    """Status chunks (§3.1.1 to §3.1.5): a run where one is long, else a vector."""
    runs = ((status, len(list(same))) for status, same in groupby(statuses))
    status, run = next(runs)
    offset = 0
    while offset < len(statuses):
        one_bit = statuses[offset : offset + ONE_BIT_STATUSES]
        if run >= len(one_bit) or (run >= TWO_BIT_STATUSES and LARGE_DELTA in one_bit):
            taken = min(run, MAX_RUN)
            yield status << 13 | taken
        elif LARGE_DELTA in one_bit:
            two_bits = one_bit[:TWO_BIT_STATUSES].ljust(TWO_BIT_STATUSES, b"\0")
            taken = min(TWO_BIT_STATUSES, len(one_bit))
            yield 0xC000 | _pack(two_bits, 2)
        else:
            taken = len(one_bit)
            yield 0x8000 | _pack(one_bit.ljust(ONE_BIT_STATUSES, b"\0"), 1)
        offset += taken
        while taken >= run and offset < len(statuses):
            taken -= run
            status, run = next(runs)
        run -= taken


def _pack(statuses: bytes, bits: int) -> int:
    value = 0
    for status in statuses:
        value = value << bits | status
    return value


def _read_statuses(data: bytes, offset: int, end: int, count: int) -> tuple[bytes, int]:
    statuses = bytearray()
    while len(statuses) < count:
        if offset + 2 > end:
            raise ProtocolError("transport feedback with too few statuses")
        (chunk,) = _CHUNK.unpack_from(data, offset)
        offset += 2
        if not chunk & 0x8000:
            statuses += bytes((chunk >> 13,)) * (chunk & MAX_RUN)
        elif chunk & 0x4000:
            statuses += bytes(chunk >> shift & 3 for shift in range(12, -1, -2))
        else:
            statuses += bytes(chunk >> shift & 1 for shift in range(13, -1, -1))
    return bytes(statuses[:count]), offset


def _read_deltas(data: bytes, offset: int, end: int, statuses: bytes) -> list[int | None]:
    deltas: list[int | None] = []
    for status in statuses:
        if status == NOT_RECEIVED:
            deltas.append(None)
            continue
        size = 1 if status == SMALL_DELTA else 2
        if status > LARGE_DELTA or offset + size > end:
            raise ProtocolError("transport feedback with malformed deltas")
        small = status == SMALL_DELTA
        deltas.append(data[offset] if small else _LARGE_DELTA.unpack_from(data, offset)[0])
        offset += size
    return deltas


def _deltas(arrivals: Sequence[float | None], last: int) -> list[int | None]:
    """Ticks from each to the next that came, as far as 16 bits reach; `last` is before the first."""
    deltas: list[int | None] = []
    for arrival in arrivals:
        if arrival is None:
            deltas.append(None)
            continue
        ticks = int(arrival * TICKS_PER_S)
        if not -0x8000 <= ticks - last <= 0x7FFF:
            break
        deltas.append(ticks - last)
        last = ticks
    return deltas


class Arrivals:
    """What came of one transport's numbered packets, and the feedback about it.

    To `came` is appended what comes: its 16-bit number, and when, in monotonic seconds. Every number
    up to the newest that came is reported, and one that comes late once more, with those after it.
    Bounded: what is unreported spans MAX_STEP numbers at most, and MAX_REMEMBERED of those that were
    reported are remembered, and as many that came since.
    """

    __slots__ = ("_arrivals", "_count", "_highest", "_next", "came")

    def __init__(self) -> None:
        self.came: deque[tuple[int, float]] = deque(maxlen=MAX_REMEMBERED)
        self._arrivals: dict[int, float] = {}
        self._highest = -1
        self._next = 0  # the first number of the next feedback
        self._count = 0

    def _settle(self) -> None:
        """Give what came its place."""
        arrivals, following = self._arrivals, self._highest + 1
        for sequence, now in self.came:
            if sequence == following & 0xFFFF and 0 < following < self._next + MAX_STEP:
                arrivals[following] = now  # nearly always
                self._highest = following
            else:
                self._record(sequence, now)
            following = self._highest + 1
        self.came.clear()

    def _record(self, sequence: int, now: float) -> None:
        if self._highest < 0:
            self._begin(sequence + 0x1_0000)  # so that one from before it has a number too
        number = extend(sequence, self._highest)
        if number > self._highest:
            if number - self._next >= MAX_STEP:
                self._begin(number)
            self._highest = number
        elif number < self._next:
            if number <= self._highest - MAX_STEP or number in self._arrivals:
                return
            self._next = number
        self._arrivals.setdefault(number, now)

    def feedbacks(self, sender_ssrc: int, media_ssrc: int, now: float) -> list[TransportFeedback]:
        """What is to be told since the last call, oldest first."""
        self._settle()
        told = []
        while self._next <= self._highest:
            feedback = self._feedback(sender_ssrc, media_ssrc)
            told.append(feedback)
            self._next += len(feedback.deltas)
            self._count = (self._count + 1) & 0xFF
        self._forget(now - REMEMBERED_S)
        return told

    def _begin(self, number: int) -> None:
        self._arrivals.clear()
        self._next = number
        self._highest = number

    def _feedback(self, sender_ssrc: int, media_ssrc: int) -> TransportFeedback:
        """From the next number on, as far as one packet and 16 bits of delta reach."""
        arrivals = self._arrivals
        numbers = range(self._next, min(self._highest + 1, self._next + MAX_STATUSES))
        unreported = range(self._next, self._highest + 1)
        first = next((arrivals[number] for number in unreported if number in arrivals), 0.0)
        reference = int(first * TICKS_PER_S) // TICKS_PER_REFERENCE
        came = [arrivals.get(number) for number in numbers]
        deltas = _deltas(came, reference * TICKS_PER_REFERENCE)
        return TransportFeedback(
            sender_ssrc,
            media_ssrc,
            self._next & 0xFFFF,
            reference & 0xFF_FFFF,
            self._count,
            deltas,
        )

    def _forget(self, before: float) -> None:
        """Insertion is in the order of arrival, so that the oldest stand first."""
        excess = len(self._arrivals) - MAX_REMEMBERED
        old: list[int] = []
        for number, arrival in self._arrivals.items():
            if arrival >= before and len(old) >= excess:
                break
            old.append(number)
        for number in old:
            del self._arrivals[number]
