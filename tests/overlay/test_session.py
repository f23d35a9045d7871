"""One viewer's session: every message is answered, limits hold, and acts are done by their table."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from commerce.errors import OutOfStock
from overlay.errors import RoomNotFound, RoomRestricted, Unauthorized, WrongRoom
from overlay.events import REQUEST_BYTES_MAX, Event, pack
from overlay.session import (
    ACTS_AT_ONCE,
    CHAT_CHARS,
    FLOOD_MESSAGES,
    MALFORMED_IN_A_ROW,
    MESSAGES_BURST,
    MESSAGES_PER_S,
    RESUMES_BURST,
    SessionsFull,
)
from overlay.tokens import Claims
from tests.overlay.feed_house import ROOM, SLOW_MODE_S, House, Page, open_feed_house

EVIL = "<script>\n2027-01-01 ERROR forged"


class Shop:
    """Acts of a small shop: one piece, a payment that waits, and a bug."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.approved = asyncio.Event()
        self.left = 1
        self.paid = 0

    async def buy(self, viewer: Claims, data: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append((viewer.sub, data))
        if not self.left:
            raise OutOfStock(["sku_1"], held=True)
        self.left -= 1
        return {"order": "ord_1"}

    async def pay(self, viewer: Claims, data: Mapping[str, Any]) -> Mapping[str, Any]:
        await self.approved.wait()
        self.paid += 1
        return {"payment": "pay_1"}

    async def unsayable(self, viewer: Claims, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"what": object()}

    async def bug(self, viewer: Claims, data: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ValueError(f"cannot read {data['text']}")


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
async def house(tmp_path: Path, shop: Shop) -> AsyncIterator[House]:
    acts = {"buy": shop.buy, "pay": shop.pay, "bug": shop.bug, "unsayable": shop.unsayable}
    async with open_feed_house(tmp_path, acts=acts, max_sessions=4) as house:
        yield house


@pytest.fixture
async def page(house: House) -> Page:
    page = await house.page()
    assert (await page.next()).type == "hello"
    return page


async def test_an_act_is_done_for_the_viewer_and_replied_to(page: Page, shop: Shop) -> None:
    reply = await page.ask("buy", rid="r1", key="k1", lines=[{"sku": "sku_1", "qty": 1}])
    assert reply.type == "reply"
    assert reply.data == {"rid": "r1", "ok": True, "order": "ord_1"}
    assert (reply.seq, reply.sseq, reply.media_ms) == (None, None, None)
    assert shop.asked == [("ana", {"key": "k1", "lines": [{"sku": "sku_1", "qty": 1}]})]


async def test_a_refusal_is_an_error_with_its_code_and_members(page: Page, shop: Shop) -> None:
    shop.left = 0
    error = await page.ask("buy", rid=7, key="k1")
    assert error.type == "error"
    assert error.data == {
        "rid": 7,
        "code": "out_of_stock",
        "detail": "not enough of sku_1",
        "skus": ["sku_1"],
        "held": True,
    }


async def test_a_slow_act_holds_up_no_other(page: Page, shop: Shop) -> None:
    page.say("pay", rid=1, key="k")
    assert (await page.ask("buy", rid=2, key="k")).data["ok"] is True
    shop.approved.set()
    assert (await page.of("reply")).data == {"rid": 1, "ok": True, "payment": "pay_1"}


async def test_acts_at_once_are_bounded(page: Page, shop: Shop) -> None:
    for number in range(ACTS_AT_ONCE):
        page.say("pay", rid=number)
    assert await page.code("buy", rid="more") == "rate_limited"
    shop.approved.set()
    replies = [await page.of("reply") for _ in range(ACTS_AT_ONCE)]
    assert [reply.data["rid"] for reply in replies] == list(range(ACTS_AT_ONCE))


async def test_an_act_is_finished_though_its_viewer_has_left(
    house: House, page: Page, shop: Shop
) -> None:
    page.say("pay")
    await asyncio.sleep(0)
    page.session.close("left")
    shop.approved.set()
    await house.sessions.close()
    assert shop.paid == 1


async def test_an_unknown_act_is_told(page: Page) -> None:
    assert await page.code("fly") == "unknown_type"


async def test_a_bug_in_an_act_is_answered_and_logged_without_the_viewers_words(
    page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        error = await page.ask("bug", text=EVIL)
    assert (error.data["code"], error.data["rid"]) == ("internal_error", "r")
    assert EVIL not in json.dumps(error.data)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    told = record.getMessage() + str(record.exc_info)
    assert "act bug failed: ValueError" in told and "test_session.py" in told
    assert "forged" not in told
    assert (await page.ask("buy", key="k")).data["ok"] is True


async def test_a_reply_that_cannot_be_said_is_a_bug_too(page: Page) -> None:
    assert await page.code("unsayable") == "internal_error"


async def test_nothing_a_viewer_sends_reaches_a_log(
    house: House, page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        page.say(EVIL, rid=EVIL)
        await page.code("buy\n", text=EVIL)
        await page.ask("chat.send", text="forged")
        for _ in range(MALFORMED_IN_A_ROW):
            page.session.receive(EVIL)
    assert page.session.closed == "bad_message"
    assert caplog.records
    assert "forged" not in caplog.text


async def test_malformed_messages_are_told_and_five_in_a_row_close(page: Page) -> None:
    for _ in range(MALFORMED_IN_A_ROW - 1):
        page.session.receive("{")
    await page.ask("like")
    for number in range(MALFORMED_IN_A_ROW):
        assert page.session.closed is None
        page.session.receive(f'{{"rid": {number}}}')
    assert page.session.closed == "bad_message"
    errors = [await page.of("error") for _ in range(MALFORMED_IN_A_ROW)]
    assert [error.data["rid"] for error in errors] == list(range(MALFORMED_IN_A_ROW))
    assert {error.data["code"] for error in errors} == {"bad_message"}
    with pytest.raises(EOFError):
        await page.next()


async def test_a_message_over_16_kib_is_bad(page: Page) -> None:
    page.session.receive(b"x" * (REQUEST_BYTES_MAX + 1))
    assert (await page.of("error")).data["code"] == "bad_message"


async def test_twenty_messages_a_second_are_allowed_with_bursts_of_forty(
    house: House, page: Page
) -> None:
    for number in range(MESSAGES_BURST):
        assert (await page.ask("like", rid=number)).type == "reply"
    assert await page.code("like") == "rate_limited"
    house.clock.pass_s(1)
    for number in range(int(MESSAGES_PER_S)):
        assert (await page.ask("like", rid=number)).type == "reply"
    assert await page.code("like") == "rate_limited"


async def test_every_message_of_a_flood_is_answered_until_it_closes(page: Page) -> None:
    for start in range(0, FLOOD_MESSAGES, ACTS_AT_ONCE):
        for number in range(start, start + ACTS_AT_ONCE):
            page.say("like", rid=number)
        rids = {(await page.answer()).data["rid"] for _ in range(ACTS_AT_ONCE)}
        assert rids == set(range(start, start + ACTS_AT_ONCE))
    assert page.session.closed is None
    page.say("like")
    assert page.session.closed == "rate_limited"
    assert (await page.answer()).data["code"] == "rate_limited"
    page.say("like")
    with pytest.raises(EOFError):
        await page.next()


async def test_twice_the_rate_for_ten_seconds_closes_and_less_does_not(
    house: House, page: Page
) -> None:
    for _ in range(30):
        house.clock.pass_s(1)
        for number in range(39):
            await page.ask("like", rid=number)
    assert page.session.closed is None
    for _ in range(20):
        house.clock.pass_s(1)
        for _ in range(41):
            page.say("like")
        await page.session.next()
    assert page.session.closed == "rate_limited"


async def test_slow_mode_allows_one_line_from_all_pages_of_a_viewer(
    house: House, page: Page
) -> None:
    again, ben = await house.page("ana"), await house.page("ben")
    assert (await page.ask("chat.send", text="one")).type == "reply"
    assert await again.code("chat.send", text="two") == "rate_limited"
    assert (await ben.ask("chat.send", text="three")).type == "reply"
    house.clock.pass_s(SLOW_MODE_S)
    assert (await again.ask("chat.send", text="four")).type == "reply"


@pytest.mark.parametrize("text", ["", "  ", "x" * (CHAT_CHARS + 1), "a\nb", 5, None])
async def test_a_line_of_chat_that_is_none_is_invalid_and_not_counted(
    page: Page, text: object
) -> None:
    assert await page.code("chat.send", text=text) == "invalid"
    assert (await page.ask("chat.send", text="hello")).type == "reply"


async def test_the_writer_of_a_line_knows_it_by_the_id_of_the_reply(page: Page) -> None:
    page.say("chat.send", text="hello")
    id = (await page.of("reply")).data["id"]
    (line,) = (await page.of("chat")).data["messages"]
    assert line["id"] == id
    assert "ana" not in (line["by"], line["id"])


@pytest.mark.parametrize("n", [0, -1, 51, 1.0, True, "1"])
async def test_likes_that_are_no_number_of_taps_are_invalid(page: Page, n: object) -> None:
    assert await page.code("like", n=n) == "invalid"


async def test_resume_fills_a_gap_of_a_session_that_goes_on(house: House, page: Page) -> None:
    for number in range(3):
        await house.feed.publish(ROOM, "price.changed", {"n": number})
        await page.of("price.changed")
    page.say("resume", after=1)
    refilled = [await page.next() for _ in range(3)]
    assert [event.seq for event in refilled] == [2, 3, None]
    assert refilled[-1].data == {"rid": "r", "ok": True, "resumed": True}
    await house.feed.publish(ROOM, "announcement", {})
    assert (await page.next()).seq == 4


async def test_resume_repeats_no_own_events_unless_asked_to(house: House, page: Page) -> None:
    await house.feed.publish(ROOM, "announcement", {})
    updated = pack(Event("order.updated", {}, "evt_1", 0))
    await house.store.commit("1", events=[("buyer/ana", updated)])
    await page.of("order.updated")
    page.say("resume", after=1)
    assert (await page.next()).type == "reply"
    page.say("resume", after=1, safter=0)
    assert [(await page.next()).type for _ in range(2)] == ["order.updated", "reply"]


async def test_resume_without_a_place_brings_a_fresh_hello(page: Page) -> None:
    page.say("resume")
    assert (await page.next()).type == "hello"
    assert (await page.next()).data["resumed"] is False


async def test_resumes_are_rare_and_their_places_are_numbers(page: Page) -> None:
    assert await page.code("resume", after="1") == "invalid"
    assert await page.code("resume", after=-1) == "invalid"
    for _ in range(RESUMES_BURST):
        assert (await page.ask("resume", after=0)).type == "reply"
    assert await page.code("resume", after=0) == "rate_limited"


async def test_who_has_no_token_may_look_on_and_like_and_do_nothing_else(house: House) -> None:
    page = await house.page(None)
    assert (await page.ask("like")).type == "reply"
    assert (await page.ask("resume", after=0)).type == "reply"
    for act in ("buy", "pay", "chat.send"):
        assert await page.code(act, text="hello") == "token_missing"


async def test_a_token_that_expires_meanwhile_does_nothing_more(house: House, page: Page) -> None:
    house.clock.pass_s(13 * 3600)
    assert await page.code("buy", key="k") == "token_expired"
    assert await page.code("chat.send", text="hello") == "token_expired"
    assert (await page.ask("like")).type == "reply"


async def test_who_may_not_watch_gets_no_session(house: House) -> None:
    await house.rooms.create("Members", id="members", access="restricted")
    opened = house.sessions.open
    with pytest.raises(RoomNotFound):
        await opened("nowhere", None, format="json")
    with pytest.raises(Unauthorized):
        await opened("members", None, format="json")
    with pytest.raises(RoomRestricted):
        await opened("members", house.tokens.guest("members").token, format="json")
    with pytest.raises(Unauthorized):
        await opened(ROOM, "no token of ours", format="json")
    with pytest.raises(WrongRoom):
        await opened(ROOM, house.token(room="members"), format="json")
    assert (await opened("members", house.token(room="members"), format="json")).closed is None
    assert house.sessions.count("members") == 1


async def test_sessions_are_bounded(house: House) -> None:
    pages = [await house.page(f"viewer {number}") for number in range(4)]
    with pytest.raises(SessionsFull) as caught:
        await house.page("one more")
    assert caught.value.status == 503
    pages[0].session.close("left")
    assert (await (await house.page("one more")).next()).type == "hello"


async def test_a_server_that_stops_says_so_and_opens_no_more(house: House, page: Page) -> None:
    await house.sessions.close()
    assert page.session.closed == "going_away"
    with pytest.raises(EOFError):
        await page.next()
    with pytest.raises(SessionsFull):
        await house.page()


async def test_who_asks_and_never_reads_is_closed(house: House, page: Page) -> None:
    while page.session.closed is None:
        house.clock.pass_s(0.1)
        page.say("like")
        await asyncio.sleep(0)
    assert page.session.closed == "too_slow"
