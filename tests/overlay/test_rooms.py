"""Rooms in a real store: their ids, keys and versions, and who may publish to and watch them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from commerce.store import SqliteStore
from overlay.errors import (
    AlreadyExists,
    Invalid,
    Refusal,
    RoomNotFound,
    RoomRestricted,
    Stale,
    Unauthorized,
    WrongRoom,
)
from overlay.rooms import ROOM_AGE_S, ROOMS_REMEMBERED, RoomAccess, Rooms
from overlay.tokens import Tokens

SECRET = "a secret of more than thirty-two bytes, for these tests"


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hawker.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path)
    yield store
    await store.close()


@pytest.fixture
def rooms(store: SqliteStore, clock: Clock) -> Rooms:
    return Rooms(store, now_ms=clock, monotonic=clock.monotonic)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(SECRET)


@pytest.fixture
def access(rooms: Rooms, tokens: Tokens) -> RoomAccess:
    return RoomAccess(rooms, tokens)


async def refusal(awaitable: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await awaitable  # type: ignore[misc]
    return caught.value


async def test_a_room_is_made_and_found(rooms: Rooms, clock: Clock) -> None:
    made, key = await rooms.create(" 春装 show ", id="spring-1", access="restricted")
    assert (made.id, made.title, made.access) == ("spring-1", "春装 show", "restricted")
    assert made.created_ms == made.updated_ms == clock.now_ms
    assert made.version > 0
    assert len(key) >= 32
    assert await rooms.get("spring-1") == made


async def test_a_made_id_sorts_by_time_and_may_name_a_stream(rooms: Rooms, clock: Clock) -> None:
    ids = []
    for _ in range(5):
        ids.append((await rooms.create("show"))[0].id)
        clock.now_ms += 1
    assert ids == sorted(ids)
    assert all(id.startswith("room_") and len(id) == 31 for id in ids)


@pytest.mark.parametrize("id", ["", "-a", "A", "a_b", "a/b", "a" * 64, "é", "a b", "room_1", "a\n"])
async def test_an_id_of_another_form_is_refused_and_not_found(rooms: Rooms, id: str) -> None:
    with pytest.raises(Invalid) as caught:
        await rooms.create("show", id=id)
    assert caught.value.field == "id"
    with pytest.raises(RoomNotFound):
        await rooms.get(id)


@pytest.mark.parametrize("title", ["", "  ", "x" * 201, "a\x00b", "a\nb", "\ud800"])
async def test_a_title_must_be_words(rooms: Rooms, title: str) -> None:
    with pytest.raises(Invalid) as caught:
        await rooms.create(title, id="shop")
    assert caught.value.field == "title"
    with pytest.raises(RoomNotFound):
        await rooms.get("shop")


async def test_an_id_is_given_once_even_to_many_at_once(rooms: Rooms, store: SqliteStore) -> None:
    outcomes = await asyncio.gather(
        *(rooms.create(f"show {n}", id="shop") for n in range(10)), return_exceptions=True
    )
    made = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, AlreadyExists)]
    assert (len(made), len(refused)) == (1, 9)
    assert refused[0].code == "room_exists"
    assert (await rooms.by_key(made[0][1])).title == made[0][0].title


async def test_rooms_are_listed_page_by_page(rooms: Rooms) -> None:
    names = [f"room-{n}" for n in range(7)]
    for name in reversed(names):
        await rooms.create("show", id=name)
    listed: list[str] = []
    sizes = []
    after: str | None = None
    while True:
        page, after = await rooms.list(after=after, limit=3)
        sizes.append(len(page))
        listed += [room.id for room in page]
        if after is None:
            break
    assert listed == names
    assert sizes == [3, 3, 1]
    assert (await rooms.list(limit=7))[1] is None
    assert await rooms.list(after="zzz") == ([], None)


async def test_a_patch_changes_what_is_given_and_the_version(rooms: Rooms, clock: Clock) -> None:
    made, _ = await rooms.create("show", id="shop")
    clock.now_ms += 5
    changed = await rooms.patch("shop", title="sale")
    assert (changed.title, changed.access, changed.id) == ("sale", "public", "shop")
    assert changed.version > made.version
    assert (changed.created_ms, changed.updated_ms) == (made.created_ms, clock.now_ms)
    again = await rooms.patch("shop", access="restricted", if_version=changed.version)
    assert (again.title, again.access) == ("sale", "restricted")


async def test_a_patch_of_an_earlier_version_is_refused(rooms: Rooms) -> None:
    made, _ = await rooms.create("show", id="shop")
    await rooms.patch("shop", title="sale")
    with pytest.raises(Stale):
        await rooms.patch("shop", title="mine", if_version=made.version)
    assert (await rooms.get("shop")).title == "sale"


async def test_patches_of_one_room_at_once_are_all_done(rooms: Rooms) -> None:
    await rooms.create("show", id="shop")
    await asyncio.gather(
        rooms.patch("shop", title="sale"), rooms.patch("shop", access="restricted")
    )
    room = await rooms.get("shop")
    assert (room.title, room.access) == ("sale", "restricted")


async def test_a_patch_of_no_room_is_not_found(rooms: Rooms) -> None:
    assert (await refusal(rooms.patch("shop", title="sale"))).code == "room_not_found"


async def test_a_key_publishes_to_its_room_only(rooms: Rooms, access: RoomAccess) -> None:
    _, first = await rooms.create("show", id="shop")
    _, second = await rooms.create("show", id="other")
    assert await access.publish(first) == "shop"
    assert await access.publish(second) == "other"


@pytest.mark.parametrize("key", ["", "key_", "shop", "x" * 100_000, "\ud800", "key_\x00"])
async def test_a_wrong_key_is_unauthorized(rooms: Rooms, access: RoomAccess, key: str) -> None:
    await rooms.create("show", id="shop")
    with pytest.raises(Unauthorized) as caught:
        await access.publish(key)
    assert (caught.value.status, caught.value.code) == (401, "key_invalid")
    if key:
        assert key not in caught.value.detail


async def test_a_rotated_key_is_dead_and_the_new_one_lives(
    rooms: Rooms, access: RoomAccess
) -> None:
    _, old = await rooms.create("show", id="shop")
    assert await access.publish(old) == "shop"
    new = await rooms.rotate_key("shop")
    assert await access.publish(new) == "shop"
    assert (await refusal(access.publish(old))).code == "key_invalid"


async def test_two_rotations_at_once_leave_one_key(rooms: Rooms, access: RoomAccess) -> None:
    _, old = await rooms.create("show", id="shop")
    keys = [old, *await asyncio.gather(rooms.rotate_key("shop"), rooms.rotate_key("shop"))]
    outcomes = await asyncio.gather(*(access.publish(key) for key in keys), return_exceptions=True)
    assert outcomes.count("shop") == 1
    assert isinstance(outcomes[0], Unauthorized)


async def test_a_patch_keeps_the_key(rooms: Rooms, access: RoomAccess) -> None:
    _, key = await rooms.create("show", id="shop")
    await rooms.patch("shop", title="sale")
    assert await access.publish(key) == "shop"


async def test_no_key_is_kept_or_logged(
    rooms: Rooms, store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    room, first = await rooms.create("show", id="shop")
    second = await rooms.rotate_key("shop")
    await rooms.by_key(second)
    await store.close()
    kept = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert b"stream-key/" in kept
    for key in (first, second):
        assert key.encode() not in kept
        assert key not in caplog.text
    assert room.key_hash not in repr(room)


async def test_rooms_and_keys_survive_a_restart(rooms: Rooms, path: Path) -> None:
    room, key = await rooms.create("show", id="shop")
    store = await SqliteStore.open(path)
    assert await Rooms(store).get("shop") == room
    assert await Rooms(store).by_key(key) == room
    await store.close()


async def test_a_public_room_is_watched_with_any_token_or_none(
    rooms: Rooms, access: RoomAccess
) -> None:
    await rooms.create("show", id="shop")
    await access.watch("shop", None)
    await access.watch("shop", "nonsense")
    await access.watch("shop/aac", None)


async def test_watching_no_room_is_not_found(access: RoomAccess) -> None:
    assert (await refusal(access.watch("shop", None))).status == 404
    assert (await refusal(access.watch("../shop", None))).status == 404


async def test_a_restricted_room_wants_a_token_of_its_own(
    rooms: Rooms, access: RoomAccess, tokens: Tokens
) -> None:
    await rooms.create("show", id="shop", access="restricted")
    assert (await refusal(access.watch("shop", None))).code == "token_missing"
    assert (await refusal(access.watch("shop", "nonsense"))).code == "token_invalid"
    with pytest.raises(WrongRoom):
        await access.watch("shop", tokens.issue("other").token)
    await access.watch("shop", tokens.issue("shop").token)
    await access.watch("shop/aac", tokens.issue("shop").token)


async def test_restricting_a_room_shuts_out_guests_at_once(
    rooms: Rooms, access: RoomAccess
) -> None:
    await rooms.create("show", id="shop")
    guest = await access.guest_token("shop")
    await access.watch("shop", guest.token)
    await rooms.patch("shop", access="restricted")
    with pytest.raises(RoomRestricted):
        await access.watch("shop", guest.token)
    assert (await refusal(access.guest_token("shop", guest.token))).code == "room_restricted"
    await access.watch("shop", (await access.viewer_token("shop", "anna")).token)


async def test_a_rehearsal_is_for_staff_alone(rooms: Rooms, access: RoomAccess) -> None:
    await rooms.create("show", id="shop", access="rehearsal")
    for refused in (
        access.guest_token("shop"),
        access.watch("shop", (await access.viewer_token("shop", "anna")).token),
        access.watch("shop/opus", (await access.viewer_token("shop", "anna")).token),
    ):
        assert (await refusal(refused)).code == "room_rehearsing"
    assert (await refusal(access.watch("shop", None))).code == "token_missing"
    await access.watch("shop", (await access.viewer_token("shop", "ben", role="host")).token)
    await rooms.patch("shop", access="public")
    await access.watch("shop", None)


async def test_what_another_process_changed_counts_within_a_second(
    rooms: Rooms, access: RoomAccess, path: Path, clock: Clock
) -> None:
    await rooms.create("show", id="shop")
    await access.watch("shop", None)
    store = await SqliteStore.open(path)
    await Rooms(store).patch("shop", access="restricted")
    await store.close()
    clock.now_ms += round(ROOM_AGE_S * 1000)
    assert (await refusal(access.watch("shop", None))).code == "token_missing"


async def test_watching_asks_the_store_once_in_a_second(
    rooms: Rooms, access: RoomAccess, store: SqliteStore, clock: Clock
) -> None:
    await rooms.create("show", id="shop")
    await store.close()
    await access.watch("shop", None)
    clock.now_ms += round(ROOM_AGE_S * 1000)
    assert (await refusal(access.watch("shop", None))).code == "store_unavailable"


async def test_a_room_made_after_it_was_missed_is_there_at_once(
    rooms: Rooms, access: RoomAccess
) -> None:
    assert (await refusal(access.watch("shop", None))).code == "room_not_found"
    await rooms.create("show", id="shop")
    await access.watch("shop", None)


async def test_a_slow_answer_from_before_a_change_is_not_remembered(
    rooms: Rooms, access: RoomAccess, clock: Clock
) -> None:
    await rooms.create("show", id="shop")
    for access_now in ("restricted", "public") * 20:
        clock.now_ms += round(ROOM_AGE_S * 1000)
        watches = [asyncio.ensure_future(access.watch("shop", None)) for _ in range(3)]
        await rooms.patch("shop", access="restricted" if access_now == "restricted" else "public")
        outcome = (await asyncio.gather(access.watch("shop", None), return_exceptions=True))[0]
        assert (outcome is None) == (access_now == "public")
        await asyncio.gather(*watches, return_exceptions=True)
        outcome = (await asyncio.gather(access.watch("shop", None), return_exceptions=True))[0]
        assert (outcome is None) == (access_now == "public")


async def test_a_scan_of_names_does_not_grow_the_process(rooms: Rooms, access: RoomAccess) -> None:
    names = [f"no-room-{n}" for n in range(ROOMS_REMEMBERED + 10)]
    for start in range(0, len(names), 1000):
        await asyncio.gather(
            *(access.watch(name, None) for name in names[start : start + 1000]),
            return_exceptions=True,
        )
    assert len(rooms._remembered) == ROOMS_REMEMBERED


async def test_a_viewer_token_is_for_a_room_that_is_there(access: RoomAccess) -> None:
    assert (await refusal(access.viewer_token("shop"))).code == "room_not_found"
