"""The targets of a room in the store: their keys encrypted, told by their ends, gone with the room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.exceptions import InvalidTag

from commerce.errors import Invalid, LimitReached
from commerce.store import SqliteStore
from overlay.errors import RoomNotFound
from overlay.restream_targets import RestreamNotFound, RestreamTargets, restreams_key
from overlay.rooms import Rooms

KEY = bytes(32)
SECRET = "live_0123456789abcdef"
URL = "rtmps://live.example.com/app"


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "hawker.db")
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def targets(store: SqliteStore) -> RestreamTargets:
    rooms = Rooms(store)
    await rooms.create("Show", id="show")
    return RestreamTargets(store, KEY, room_exists=rooms.exists, limit=2)


async def test_what_was_made_is_read_again_and_its_key_stands_nowhere_in_clear(
    targets: RestreamTargets, tmp_path: Path
) -> None:
    made = await targets.create("show", "Mine", URL, SECRET, rendition="720p")
    assert made.id.startswith("rst_") and made.enabled and made.key_hint == "cdef"
    assert await targets.list("show") == [made] == [await targets.get("show", made.id)]
    assert SECRET not in repr(made)
    assert not any(SECRET.encode() in file.read_bytes() for file in tmp_path.iterdir())


async def test_of_a_short_key_nothing_is_told(targets: RestreamTargets) -> None:
    assert (await targets.create("show", "Mine", URL, "short")).key_hint == ""


async def test_a_change_keeps_the_rest_and_a_deletion_the_others(targets: RestreamTargets) -> None:
    one = await targets.create("show", "One", URL, SECRET)
    two = await targets.create("show", "Two", URL, SECRET)
    changed = await targets.patch("show", one.id, name="First", enabled=False)
    assert (changed.name, changed.enabled, changed.key, changed.url) == (
        "First",
        False,
        SECRET,
        URL,
    )
    await targets.delete("show", one.id)
    assert await targets.list("show") == [two]
    for act in (targets.get("show", one.id), targets.patch("show", one.id, name="x")):
        with pytest.raises(RestreamNotFound):
            await act
    with pytest.raises(RestreamNotFound):
        await targets.delete("show", one.id)


async def test_a_room_has_so_many_and_one_that_is_not_there_none(targets: RestreamTargets) -> None:
    for name in ("One", "Two"):
        await targets.create("show", name, URL, SECRET)
    with pytest.raises(LimitReached):
        await targets.create("show", "Three", URL, SECRET)
    with pytest.raises(RoomNotFound):
        await targets.create("other", "One", URL, SECRET)


@pytest.mark.parametrize(
    ("name", "url", "key"),
    [("", URL, SECRET), ("x", "", SECRET), ("x", URL, ""), ("x", URL, "a\nb")],
)
async def test_what_is_empty_or_no_text_is_refused(
    targets: RestreamTargets, name: str, url: str, key: str
) -> None:
    with pytest.raises(Invalid):
        await targets.create("show", name, url, key)


async def test_they_go_with_their_room(targets: RestreamTargets, store: SqliteStore) -> None:
    await targets.create("show", "One", URL, SECRET)
    await Rooms(store).delete("show")
    assert (await store.load([restreams_key("show")]))[restreams_key("show")][0] is None


async def test_another_key_of_the_shop_opens_nothing(
    targets: RestreamTargets, store: SqliteStore
) -> None:
    await targets.create("show", "One", URL, SECRET)
    other = RestreamTargets(store, b"\1" * 32, room_exists=Rooms(store).exists, limit=2)
    with pytest.raises(InvalidTag):
        await other.list("show")
