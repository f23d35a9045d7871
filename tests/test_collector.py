"""The collector on a real loop, with real cycles."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from mediaserver import collector
from mediaserver.collector import Collector


class Ring:
    """An object that only the cyclic collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(collector, "YOUNG_S", 0.01)
    yield
    gc.unfreeze()


async def until(met: Callable[[], bool]) -> bool:
    for _ in range(500):
        if met():
            return True
        await asyncio.sleep(0.01)
    return False


async def test_what_is_young_is_collected_and_what_stays_is_set_aside() -> None:
    collecting = Collector(quiet=lambda: False)
    collecting.start()
    before = gc.get_freeze_count()
    ring = weakref.ref(Ring())
    kept = [[number] for number in range(5000)]
    assert await until(lambda: gc.get_freeze_count() > before + len(kept) // 2)
    assert await until(lambda: ring() is None)
    collecting.stop()
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("quiet", [True, False])
async def test_an_old_cycle_is_found_in_a_quiet_moment_or_when_much_has_come(
    monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    monkeypatch.setattr(collector, "WORTH_OBJECTS", 5000)
    monkeypatch.setattr(collector, "COUNT_S", 0.0)
    settled = False
    collecting = Collector(quiet=lambda: settled and quiet)
    collecting.start()
    kept = gc.get_freeze_count()
    ring: Ring | None = Ring()
    gc.freeze()
    gone = weakref.ref(ring)
    ring = None
    gc.collect()
    assert gone() is not None  # set aside: no collection looks there
    crowd = [[number] for number in range(10_000)]
    if not quiet:
        gc.freeze()
        monkeypatch.setattr(collector, "MOST_OBJECTS", 5000 - kept)
    settled = True
    assert await until(lambda: gone() is None)
    assert len(crowd) == 10_000
    collecting.stop()


async def test_nothing_is_looked_through_while_much_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sale over HTTP has no session open, and a look through everything would hold each buyer up."""
    monkeypatch.setattr(collector, "WORTH_OBJECTS", 5000)
    monkeypatch.setattr(collector, "IDLE_OBJECTS", 3000)
    collecting = Collector(quiet=lambda: True)
    collecting.start()
    ring: Ring | None = Ring()
    gc.freeze()
    gone = weakref.ref(ring)
    ring = None
    crowd = []
    for _ in range(5):
        more = [[number] for number in range(4000)]
        frozen = gc.get_freeze_count()
        crowd.append(more)
        assert await until(lambda frozen=frozen: gc.get_freeze_count() > frozen)  # type: ignore[misc]
        assert gone() is not None
    assert await until(lambda: gone() is None)
    collecting.stop()
