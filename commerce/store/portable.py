"""What a store holds as rows that any store can take: the shape of backups and of moves.

A row is a tuple that begins with its kind:

    ("item", key, value, version)     ("place", index, key, sort)      ("stream", name, last seq)
    ("event", stream, seq, body)      ("done", commit id, UTC ms, {stream: seq}), oldest first

Other rows come in any order. Together with `number`, that of the last commit, they are all there is:
versions and numbers go on from where they were, so nothing that was remembered outside comes twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeAlias

import msgpack

from commerce.store.migrations import RECORDS, RecordStep, convert

Row: TypeAlias = tuple[Any, ...]
Progress: TypeAlias = Callable[[int, int], None]  # rows done, rows expected

KINDS = ("item", "place", "stream", "event", "done")
ROWS_AT_ONCE = 1_000  # some 500 kB
DIGEST_MODULUS = 1 << 256


class PortableError(Exception):
    """A store or a file that cannot be read or written so; says why in words, nothing was changed."""


class Source(Protocol):
    """A store as it was at one commit."""

    @property
    def number(self) -> int:
        """Of the last commit."""

    @property
    def records(self) -> int:
        """The format of the values."""

    def expected(self) -> int:
        """How many rows there are, about."""

    def rows(self) -> Iterator[Row]:
        """All rows of that one commit."""


class Sink(Protocol):
    """An empty store that holds nothing for anybody until `finish`."""

    def put(self, rows: Sequence[Row]) -> None:
        """Write some of the rows."""

    def finish(self, number: int) -> None:
        """All rows are there: the store is whole, durable, and may be opened."""


class Place(Protocol):
    """Where a shop is, or shall be; its text names it without secrets. All raise PortableError."""

    def reading(self) -> AbstractContextManager[Source]:
        """The store as it is now, while others go on writing it."""

    def leaving(self, to: str) -> AbstractContextManager[Source]:
        """The store while nobody uses it; from then on it is refused, naming `to`."""

    def replacing(self) -> AbstractContextManager[Sink]:
        """A new store, which takes the place of what is there only when it is finished."""

    def is_empty(self) -> bool:
        """Whether nothing is lost where another takes its place."""


@dataclass(slots=True)
class Tally:
    """How many rows of each kind, and a digest that does not depend on their order."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    digest: int = 0

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.counts[row[0]] += 1
            hashed = hashlib.sha256(pack_row(row)).digest()
            self.digest = (self.digest + int.from_bytes(hashed)) % DIGEST_MODULUS

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    def to_map(self) -> Mapping[str, Any]:
        return {"counts": self.counts, "digest": f"{self.digest:064x}"}


def pack_row(row: Row) -> bytes:
    """A msgpack array; members of maps sorted, so that equal rows are equal bytes."""
    if row[0] == "done":
        row = (*row[:3], dict(sorted(row[3].items())))
    packed: bytes = msgpack.packb(row)
    return packed


def pages(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows, ROWS_AT_ONCE of them in a list."""
    rows = iter(rows)
    while page := list(islice(rows, ROWS_AT_ONCE)):
        yield page


def converted(
    rows: Iterable[Row], records: int, steps: Sequence[RecordStep] = RECORDS
) -> Iterator[Row]:
    """Rows with values of format `records` as this version of the program keeps them."""
    for row in rows:
        if row[0] == "item":
            row = ("item", row[1], convert(row[1], row[2], records, steps), row[3])
        yield row


def copy(source: Source, sink: Sink, progress: Progress) -> Tally:
    """Every row of `source` into `sink`, which is whole afterwards; what was written."""
    tally, expected = Tally(), source.expected()
    for page in pages(converted(source.rows(), source.records)):
        sink.put(page)
        tally.add(page)
        progress(tally.rows, max(expected, tally.rows))
    sink.finish(source.number)
    return tally


def move(origin: Place, target: Place, progress: Progress) -> Tally:
    """Everything of `origin` into the empty `target`, read again and compared; then it has moved.

    Raises PortableError; whatever breaks on the way, `origin` is as it was.
    """
    if not target.is_empty():
        raise PortableError(f"{target} is not empty")
    with origin.leaving(str(target)) as source:
        with target.replacing() as sink:
            tally = copy(source, sink, progress)
        with target.reading() as written:
            if written.number != source.number or tallied(written) != tally:
                raise PortableError(f"what was read back from {target} is not what was written")
    return tally


def tallied(source: Source) -> Tally:
    """What `source` holds."""
    tally = Tally()
    tally.add(converted(source.rows(), source.records))
    return tally
