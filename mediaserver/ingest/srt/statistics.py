"""What libsrt counts of a connection (SRT_TRACEBSTATS in srt.h)."""

from __future__ import annotations

from ctypes import Structure, c_char, c_double, c_int, c_int64, c_uint64
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one connection since it began.

    `lost` packets were missing at first; of them `retransmitted` came again and `dropped` did not come
    in time. `undecrypted` had another passphrase.
    """

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    retransmitted: int = 0
    dropped: int = 0
    undecrypted: int = 0
    rtt_ms: float = 0.0


_LAYOUT = (
    # since the connection began
    (c_int64, "_ms _sent packets"),
    (c_int, "_send_lost lost _resent _sent_acks _acks _sent_naks _naks"),
    (c_int64, "_sending_us"),
    (c_int, "_send_dropped dropped undecrypted"),
    (
        c_uint64,
        "_sent_bytes bytes _lost_bytes _resent_bytes _send_dropped_bytes _dropped_bytes _bad",
    ),
    # since the counters were cleared, which we never do
    (c_int64, "_1 _2"),
    (c_int, "_3 _4 _5 retransmitted _6 _7 _8 _9"),
    (c_double, "_10 _11"),
    (c_int64, "_12"),
    (c_int, "_13"),
    (c_double, "_14"),
    (c_int64, "_15"),
    (c_int, "_16 _17 _18"),
    (c_uint64, "_19 _20 _21 _22 _23 _24 _25"),
    # now
    (c_double, "_period_us"),
    (c_int, "_window _congestion _flight"),
    (c_double, "rtt_ms"),
    (c_char * 1024, "_rest"),  # some 200 bytes in 1.5; what later versions add goes behind
)


class RawStatistics(Structure):
    """The C structure, its fields named where they are read."""

    _fields_ = [(name, kind) for kind, names in _LAYOUT for name in names.split()]

    def read(self) -> Statistics:
        return Statistics(
            self.packets,
            self.bytes,
            self.lost,
            self.retransmitted,
            self.dropped,
            self.undecrypted,
            self.rtt_ms,
        )
