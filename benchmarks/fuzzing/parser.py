"""One parser, and what becomes of it under damaged input."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from benchmarks.fuzzing.mutations import mutated
from mediaserver.errors import ProtocolError


class Unexpected(Exception):
    """A parser raised what no peer may bring about; holds all that is needed to see it again."""

    def __init__(self, parser: str, data: bytes, error: str) -> None:
        super().__init__(parser, data, error)
        self.parser, self.data, self.error = parser, data, error

    def __str__(self) -> str:
        return f"{self.parser}: {self.error} for {self.data.hex()}"


@dataclass(frozen=True, slots=True)
class Parser:
    """`parse` takes one whole input with no memory of others; what it may raise is of `refusal`."""

    name: str
    seeds: Sequence[bytes]
    parse: Callable[[bytes], object]
    refusal: type[Exception] = ProtocolError


@dataclass(frozen=True, slots=True)
class Outcome:
    """`slowest_s` is the longest that one input took."""

    inputs: int
    refused: int
    took_s: float
    slowest_s: float


def fuzz(parser: Parser, inputs: int, seed: int) -> Outcome:
    """Feed it damaged copies of its seeds, the same for the same `seed`; raises Unexpected."""
    chance = random.Random(f"{parser.name} {seed}")
    refused, slowest_s = 0, 0.0
    blame = _Blame(parser)
    began_s = before_s = time.process_time()
    with blame:
        for number in range(inputs):
            blame.data = mutated(parser.seeds[number % len(parser.seeds)], chance)
            try:
                parser.parse(blame.data)
            except parser.refusal:
                refused += 1
            now_s = time.process_time()
            slowest_s, before_s = max(slowest_s, now_s - before_s), now_s
    return Outcome(inputs, refused, before_s - began_s, slowest_s)


class _Blame:
    """Says which input an error came of."""

    def __init__(self, parser: Parser) -> None:
        self.data = b""
        self._parser = parser

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            raise Unexpected(self._parser.name, self.data, repr(error)) from error
