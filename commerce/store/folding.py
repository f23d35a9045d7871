"""Folding: many commits, one transaction. Each is decided in turn on what those before it left.

Pure: the state that the batch reads comes in, the rows to write and each commit's answer go out, so a
refused commit costs its neighbours nothing and needs no savepoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from commerce.store.seam import ABSENT, COUNTER_LIMIT, BelowFloor, Commit, Conflict, Versioned

Outcome: TypeAlias = dict[str, int] | Exception


@dataclass(slots=True)
class Known:
    """What the batch needs to know: answers to ids seen before, keys, last seq, last number."""

    answers: dict[str, dict[str, int]]
    items: dict[str, Versioned]
    seqs: dict[str, int]
    number: int


@dataclass(slots=True)
class Changes:
    """What the batch writes: the last state of each key and place, and every event."""

    items: dict[str, Versioned] = field(default_factory=dict)
    places: dict[tuple[str, str], str | None] = field(default_factory=dict)
    events: list[tuple[str, int, bytes]] = field(default_factory=list)
    seqs: dict[str, int] = field(default_factory=dict)
    answers: list[tuple[int, str, dict[str, int]]] = field(default_factory=list)


def fold(commits: Iterable[Commit], known: Known) -> tuple[list[Outcome], Changes]:
    """Each commit's answer or refusal, in order, and the changes of those that were accepted."""
    changes = Changes()
    outcomes: list[Outcome] = []
    for commit in commits:
        earlier = known.answers.get(commit.id)
        if earlier is not None:
            outcomes.append(dict(earlier))
            continue
        try:
            counters = _check(commit, known.items)
        except (Conflict, BelowFloor, ValueError) as refusal:
            outcomes.append(refusal)
            continue
        outcomes.append(_apply(commit, counters, known, changes))
    return outcomes, changes


def _check(commit: Commit, items: Mapping[str, Versioned]) -> dict[str, int]:
    for key, version in commit.reads.items():
        current = items.get(key, ABSENT)[1]
        if current != version:
            raise Conflict(key, current)
    counters = {}
    for key, (delta, floor) in commit.adds.items():
        counter = int(items.get(key, ABSENT)[0] or b"0")
        if counter + delta < floor:
            raise BelowFloor(key, counter)
        if abs(counter + delta) > COUNTER_LIMIT:
            raise ValueError(f"counter {key} would pass {COUNTER_LIMIT}")
        counters[key] = counter + delta
    return counters


def _apply(
    commit: Commit, counters: Mapping[str, int], known: Known, changes: Changes
) -> dict[str, int]:
    known.number += 1
    number = known.number
    for key, value in commit.writes.items():
        changes.items[key] = known.items[key] = ABSENT if value is None else (value, number)
    for key, counter in counters.items():
        changes.items[key] = known.items[key] = (b"%d" % counter, number)
    changes.places.update(commit.index)
    answer = {}
    for stream, event in commit.events:
        seq = known.seqs.get(stream, 0) + 1
        known.seqs[stream] = changes.seqs[stream] = answer[stream] = seq
        changes.events.append((stream, seq, event))
    known.answers[commit.id] = answer
    changes.answers.append((number, commit.id, answer))
    return answer
