"""RTCP (RFC 3550 §6), feedback (RFC 4585, RFC 5104) and REMB (draft-alvestrand-rmcat-remb-03).

Hot path: every viewer sends a receiver report and a REMB a few times per second, a NACK per loss.
Packet types that nobody here listens to (transport-cc, XR, APP) are stepped over by their length.
Several serialized packets one after the other are one compound packet; RFC 3550 wants a report
first and an SDES in it, RFC 5506 (a=rtcp-rsize) lets feedback go alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct

from mediaserver.errors import ProtocolError

SENDER_REPORT = 200
RECEIVER_REPORT = 201
SDES = 202
BYE = 203
TRANSPORT_FEEDBACK = 205
PAYLOAD_FEEDBACK = 206

FORMAT_NACK = 1
FORMAT_PLI = 1
FORMAT_FIR = 4
FORMAT_APPLICATION = 15  # REMB, if it says so

SDES_CNAME = 1
MAX_COUNT = 31  # reports, chunks or sources in one packet: the field has five bits
MAX_SDES_TEXT_BYTES = 255
NTP_EPOCH_S = 2_208_988_800  # 1900-01-01 to 1970-01-01

_HEADER = Struct(">BBH")
_U32 = Struct(">I")
_SSRC_PAIR = Struct(">II")
_SENDER_INFO = Struct(">IQIII")
_REPORT_BLOCK = Struct(">IIIIII")
_FEEDBACK = Struct(">BBHII")
_FIR_ENTRY = Struct(">IB3x")
_NACK_ENTRY = Struct(">HH")
_REMB = Struct(">4sI")


@dataclass(slots=True)
class ReportBlock:
    """What a receiver says of one source (RFC 3550 §6.4.1).

    `fraction_lost` is in 1/256, `cumulative_lost` signed (duplicates count against it), `jitter` in
    ticks of the media clock, `last_sr` the middle 32 bits of the NTP time of the last SR (0 when
    there was none) and `delay_since_last_sr` in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int
    delay_since_last_sr: int


