"""What happens in a room reaches everybody in it, in order and once, whoever is slow or comes late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from commerce.errors import StoreUnavailable
from commerce.store import Store
from overlay.event_log import last_seq
from overlay.events import Event, Message, pack, parse
from overlay.outbox import BYTES_MAX, MESSAGES_MAX, PASSING_BEHIND, Outbox
from overlay.room_feed import CHAT_BATCH, KEPT, KEPT_OWN
from tests.overlay.feed_house import ROOM, House, Page, open_feed_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_feed_house(tmp_path) as house:
        yield house


def priced(number: int) -> Event:
    return Event("price.changed", {"n": number}, f"evt_{number}", 0)


async def fill(store: Store, stream: str, count: int) -> None:
    events = [(stream, pack(priced(number))) for number in range(1, count + 1)]
    await store.commit(f"fill {stream}", events=events)


async def seqs(page: Page, count: int) -> list[int | None]:
    return [(await page.of("price.changed")).seq for _ in range(count)]


async def test_hello_comes_first_with_the_room_as_it_is(house: House) -> None:
    house.cards = ["crd_1"]
    await fill(house.store, f"room/{ROOM}", 5)
    await fill(house.store, "buyer/ana", 2)
    hello = await (await house.page()).next()
    assert (hello.type, hello.seq) == ("hello", None)
    assert hello.data == {
        "cards": ["crd_1"],
        "orders": ["an order of ana"],
        "viewers": 3,
        "clock": {"now": house.clock(), "rtp_base": 4_000_000_000, "rtp_rate": 90_000},
        "seq": 5,
        "sseq": 2,
    }


async def test_who_has_no_token_sees_the_room_and_nothing_of_a_buyer(house: House) -> None:
    hello = await (await house.page(None)).next()
    assert set(hello.data) == {"cards", "viewers", "clock", "seq"}


async def test_a_published_event_reaches_everyone_with_its_seq_and_media_time(
    house: House,
) -> None:
    pages = [await house.page("ana"), await house.page("ben", format="json")]
    seq = await house.feed.publish(ROOM, "card.pinned", {"card": "crd_1"}, media_ms=5_000)
    for page in pages:
        pinned = await page.of("card.pinned")
        assert (pinned.seq, pinned.media_ms, pinned.data) == (seq, 5_000, {"card": "crd_1"})


async def test_an_event_in_anybodys_commit_is_delivered(house: House) -> None:
    page = await house.page()
    stock = Event("stock.changed", {"available": 4}, "evt_1", 0)
    await house.store.commit(
        "1", adds={"available": (4, 0)}, events=[(f"room/{ROOM}", pack(stock))]
    )
    assert (await page.of("stock.changed")).data == {"available": 4}


async def test_many_at_once_arrive_in_order_and_without_gaps(house: House) -> None:
    page = await house.page()
    commits = (house.feed.publish(ROOM, "price.changed", {"n": n}) for n in range(300))
    await asyncio.gather(*commits)
    assert await seqs(page, 300) == list(range(1, 301))


async def test_who_joins_in_the_middle_of_it_misses_nothing(house: House) -> None:
    publishing = [
        asyncio.ensure_future(house.feed.publish(ROOM, "price.changed", {"n": n}))
        for n in range(200)
    ]
    pages = []
    for number in range(20):
        pages.append(await house.page(f"viewer {number}"))
        await publishing[number * 10]
    await asyncio.gather(*publishing)
    await house.feed.publish(ROOM, "card.pinned", {})
    for page in pages:
        seq = (await page.next()).data["seq"]
        while (event := await page.next()).type != "card.pinned":
            seq += 1
            assert event.seq == seq
        assert event.seq == seq + 1 == 201


async def test_another_room_hears_nothing(house: House) -> None:
    await house.rooms.create("Another", id="other")
    page = Page(await house.sessions.open("other", None, format="json"))
    await house.feed.publish(ROOM, "card.pinned", {})
    await house.feed.publish("other", "announcement", {})
    assert (await page.next()).type == "hello"
    assert (await page.next()).type == "announcement"


async def test_a_buyers_own_events_reach_all_of_its_pages_and_nobody_elses(house: House) -> None:
    ana, also_ana, ben = [await house.page(sub) for sub in ("ana", "ana", "ben")]
    updated = Event("order.updated", {"order": "ord_1"}, "evt_1", 0)
    await house.store.commit("1", events=[("buyer/ana", pack(updated))])
    for page in (ana, also_ana):
        order = await page.of("order.updated")
        assert (order.sseq, order.seq, order.data) == (1, None, {"order": "ord_1", "of": "ana"})
    await house.feed.publish(ROOM, "announcement", {})
    assert [(await ben.next()).type for _ in range(2)] == ["hello", "announcement"]


@pytest.mark.parametrize("missed", [0, 1, 10, KEPT])
async def test_who_resumes_gets_what_it_missed_and_no_hello(house: House, missed: int) -> None:
    total = KEPT + 50
    await fill(house.store, f"room/{ROOM}", total)
    page = await house.page(after=total - missed)
    await house.feed.publish(ROOM, "announcement", {})
    resumed = [await page.next() for _ in range(missed + 1)]
    assert [event.seq for event in resumed] == list(range(total - missed + 1, total + 2))


@pytest.mark.parametrize("after", [0, 49, KEPT + 51])
async def test_who_comes_back_too_late_or_from_elsewhere_gets_a_fresh_hello(
    house: House, after: int
) -> None:
    await fill(house.store, f"room/{ROOM}", KEPT + 50)
    hello = await (await house.page(after=after)).next()
    assert (hello.type, hello.data["seq"]) == ("hello", KEPT + 50)


@pytest.mark.parametrize(("safter", "first"), [(None, 1), (0, 1), (2, 3), (3, None)])
async def test_a_buyers_own_events_resume_by_sseq(
    house: House, safter: int | None, first: int | None
) -> None:
    await fill(house.store, "buyer/ana", 3)
    page = await house.page(after=0, safter=safter)
    await house.feed.publish(ROOM, "announcement", {})
    event = await page.next()
    assert event.sseq == first
    assert first is not None or event.type == "announcement"


async def test_own_events_no_longer_kept_bring_a_fresh_hello(house: House) -> None:
    await fill(house.store, "buyer/ana", KEPT_OWN + 1)
    hello = await (await house.page(after=0, safter=0)).next()
    assert (hello.type, hello.data["sseq"]) == ("hello", KEPT_OWN + 1)


async def test_events_of_before_a_restart_can_be_resumed_over(tmp_path: Path) -> None:
    async with open_feed_house(tmp_path) as house:
        await fill(house.store, f"room/{ROOM}", 5)
        again = House(house.disk, {}, 10)
        page = await again.page(after=3)
        assert await seqs(page, 2) == [4, 5]
        await again.sessions.close()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 1000, 1023])
async def test_the_last_number_of_a_long_log_is_found(house: House, count: int) -> None:
    await fill(house.store, "long", count)
    for known in {1, (count + 1) // 2, count}:
        assert await last_seq(house.store, "long", known) == count


async def test_viewers_who_come_at_once_share_one_snapshot(tmp_path: Path) -> None:
    async with open_feed_house(tmp_path) as house:
        taken = 0

        async def cards(room: str) -> object:
            nonlocal taken
            taken += 1
            await house.store.load(["cards"])
            return taken

        house.feed.snapshots = {"cards": cards}
        pages = await asyncio.gather(*(house.page(f"viewer {n}") for n in range(50)))
        assert all([(await page.next()).type == "hello" for page in pages])
        assert taken < 10


async def test_a_store_that_fails_for_a_while_delays_events_and_loses_none(house: House) -> None:
    page = await house.page()
    whole, failures = house.store.events, 1

    async def failing(stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreUnavailable("the disk is full")
        return await whole(stream, after, limit)

    house.store.events = failing  # type: ignore[method-assign]
    await house.feed.publish(ROOM, "price.changed", {"n": 1})
    assert await seqs(page, 1) == [1]
    assert failures == 0


async def test_a_room_that_cannot_be_read_refuses_the_viewer_and_takes_the_next(
    house: House,
) -> None:
    whole = house.store.events

    async def failing(stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        raise StoreUnavailable("the disk is full")

    house.store.events = failing  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await house.page()
    assert house.sessions.count(ROOM) == 0
    house.store.events = whole  # type: ignore[method-assign]
    assert (await (await house.page()).next()).type == "hello"


async def test_what_is_not_kept_reaches_who_is_there_with_null_for_seq(house: House) -> None:
    page = await house.page()
    house.feed.tell(ROOM, "stream.online", {})
    online = await page.of("stream.online")
    assert (online.seq, online.sseq) == (None, None)
    house.feed.tell("nowhere", "stream.online", {})


async def test_every_second_tells_the_seq_and_changed_counts(house: House) -> None:
    page = await house.page()
    await house.feed.publish(ROOM, "announcement", {})
    told: list[Event] = []
    while len([each for each in told if each.type == "seq"]) < 2:
        told += [parse(message) for message in await page.session.next()]
    assert [each.data for each in told if each.type == "viewer.count"] == [{"n": 3}]
    seqs = [each.data for each in told if each.type == "seq"]
    assert [each["seq"] for each in seqs] == [1, 1]
    assert seqs[0]["clock"] == {"now": house.clock(), "rtp_base": 4_000_000_000, "rtp_rate": 90_000}


async def test_chat_and_likes_travel_in_batches(house: House) -> None:
    ana, ben = await house.page("ana"), await house.page("ben")
    ana.say("chat.send", text="how much?")
    ben.say("chat.send", text="很好看")
    ben.say("like", n=3)
    ben.say("like")
    for page in (ana, ben):
        lines = (await page.of("chat")).data["messages"]
        assert [(line["name"], line["text"]) for line in lines] == [
            ("Ana", "how much?"),
            ("Ben", "很好看"),
        ]
        assert lines[0]["by"] != lines[1]["by"]
        assert (await page.of("likes")).data == {"n": 4, "total": 4}


async def test_chat_beyond_a_batch_is_dropped_and_counted(house: House) -> None:
    page = await house.page()
    (room,) = house.feed._rooms.values()
    for number in range(CHAT_BATCH + 5):
        room.chat("ana", None, f"{number}")
    lines = (await page.of("chat")).data["messages"]
    assert [line["text"] for line in lines] == [f"{number}" for number in range(CHAT_BATCH)]
    assert room.chat_dropped == 5


async def test_a_slow_reader_is_closed_and_costs_nobody_else_an_event(house: House) -> None:
    slow, quick = await house.page("slow"), await house.page("quick")

    async def read_on() -> list[int | None]:
        return await seqs(quick, MESSAGES_MAX + 100)

    reading = asyncio.ensure_future(read_on())
    await fill(house.store, f"room/{ROOM}", MESSAGES_MAX + 100)
    assert await reading == list(range(1, MESSAGES_MAX + 101))
    assert slow.session.closed == "too_slow"
    assert await slow.session.next() == []
    assert quick.session.closed is None
    assert house.sessions.count(ROOM) == 1


async def test_who_was_too_slow_comes_back_and_misses_nothing(house: House) -> None:
    await house.page("slow")
    await fill(house.store, f"room/{ROOM}", 100)
    page = await house.page("slow", after=0)
    assert await seqs(page, 100) == list(range(1, 101))


async def test_the_last_viewer_to_leave_closes_the_room_and_the_buyer(house: House) -> None:
    first, second = await house.page("ana"), await house.page("ana")
    first.session.close("left")
    assert set(house.feed._rooms) == {ROOM} and set(house.feed._buyers) == {"ana"}
    second.session.close("left")
    second.session.close("left")
    assert not house.feed._rooms and not house.feed._buyers
    await house.feed.publish(ROOM, "price.changed", {"n": 1})
    assert (await (await house.page()).next()).data["seq"] == 1


def outbox_of(size: int, kind: str = "public") -> tuple[Outbox, Message]:
    return Outbox("json"), Message(Event(kind, {"text": "x" * size}, "evt_1", 0))


async def test_an_outbox_drops_what_passes_long_before_it_closes() -> None:
    outbox, message = outbox_of(10)
    for _ in range(PASSING_BEHIND + 10):
        outbox.put("passing", message)
    assert (len(outbox), outbox.dropped, outbox.closed) == (PASSING_BEHIND, 10, None)
    outbox.put("public", message)
    assert len(outbox) == PASSING_BEHIND + 1
    assert len(await outbox.next()) == PASSING_BEHIND + 1
    outbox.put("passing", message)
    assert len(outbox) == 1


@pytest.mark.parametrize(("size", "fit"), [(1, MESSAGES_MAX), (100_000, BYTES_MAX // 100_100)])
async def test_an_outbox_is_bounded_in_messages_and_bytes(size: int, fit: int) -> None:
    outbox, message = outbox_of(size)
    for _ in range(fit):
        outbox.put("public", message)
    assert (len(outbox), outbox.closed) == (fit, None)
    outbox.put("public", message)
    assert (len(outbox), outbox.closed) == (0, "too_slow")
    outbox.put("public", message)
    outbox.close("left")
    assert (await outbox.next(), outbox.closed) == ([], "too_slow")
