"""Damaged input for all that reads the wire: in `make test`, and by the million in `bench fuzz`."""

from benchmarks.fuzzing.mutations import mutations
from benchmarks.fuzzing.parser import Outcome, Parser, Unexpected, fuzz
from benchmarks.fuzzing.parsers import PARSERS

__all__ = ["PARSERS", "Outcome", "Parser", "Unexpected", "fuzz", "mutations"]