@dataclass(slots=True)
class SenderReport:
    """`ntp` is 64 bits: seconds since 1900 and their 2**-32 fractions."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packet_count: int
    octet_count: int
    reports: list[ReportBlock] = field(default_factory=list)


@dataclass(slots=True)
class ReceiverReport:
    ssrc: int
    reports: list[ReportBlock] = field(default_factory=list)


@dataclass(slots=True)
class Sdes:
    """Source descriptions; of their items only CNAME is kept."""

    cnames: dict[int, str]


@dataclass(slots=True)
class Bye:
    ssrcs: list[int]
    reason: str = ""


@dataclass(slots=True)
class Nack:
    """Generic NACK (RFC 4585 §6.2.1); `sequences` are 16-bit and in the order asked for."""

    sender_ssrc: int
    media_ssrc: int
    sequences: list[int]


@dataclass(slots=True)
class Pli:
    sender_ssrc: int
    media_ssrc: int


@dataclass(slots=True)
class Fir:
    """Full intra request (RFC 5104 §4.3.1); `entries` are (media ssrc, command sequence)."""

    sender_ssrc: int
    entries: list[tuple[int, int]]


@dataclass(slots=True)
class Remb:
    """Receiver estimated maximum bitrate, in bit/s, over all `ssrcs` together."""

    sender_ssrc: int
    bitrate: int
    ssrcs: list[int]


RtcpPacket = SenderReport | ReceiverReport | Sdes | Bye | Nack | Pli | Fir | Remb


def is_rtcp(data: bytes) -> bool:
    """Whether an RTP-or-RTCP datagram, encrypted or not, is RTCP (RFC 5761 §4)."""
    return len(data) >= 4 and 192 <= data[1] <= 223


def parse(data: bytes) -> list[RtcpPacket]:
    """Read a compound packet; ProtocolError if any part of it is malformed.

    Unknown packet types and feedback formats are left out.
    """
    packets: list[RtcpPacket] = []
    size = len(data)
    offset = 0
    if not size:
        raise ProtocolError("RTCP packet empty")
    while offset < size:
        if offset + 4 > size:
            raise ProtocolError("RTCP header cut short")
        first, kind, words = _HEADER.unpack_from(data, offset)
        if first >> 6 != 2:
            raise ProtocolError("not RTCP version 2")
        following = offset + 4 + 4 * words
        if following > size:
            raise ProtocolError("RTCP length beyond the datagram")
        reader = _READERS.get(kind)
        if reader is not None:
            end = following
            if first & 0x20:
                padding = data[following - 1]
                # RFC 3550 §6.4.1: a multiple of four, and only at the end of the compound.
                if not padding or padding & 3 or padding > 4 * words or following != size:
                    raise ProtocolError("RTCP padding malformed")
                end -= padding
            packet = reader(data, offset + 4, end, first & 0x1F)
            if packet is not None:
                packets.append(packet)
        offset = following
    return packets


def _sender_report(data: bytes, start: int, end: int, count: int) -> SenderReport:
    if start + 24 + 24 * count > end:
        raise ProtocolError("RTCP sender report cut short")
    ssrc, ntp, rtp_timestamp, packet_count, octet_count = _SENDER_INFO.unpack_from(data, start)
    reports = _report_blocks(data, start + 24, count)
    return SenderReport(ssrc, ntp, rtp_timestamp, packet_count, octet_count, reports)


def _receiver_report(data: bytes, start: int, end: int, count: int) -> ReceiverReport:
    if start + 4 + 24 * count > end:
        raise ProtocolError("RTCP receiver report cut short")
    ssrc = _U32.unpack_from(data, start)[0]
    return ReceiverReport(ssrc, _report_blocks(data, start + 4, count))


def _report_blocks(data: bytes, start: int, count: int) -> list[ReportBlock]:
    blocks = []
    for offset in range(start, start + 24 * count, 24):
        ssrc, lost, highest, jitter, last_sr, delay = _REPORT_BLOCK.unpack_from(data, offset)
        cumulative = lost & 0xFF_FFFF
        if cumulative & 0x80_0000:
            cumulative -= 0x100_0000
        blocks.append(ReportBlock(ssrc, lost >> 24, cumulative, highest, jitter, last_sr, delay))
    return blocks


def _sdes(data: bytes, start: int, end: int, count: int) -> Sdes:
    cnames: dict[int, str] = {}
    offset = start
    for _ in range(count):
        if offset + 4 > end:
            raise ProtocolError("RTCP SDES chunk cut short")
        ssrc = _U32.unpack_from(data, offset)[0]
        offset += 4
        while True:
            if offset >= end:
                raise ProtocolError("RTCP SDES chunk without an end")
            item = data[offset]
            if item == 0:
                break
            if offset + 2 > end or offset + 2 + data[offset + 1] > end:
                raise ProtocolError("RTCP SDES item cut short")
            text = data[offset + 2 : offset + 2 + data[offset + 1]]
            if item == SDES_CNAME:
                cnames[ssrc] = text.decode(errors="replace")
            offset += 2 + len(text)
        # One to four null bytes close a chunk at the next 32-bit boundary.
        offset += 4 - (offset - start) % 4
    if offset > end:
        raise ProtocolError("RTCP SDES chunk without an end")
    return Sdes(cnames)


def _bye(data: bytes, start: int, end: int, count: int) -> Bye:
    text = start + 4 * count
    if text > end:
        raise ProtocolError("RTCP BYE cut short")
    ssrcs = [_U32.unpack_from(data, offset)[0] for offset in range(start, text, 4)]
    if text == end:
        return Bye(ssrcs)
    if text + 1 + data[text] > end:
        raise ProtocolError("RTCP BYE reason cut short")
    return Bye(ssrcs, data[text + 1 : text + 1 + data[text]].decode(errors="replace"))


def _transport_feedback(data: bytes, start: int, end: int, count: int) -> Nack | None:
    if count != FORMAT_NACK:
        return None
    if start + 8 > end:
        raise ProtocolError("RTCP NACK cut short")
    sender_ssrc, media_ssrc = _SSRC_PAIR.unpack_from(data, start)
    sequences: list[int] = []
    for offset in range(start + 8, end, 4):
        sequence, following = _NACK_ENTRY.unpack_from(data, offset)
        sequences.append(sequence)
        while following:
            lowest = following & -following
            sequences.append((sequence + lowest.bit_length()) & 0xFFFF)
            following ^= lowest
    return Nack(sender_ssrc, media_ssrc, sequences)


def _payload_feedback(data: bytes, start: int, end: int, count: int) -> Pli | Fir | Remb | None:
    if start + 8 > end:
        raise ProtocolError("RTCP payload feedback cut short")
    sender_ssrc, media_ssrc = _SSRC_PAIR.unpack_from(data, start)
    if count == FORMAT_PLI:
        return Pli(sender_ssrc, media_ssrc)
    if count == FORMAT_APPLICATION:
        return _remb(data, start + 8, end, sender_ssrc)
    if count == FORMAT_FIR:
        if (end - start) & 7:
            raise ProtocolError("RTCP FIR cut short")
        entries = range(start + 8, end, 8)
        return Fir(sender_ssrc, [_FIR_ENTRY.unpack_from(data, offset) for offset in entries])
    return None


def _remb(data: bytes, start: int, end: int, sender_ssrc: int) -> Remb | None:
    if start + 8 > end:
        return None  # another application's message
    name, estimate = _REMB.unpack_from(data, start)
    if name != b"REMB":
        return None
    count = estimate >> 24
    if start + 8 + 4 * count > end:
        raise ProtocolError("RTCP REMB cut short")
    bitrate = (estimate & 0x3_FFFF) << (estimate >> 18 & 0x3F)
    ssrcs = [_U32.unpack_from(data, offset)[0] for offset in range(start + 8, end, 4)[:count]]
    return Remb(sender_ssrc, bitrate, ssrcs)


_READERS: dict[int, Callable[[bytes, int, int, int], RtcpPacket | None]] = {
    SENDER_REPORT: _sender_report,
    RECEIVER_REPORT: _receiver_report,
    SDES: _sdes,
    BYE: _bye,
    TRANSPORT_FEEDBACK: _transport_feedback,
    PAYLOAD_FEEDBACK: _payload_feedback,
}


def serialize_sender_report(report: SenderReport, cname: str) -> bytes:
    """The compound of a sender report and the SDES with the CNAME of its source."""
    return (
        _HEADER.pack(0x80 | _count(report.reports), SENDER_REPORT, 6 + 6 * len(report.reports))
        + _SENDER_INFO.pack(
            report.ssrc, report.ntp, report.rtp_timestamp, report.packet_count, report.octet_count
        )
        + _pack_blocks(report.reports)
        + serialize_sdes(report.ssrc, cname)
    )


def serialize_receiver_report(report: ReceiverReport) -> bytes:
    return (
        _HEADER.pack(0x80 | _count(report.reports), RECEIVER_REPORT, 1 + 6 * len(report.reports))
        + _U32.pack(report.ssrc)
        + _pack_blocks(report.reports)
    )


def serialize_sdes(ssrc: int, cname: str) -> bytes:
    """One chunk with one CNAME, of at most 255 bytes."""
    text = cname.encode()
    if len(text) > MAX_SDES_TEXT_BYTES:
        raise ValueError("a CNAME is at most 255 bytes")
    chunk = _U32.pack(ssrc) + bytes((SDES_CNAME, len(text))) + text
    chunk += bytes(4 - len(chunk) % 4)
    return _HEADER.pack(0x81, SDES, len(chunk) // 4) + chunk


def serialize_bye(ssrcs: Sequence[int], reason: str = "") -> bytes:
    body = b"".join(map(_U32.pack, ssrcs))
    if reason:
        text = reason.encode()
        if len(text) > MAX_SDES_TEXT_BYTES:
            raise ValueError("a BYE reason is at most 255 bytes")
        body += bytes((len(text),)) + text
        body += bytes(-len(body) & 3)
    return _HEADER.pack(0x80 | _count(ssrcs), BYE, len(body) // 4) + body


def serialize_nack(sender_ssrc: int, media_ssrc: int, sequences: Sequence[int]) -> bytes:
    """`sequences` are 16-bit, in sending order; those up to 16 after a first share its entry."""
    entries = bytearray()
    first: int | None = None
    following = 0
    for sequence in sequences:
        if first is not None:
            distance = (sequence - first) & 0xFFFF
            if distance <= 16:
                if distance:
                    following |= 1 << (distance - 1)
                continue
            entries += _NACK_ENTRY.pack(first, following)
        first, following = sequence, 0
    if first is not None:
        entries += _NACK_ENTRY.pack(first, following)
    header = _FEEDBACK.pack(
        0x80 | FORMAT_NACK, TRANSPORT_FEEDBACK, 2 + len(entries) // 4, sender_ssrc, media_ssrc
    )
    return header + entries


def serialize_pli(sender_ssrc: int, media_ssrc: int) -> bytes:
    return _FEEDBACK.pack(0x80 | FORMAT_PLI, PAYLOAD_FEEDBACK, 2, sender_ssrc, media_ssrc)


def serialize_fir(sender_ssrc: int, media_ssrc: int, command: int) -> bytes:
    """`command` is 8 bits and goes up by one with every new request (not with a repetition)."""
    header = _FEEDBACK.pack(0x80 | FORMAT_FIR, PAYLOAD_FEEDBACK, 4, sender_ssrc, 0)
    return header + _FIR_ENTRY.pack(media_ssrc, command)


def serialize_remb(sender_ssrc: int, bitrate: int, ssrcs: Sequence[int]) -> bytes:
    """`bitrate` in bit/s, rounded down to 18 significant bits."""
    exponent = max(bitrate.bit_length() - 18, 0)
    estimate = len(ssrcs) << 24 | exponent << 18 | bitrate >> exponent
    header = _FEEDBACK.pack(
        0x80 | FORMAT_APPLICATION, PAYLOAD_FEEDBACK, 4 + len(ssrcs), sender_ssrc, 0
    )
    return header + _REMB.pack(b"REMB", estimate) + b"".join(map(_U32.pack, ssrcs))


def ntp_from_utc_ms(utc_ms: float) -> int:
    """The 64-bit NTP time (RFC 3550 §4) of a UTC time in ms since 1970."""
    return round((utc_ms + NTP_EPOCH_S * 1000) * 0x1_0000_0000) // 1000 & 0xFFFF_FFFF_FFFF_FFFF


def utc_ms_from_ntp(ntp: int) -> float:
    """UTC in ms since 1970; an NTP time whose top bit is clear is one after 2036-02-07."""
    if not ntp >> 63:
        ntp += 1 << 64
    return (ntp - (NTP_EPOCH_S << 32)) * 1000 / 0x1_0000_0000


def compact_ntp(ntp: int) -> int:
    """The middle 32 bits, in 1/65536 s: what `last_sr` echoes."""
    return ntp >> 16 & 0xFFFF_FFFF


def round_trip_s(report: ReportBlock, now_ntp: int) -> float | None:
    """The round trip to the reporting receiver, in seconds (RFC 3550 §6.4.1); None before an SR."""
    if not report.last_sr:
        return None
    ticks = (compact_ntp(now_ntp) - report.last_sr - report.delay_since_last_sr) & 0xFFFF_FFFF
    # A clock read too coarsely on the other side can put the sum a hair below zero.
    return ticks / 65536 if ticks < 0x8000_0000 else 0.0


def _count(items: Sequence[object]) -> int:
    if len(items) > MAX_COUNT:
        raise ValueError("RTCP has five bits for a count")
    return len(items)


def _pack_blocks(reports: Sequence[ReportBlock]) -> bytes:
    return b"".join(
        _REPORT_BLOCK.pack(
            block.ssrc,
            block.fraction_lost << 24 | block.cumulative_lost & 0xFF_FFFF,
            block.highest_sequence,
            block.jitter,
            block.last_sr,
            block.delay_since_last_sr,
        )
        for block in reports
    )
