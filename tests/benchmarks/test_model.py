"""`hawker bench model`: a short run on every store finds nothing, and what is broken is found."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from benchmarks import model
from benchmarks.ledger.stores import STORES, sqlite
from commerce.store import Store


@pytest.mark.parametrize("store", STORES)
def test_a_short_walk_finds_nothing(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert model.main(["--steps", "1500", "--store", store]) == 0
    assert "violations" in capsys.readouterr().out


class Broken:
    """A store that leaves something out of each commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.load, self.scan, self.events, self.settle = (
            store.load,
            store.scan,
            store.events,
            store.settle,
        )

    async def commit(self, commit_id: str, **parts: Any) -> dict[str, int]:
        return await self._store.commit(commit_id, **self.changed(parts))

    def changed(self, parts: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError


class Unguarded(Broken):
    """Checks no version: two at once both write."""

    def changed(self, parts: dict[str, Any]) -> dict[str, Any]:
        return parts | {"reads": {}}


class Bottomless(Broken):
    """Checks no floor: the last piece is sold to all who ask at once."""

    def changed(self, parts: dict[str, Any]) -> dict[str, Any]:
        adds: Mapping[str, tuple[int, int]] = parts["adds"] or {}
        return parts | {"adds": {key: (delta, -(2**53)) for key, (delta, _) in adds.items()}}


class Silent(Broken):
    """Loses the events."""

    def changed(self, parts: dict[str, Any]) -> dict[str, Any]:
        return parts | {"events": ()}


class Forgetful(Broken):
    """Loses every fortieth commit that it has acknowledged."""

    commits = 0

    async def commit(self, commit_id: str, **parts: Any) -> dict[str, int]:
        self.commits += 1
        return {} if self.commits % 40 == 0 else await super().commit(commit_id, **parts)

    def changed(self, parts: dict[str, Any]) -> dict[str, Any]:
        return parts


class Repeating(Broken):
    """Applies a commit again, under another id, when its answer was lost."""

    async def commit(self, commit_id: str, **parts: Any) -> dict[str, int]:
        answer = await self._store.commit(commit_id, **parts)
        with contextlib.suppress(Exception):
            await self._store.commit(f"{commit_id} again", **(parts | {"reads": {}}))
        return answer

    def changed(self, parts: dict[str, Any]) -> dict[str, Any]:
        return parts


STEPS = 20_000  # ends with the first violation, which the weakest store shows within some 600


@pytest.mark.parametrize("broken", [Unguarded, Bottomless, Silent, Forgetful, Repeating])
async def test_a_broken_store_is_found_out(broken: type[Broken]) -> None:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Sequence[Any]]:
        async with sqlite() as stores:
            yield [broken(store) for store in stores]

    result = await model.run("broken", opened, STEPS, 1)
    assert result.violation, result.counts
    assert result.recent
