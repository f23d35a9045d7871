"""A room feed and its sessions on a real store, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from commerce.store import SqliteStore
from overlay.events import Event, Format, Request, parse, serialize_request
from overlay.followed_store import FollowedStore
from overlay.room_feed import RoomFeed
from overlay.rooms import RoomAccess, Rooms
from overlay.session import Act, Session, Sessions
from overlay.tokens import Tokens

ROOM = "shop"
SECRET = "a secret of more than thirty-two bytes, for these tests"
SLOW_MODE_S = 3.0


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def seconds(self) -> float:
        return self.now_ms / 1000

    def pass_s(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


class Page:
    """A viewer's session, read event by event."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.unread: list[Event] = []

    async def next(self) -> Event:
        """The next event that is not of the clockwork; raises EOFError at the end."""
        while not self.unread:
            messages = await self.session.next()
            if not messages:
                raise EOFError
            events = [parse(message) for message in messages]
            self.unread = [each for each in events if each.type not in ("seq", "viewer.count")]
        return self.unread.pop(0)

    async def of(self, type: str) -> Event:
        """The next event of this type; those before it are passed over."""
        while (event := await self.next()).type != type:
            pass
        return event

    def say(self, type: str, rid: str | int = "r", **data: Any) -> None:
        """Send a message and wait for nothing."""
        self.session.receive(serialize_request(Request(rid, type, data), "msgpack"))

    async def ask(self, type: str, rid: str | int = "r", **data: Any) -> Event:
        """Send a message; its reply or error, answers to others passed over."""
        self.say(type, rid, **data)
        event = await self.answer()
        while event.data["rid"] != rid:
            event = await self.answer()
        return event

    async def answer(self) -> Event:
        """The next reply or error."""
        while (event := await self.next()).type not in ("reply", "error"):
            pass
        return event

    async def code(self, type: str, **data: Any) -> str:
        """The code of the error that a message gets."""
        answer = await self.ask(type, **data)
        assert answer.type == "error", answer
        return str(answer.data["code"])


class House:
    def __init__(self, store: SqliteStore, acts: Mapping[str, Act], max_sessions: int) -> None:
        self.clock = Clock()
        self.disk = store
        self.store = FollowedStore(store)
        self.rooms = Rooms(self.store)
        self.tokens = Tokens(SECRET, now=self.clock.seconds)
        self.viewers = 3
        self.cards: list[str] = []
        self.feed = RoomFeed(
            self.store,
            snapshots={"cards": self._cards},
            own_snapshots={"orders": self._orders},
            clock=lambda room: {"rtp_base": 4_000_000_000, "rtp_rate": 90_000},
            viewers=lambda room: self.viewers,
            own_event=self._own_event,
            now_ms=self.clock,
        )
        self.store.followers.append(self.feed.committed)
        self.sessions = Sessions(
            self.feed,
            RoomAccess(self.rooms, self.tokens),
            acts=acts,
            slow_mode_s=SLOW_MODE_S,
            max_sessions=max_sessions,
            monotonic=self.clock.seconds,
        )

    def token(self, sub: str = "ana", room: str = ROOM) -> str:
        return self.tokens.issue(room, sub, name=sub.title()).token

    async def page(
        self,
        sub: str | None = "ana",
        *,
        format: Format = "msgpack",
        after: int | None = None,
        safter: int | None = None,
    ) -> Page:
        token = None if sub is None else self.token(sub)
        session = await self.sessions.open(ROOM, token, format=format, after=after, safter=safter)
        return Page(session)

    async def _cards(self, room: str) -> object:
        await self.store.load(["cards"])
        return list(self.cards)

    async def _orders(self, room: str, sub: str) -> object:
        return [f"an order of {sub}"]

    async def _own_event(self, sub: str, event: Event) -> Event:
        await self.store.load(["orders"])
        data = {**event.data, "of": sub}
        return Event(event.type, data, event.id, event.ts_ms, sseq=event.sseq)


@asynccontextmanager
async def open_feed_house(
    path: Path, *, acts: Mapping[str, Act] | None = None, max_sessions: int = 1000
) -> AsyncIterator[House]:
    store = await SqliteStore.open(path / "hawker.db")
    house = House(store, acts or {}, max_sessions)
    await house.rooms.create("A shop", id=ROOM)
    try:
        yield house
    finally:
        await house.sessions.close()
        await store.close()
