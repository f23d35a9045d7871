"""Rounds: commands decided together see no difference to being alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from commerce.changes import Changes
from commerce.errors import OutOfStock, Refusal, StoreUnavailable
from commerce.rounds import ROUND_COMMANDS, ROUNDS_AT_ONCE, Rounds
from commerce.store import ABSENT, Store, Versioned
from tests.commerce.conftest import Open
from tests.commerce.shop import Shop

STOCK = "stock"


@dataclass
class Loaded:
    items: dict[str, Versioned]


class Till:
    """Takes pieces, a key for each taker; a taker named `bug` breaks it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sizes: list[int] = []
        self.rounds = Rounds(store, self.load, self.decide)

    async def load(self, takers: Sequence[str]) -> Loaded:
        self.sizes.append(len(takers))
        return Loaded(dict(await self.store.load([STOCK, *takers])))

    def decide(self, taker: str, loaded: Loaded) -> tuple[Changes | None, bytes]:
        if taker == "bug":
            raise ZeroDivisionError
        value, version = loaded.items[taker]
        if value is not None:
            return None, value
        left = int(loaded.items[STOCK][0] or b"0")
        if left < 1:
            raise OutOfStock([STOCK], held=False)
        changes = Changes(0)
        changes.reads[taker] = version
        changes.writes[taker] = b"%d" % left
        changes.add(STOCK, -1)
        return changes, b"%d" % left

    async def take(self, *takers: str) -> list[bytes | BaseException]:
        return await asyncio.gather(*map(self.rounds.do, takers), return_exceptions=True)


@pytest.fixture
async def till(open_store: Open) -> Till:
    store = await open_store()
    await store.commit("stock", adds={STOCK: (3, 0)})
    return Till(store)


async def test_who_waits_together_is_decided_in_turn_and_the_last_are_refused(till: Till) -> None:
    answers = await till.take(*"abcde")
    assert answers[:3] == [b"3", b"2", b"1"]
    assert all(isinstance(answer, OutOfStock) for answer in answers[3:])
    assert till.sizes == [5]
    assert (await till.store.load([STOCK]))[STOCK][0] == b"0"
    await till.store.close()


async def test_the_same_command_twice_in_a_round_is_done_once(till: Till) -> None:
    assert await till.take("a", "a", "b") == [b"3", b"3", b"2"]
    await till.store.close()


async def test_a_round_is_bounded(till: Till) -> None:
    takers = [f"t{n}" for n in range(ROUND_COMMANDS + 10)]
    answers = await till.take(*takers)
    assert sum(isinstance(answer, bytes) for answer in answers) == 3
    assert max(till.sizes) == ROUND_COMMANDS
    await till.store.close()


async def test_a_bug_in_one_command_spoils_none_of_its_round(till: Till) -> None:
    answers = await till.take("a", "bug", "b")
    assert [answers[0], answers[2]] == [b"3", b"2"]
    assert isinstance(answers[1], ZeroDivisionError)
    await till.store.close()


async def test_what_others_crossed_is_decided_again(till: Till) -> None:
    other = Till(till.store)
    first, second = await asyncio.gather(till.take(*"abc"), other.take(*"def"))
    taken = [answer for answer in (*first, *second) if isinstance(answer, bytes)]
    assert sorted(taken) == [b"1", b"2", b"3"]
    assert all(isinstance(each, Refusal) for each in (*first, *second) if each not in taken)
    await till.store.close()


async def test_a_store_that_is_gone_refuses_all_of_a_round(till: Till) -> None:
    await till.store.close()
    assert all(isinstance(answer, StoreUnavailable) for answer in await till.take(*"ab"))


async def test_who_gives_up_while_he_waits_is_not_served(till: Till) -> None:
    giving_up = asyncio.ensure_future(till.rounds.do("a"))
    other = asyncio.ensure_future(till.rounds.do("b"))
    await asyncio.sleep(0)
    giving_up.cancel()
    assert await other == b"3"
    await till.store.close()


async def test_buyers_at_once_are_few_commits_and_one_event_tells_of_the_stock(shop: Shop) -> None:
    sku = await shop.sku(stock=50)
    told = len(await shop.events())
    await asyncio.gather(*(shop.buy(f"buyer-{n}", (sku, 1)) for n in range(50)))
    assert await shop.stock(sku) == (0, 50, 0)
    assert len(await shop.events()) - told == 50 + 1


async def test_who_comes_as_the_last_rounds_end_is_not_forgotten(till: Till) -> None:
    """All rounds that there may be end in one turn of the loop, when they were refused at once."""
    gate = asyncio.Event()

    async def load(takers: Sequence[str]) -> Loaded:
        await gate.wait()
        return Loaded({STOCK: (None, 0), **dict.fromkeys(takers, ABSENT)})

    rounds = Rounds(till.store, load, till.decide)

    async def take(taker: str, times: int) -> None:
        for _ in range(times):
            with pytest.raises(OutOfStock):
                await rounds.do(taker)

    takers = []
    for number in range(ROUNDS_AT_ONCE):  # each in a round of its own, which waits at the gate
        takers.append(asyncio.ensure_future(take(f"{number}", 1 if number else 2)))
        for _ in range(3):
            await asyncio.sleep(0)
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*takers)
    await till.store.close()
