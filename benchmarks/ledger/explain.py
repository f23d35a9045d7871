"""Is there an order in which the model could have done what was done at once, with the same answers?

Acts that ran together, and acts whose process was killed over them, are tracks of atoms. Atoms of one
track keep their order. An answer that never came is None: such an atom was done or was not, and then
nothing after it in its track was. The first order that leads to what the store holds explains it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from benchmarks.ledger.books import Books
from benchmarks.ledger.sold import OK, REPLAYED, Sold

Atom: TypeAlias = Callable[[Books, str], bool]
TRIED_MAX = 20_000  # ways tried for one step
FEW = 3  # tracks, of which all orders are tried; of more those that lead to the same are tried once


@dataclass(frozen=True, slots=True)
class Track:
    """What one act did: (atom, its answer) one after the other."""

    atoms: Sequence[tuple[Atom, str | None]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the store holds, as far as the model speaks of it; `bound` {key: whether an act is}."""

    orders: Mapping[str, Sold]
    on_hand: Mapping[str, int]
    bound: Mapping[str, bool]
    claims: Mapping[str, int]

    def differs(self, books: Books) -> list[str]:
        """What the model would have otherwise, for the report of a violation."""
        told = {label: _as_seen(books, label) for label in books.orders}
        labels = sorted({*told, *self.orders})
        pairs = [(label, told.get(label), self.orders.get(label)) for label in labels]
        found = [f"{label}: model {one}, store {two}" for label, one, two in pairs if one != two]
        if books.on_hand != self.on_hand:
            found.append(f"on hand: model {books.on_hand}, store {self.on_hand}")
        if books.claims != self.claims:
            found.append(f"claims: model {books.claims}, store {self.claims}")
        return [*found, *(f"{key}: bound {bound}" for key, bound in self.bound.items())]

    def matches(self, books: Books) -> bool:
        if books.on_hand != self.on_hand or books.orders.keys() != self.orders.keys():
            return False
        if books.claims != self.claims:
            return False
        if any((key in books.bound) != bound for key, bound in self.bound.items()):
            return False
        for label, seen in self.orders.items():
            told = books.orders[label]
            if told != seen and _as_seen(books, label) != seen:
                return False
        return True


def _as_seen(books: Books, label: str) -> Sold:
    return replace(books.orders[label], state=books.state(label), whole=False)


def explain(books: Books, tracks: Sequence[Track], wanted: Wanted) -> Books | None:
    """The books after what was done, or None where no order of it leads there."""
    tried = 0
    been = set[Hashable]()
    waiting = [(books, tuple(track.atoms for track in tracks))]
    while waiting:
        tried += 1
        if tried > TRIED_MAX:
            raise OverflowError(f"more than {TRIED_MAX} orders of {len(tracks)} acts")
        now, left = waiting.pop()
        if len(tracks) > FEW:
            here = now.mark(), tuple(map(len, left))
            if here in been:
                continue
            been.add(here)
        if not any(left):
            if wanted.matches(now):
                return now
            continue
        for place in reversed(range(len(left))):
            if left[place]:
                waiting += _ways(now, left, place)
    return None


_Left: TypeAlias = tuple[Sequence[tuple[Atom, str | None]], ...]


def _ways(now: Books, left: _Left, place: int) -> list[tuple[Books, _Left]]:
    (atom, answer), *rest = left[place]
    after = (*left[:place], rest, *left[place + 1 :])
    ways = []
    if answer is None:  # not done, and so nothing after it
        ways.append((now, (*left[:place], (), *left[place + 1 :])))
    for each in (OK, REPLAYED) if answer is None else (answer,):
        books = now.copy()
        if atom(books, each):
            ways.append((books, after))
    return ways
