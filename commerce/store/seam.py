"""The one seam below commerce and overlay: values with versions, guarded counters, indexes, events.

A `Commit` is all or nothing and durable when `commit` returns. What it holds:

* `reads` {key: version}: refused with `Conflict` unless each key still has that version. A version is
  the number of the commit that last wrote the key, 0 where there is none, so it never comes twice,
  not even for a key that was deleted and made again.
* `writes` {key: bytes, or None to delete}.
* `adds` {key: (delta, floor)}: guarded counters, refused with `BelowFloor` if the sum would be less
  than the floor. A counter is an integer in ASCII decimal digits, absent is 0, within 2**53 either
  way (a Redis script counts in doubles). Hot counters are never put into `reads`.
* `index` {(index, key): sort}: puts the key at `sort` in the index, where it has one place at most;
  None takes it out.
* `events` [(stream, bytes)]: each stream counts its own from 1 without gaps; the oldest may be
  forgotten.

`commit_id` makes a repeated commit harmless: the second one gets the first one's answer and changes
nothing. A refused commit leaves no trace, its id is free. Ids are remembered for
`COMMIT_ID_KEPT_MS`, and at most the latest `COMMIT_IDS_KEPT` of them: enough for any retry after a
lost answer. Whoever must remember longer (an order's Idempotency-Key) writes a key for it.

A key may stand in only one of `writes` and `adds`. Keys, index names, sorts and streams are text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

Versioned: TypeAlias = tuple[bytes | None, int]

ABSENT: Versioned = (None, 0)
COUNTER_LIMIT = 2**53
COMMIT_ID_KEPT_MS = 3_600_000
COMMIT_IDS_KEPT = 1_000_000
INDEX_END = "\U0010ffff"  # sorts after every text that does not begin with it


class Conflict(Exception):
    """A key that was read has been written since; load again and decide again."""

    def __init__(self, key: str, version: int) -> None:
        super().__init__(f"{key} is at version {version}")
        self.key = key
        self.version = version


class BelowFloor(Exception):
    """A guarded add would have gone below its floor; `value` is what the counter holds."""

    def __init__(self, key: str, value: int) -> None:
        super().__init__(f"{key} is at {value}")
        self.key = key
        self.value = value


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as the stores pass it on; see the module's text for the fields."""

    id: str
    reads: Mapping[str, int] = field(default_factory=dict)
    writes: Mapping[str, bytes | None] = field(default_factory=dict)
    adds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    index: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    events: Sequence[tuple[str, bytes]] = ()


class Prunable(Protocol):
    """A store whose streams can be shortened at their old end; their numbers go on."""

    async def streams(self, after: str, limit: int) -> list[tuple[str, int]]:
        """[(stream, number of its last event)] with names above `after`, in their order."""

    async def forget_events(self, stream: str, through: int) -> int:
        """Forget the events up to number `through`; how many there were."""


class Store(Protocol):
    """What every store does, SQLite or Redis."""

    def now_ms(self) -> int:
        """The store's clock, the same for all that share it: UTC ms."""

    async def load(self, keys: Iterable[str]) -> dict[str, Versioned]:
        """{key: (value, version)}, (None, 0) for a key that is not there."""

    async def scan(self, index: str, low: str, high: str, limit: int) -> list[str]:
        """Keys whose sort is at least `low` and below `high`, in order of (sort, key)."""

    async def commit(
        self,
        commit_id: str,
        *,
        reads: Mapping[str, int] | None = None,
        writes: Mapping[str, bytes | None] | None = None,
        adds: Mapping[str, tuple[int, int]] | None = None,
        index: Mapping[tuple[str, str], str | None] | None = None,
        events: Sequence[tuple[str, bytes]] = (),
    ) -> dict[str, int]:
        """{stream: seq of its last event here}; raises Conflict or BelowFloor."""

    async def events(self, stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """[(seq, event)] with seq above `after`, in order, without gaps."""

    async def settle(self) -> None:
        """Return when all that could be read is as durable as what a commit has answered.

        For an answer that is read, and not made by a commit of its own; raises StoreUnavailable.
        """

    async def close(self) -> None:
        """Finish what was asked for and let go; later calls are refused."""
