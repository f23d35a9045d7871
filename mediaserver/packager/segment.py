"""Media segments and their parts (RFC 8216bis §3): a segment is a list of fragments."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a segment begins, the same for all renditions.

    `media_time` in 90 kHz ticks of presentation; `wallclock_ms` is its UTC; `discontinuity` counts
    the discontinuities before it since the stream began.
    """

    media_time: int
    wallclock_ms: float
    discontinuity: int


@dataclass(frozen=True, slots=True)
class Part:
    """One fragment; `independent` if it begins with a sample that needs no other."""

    data: bytes
    duration_s: float
    independent: bool


@dataclass(slots=True)
class Segment:
    """What a playlist says of a segment, and its bytes once it is finished."""

    sequence: int
    name: str
    init_name: str
    wallclock_ms: float
    independent: bool
    discontinuity: int
    new_discontinuities: int  # EXT-X-DISCONTINUITY tags that stand before it
    parts: list[Part] = field(default_factory=list)
    samples: int = 0
    duration_s: float = 0.0
    data: bytes = b""

    @property
    def bits_per_s(self) -> float:
        return len(self.data) * 8 / self.duration_s
