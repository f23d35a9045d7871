"""What happens in a room, told to everybody in it: `hello`, the room's log, a buyer's own, chat.

Durable events come out of the store's log (`room/<id>`, `buyer/<sub>`) in whose commit they were made;
`committed` says that a log has grown. Chat, likes and counts are not kept: they go out in batches.

A viewer joins between two events: the snapshot of `hello` is read after its `seq` was, so it may be
newer than that but never older, and what comes after `seq` follows. Viewers who join at once share one
snapshot. A viewer who resumes gets what it missed, or a new `hello` where that is not kept any more.

Each viewer has an `Outbox` of its own, and only puts happen here: nobody waits for a slow reader.

`hello`'s data: what the snapshots give under their names, `viewers`, `clock` {`now` UTC ms, and what the
clock gives: `rtp_base`, `rtp_rate`}, `seq`, and for who has a token `sseq`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from commerce.ids import new_id, utc_ms
from commerce.store import Store
from overlay.event_log import EventLog
from overlay.events import Event, Message, pack, unpack
from overlay.outbox import Kind, Outbox

KEPT = 512  # events of a room: what a viewer can resume over
KEPT_OWN = 64  # of a buyer
PASSING_TICK_S = 0.2  # chat faster than this is not read faster
CHAT_BATCH = 50  # lines of one tick; 250 a second are more than can be read
EVERY_S = 1.0
SLICE_S = 0.0015  # of a turn of the loop, then it goes on with others
VIEWERS_PER_LOOK = 16  # between two looks at the clock: about 0.3 ms
TICKS = 32  # of the second, in which the viewers are told of it: 1 ms each for 1,000
VIEWERS_PER_TICK = 16  # at least

Snapshot: TypeAlias = Callable[[str], Awaitable[object]]  # of a room
OwnSnapshot: TypeAlias = Callable[[str, str], Awaitable[object]]  # of a room and a buyer
OwnEvent: TypeAlias = Callable[[str, Event], Awaitable[Event]]  # for a buyer


async def as_kept(sub: str, event: Event) -> Event:
    """A buyer's event as the store keeps it."""
    return event


class RoomFeed:
    """The rooms of one process.

    `snapshots` and `own_snapshots` are the parts of `hello` by name; `clock` gives a room's media clock
    for `hello`; `viewers` counts a room's viewers over all protocols; `own_event` may put into a
    buyer's event, of which the store keeps ids only, what the buyer may see; like the snapshots it
    raises nothing but StoreUnavailable.
    """

    def __init__(
        self,
        store: Store,
        *,
        snapshots: Mapping[str, Snapshot],
        own_snapshots: Mapping[str, OwnSnapshot],
        clock: Callable[[str], Mapping[str, Any]],
        viewers: Callable[[str], int],
        own_event: OwnEvent = as_kept,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self.store = store
        self.snapshots = snapshots
        self.own_snapshots = own_snapshots
        self.clock = clock
        self.viewers = viewers
        self.own_event = own_event
        self.now_ms = now_ms
        self.saying = 0  # rooms in which something is on its way to everybody for the first time
        self._rooms: dict[str, Room] = {}
        self._buyers: dict[str, Buyer] = {}

    def committed(self, seqs: Mapping[str, int]) -> None:
        """A commit has answered with these: deliver what it brought to the rooms and buyers here."""
        for stream, seq in seqs.items():
            kind, _, name = stream.partition("/")
            audience = self._audience(kind, name)
            if audience is not None:
                audience.log.committed(seq)

    async def publish(
        self, room: str, type: str, data: Mapping[str, Any], *, media_ms: int | None = None
    ) -> int:
        """Commit one durable event of a room by itself and deliver it; its seq.

        Raises StoreUnavailable.
        """
        event = self.event(type, data, media_ms=media_ms)
        stream = f"room/{room}"
        commit_id = new_id("cmt", event.ts_ms)
        seqs = await self.store.commit(commit_id, events=[(stream, pack(event))])
        self.committed(seqs)
        return seqs[stream]

    def tell(
        self, room: str, type: str, data: Mapping[str, Any], *, media_ms: int | None = None
    ) -> None:
        """Send everybody in a room an event that is not kept."""
        if room in self._rooms:
            self._rooms[room].tell(Message(self.event(type, data, media_ms=media_ms)))

    def time(self, room: str) -> dict[str, Any]:
        """A room's clock as it is told: `now` UTC ms, and what the media clock gives."""
        return {"now": self.now_ms(), **self.clock(room)}

    def event(self, type: str, data: Mapping[str, Any], *, media_ms: int | None = None) -> Event:
        """A new event of now."""
        now_ms = self.now_ms()
        return Event(type, data, new_id("evt", now_ms), now_ms, media_ms)

    def present(self, room: str) -> int:
        """How many follow a room here."""
        audience = self._rooms.get(room)
        return 0 if audience is None else audience.users

    async def join(
        self,
        room: str,
        sub: str | None,
        outbox: Outbox,
        *,
        after: int | None = None,
        safter: int | None = None,
    ) -> Membership:
        """Fill the outbox from here on: with `hello`, or with what came after `after` if that is kept.

        `safter` is the same for the buyer's own events. Raises StoreUnavailable.
        """
        audience = self._rooms.get(room) or Room(self, room)
        self._rooms[room] = audience
        buyer = None if sub is None else self._buyers.get(sub) or Buyer(self, sub)
        if buyer is not None:
            self._buyers[buyer.name] = buyer
        membership = Membership(self, audience, buyer, outbox)
        try:
            await audience.open()
            if buyer is not None:
                await buyer.open()
            await membership.resume(after, safter)
        except BaseException:
            membership.leave()
            raise
        return membership

    def _audience(self, kind: str, name: str) -> Audience | None:
        match kind:
            case "room":
                return self._rooms.get(name)
            case "buyer":
                return self._buyers.get(name)
        return None

    def forget(self, audience: Room | Buyer) -> None:
        """The last viewer has left."""
        audience.close()
        if isinstance(audience, Room):
            del self._rooms[audience.name]
        else:
            del self._buyers[audience.name]


class Audience:
    """Who follows one log; `users` counts also those who are about to join."""

    def __init__(self, log: EventLog, name: str) -> None:
        self.name = name
        self.log = log
        self.users = 0
        self.outboxes: set[Outbox] = set()
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Have the log read, once for all who come meanwhile."""
        if self._opening is None or _failed(self._opening):
            self._opening = asyncio.get_running_loop().create_task(self.log.open())
        await asyncio.shield(self._opening)

    def close(self) -> None:
        self.log.close()
        if self._opening is not None:
            self._opening.cancel()

    async def put(self, kind: Kind, messages: Sequence[Message]) -> None:
        """Say it to everybody; the loop has its turns in between."""
        outboxes = list(self.outboxes)
        deadline = time.monotonic() + SLICE_S
        for start in range(0, len(outboxes), VIEWERS_PER_LOOK):
            for outbox in outboxes[start : start + VIEWERS_PER_LOOK]:
                outbox.say(kind, messages)
            if time.monotonic() > deadline:
                await asyncio.sleep(0)
                deadline = time.monotonic() + SLICE_S


class Buyer(Audience):
    """One buyer, who may have more than one page open."""

    def __init__(self, feed: RoomFeed, sub: str) -> None:
        super().__init__(
            EventLog(
                feed.store, f"buyer/{sub}", read=self._read, deliver=self._deliver, kept=KEPT_OWN
            ),
            sub,
        )
        self._feed = feed

    async def _read(self, sseq: int, body: bytes) -> Event:
        return await self._feed.own_event(self.name, unpack(body, sseq=sseq))

    async def _deliver(self, messages: Sequence[Message]) -> None:
        await self.put("own", messages)


class Room(Audience):
    """One room that has viewers here."""

    def __init__(self, feed: RoomFeed, name: str) -> None:
        super().__init__(
            EventLog(feed.store, f"room/{name}", read=_read, deliver=self._deliver, kept=KEPT), name
        )
        self.chat_dropped = 0
        self._feed = feed
        self._lines: list[Mapping[str, Any]] = []
        self._likes = 0
        self._likes_total = 0
        self._told_viewers: int | None = None
        self._snapshot: asyncio.Task[tuple[int, dict[str, object]]] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        self._passing: asyncio.TimerHandle | None = None
        self._timer = loop.call_later(EVERY_S, self._every_second)

    def close(self) -> None:
        super().close()
        self._timer.cancel()
        if self._passing is not None:
            self._passing.cancel()
        for task in self._telling:
            task.cancel()

    def tell(self, *messages: Message) -> None:
        """Send everybody here what is not kept."""
        self._begin(self.put("passing", messages))

    def _begin(self, telling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def chat(self, sub: str, name: str | None, text: str) -> str:
        """Put a line into the next batch; its id."""
        now_ms = self._feed.now_ms()
        by = _pseudonym(self.name, sub)
        id = new_id("evt", now_ms)
        line = {"id": id, "by": by, "name": name, "text": text, "ts": now_ms}
        if len(self._lines) < CHAT_BATCH:
            self._lines.append(line)
        else:
            self.chat_dropped += 1
        self._pass_soon()
        return id

    def like(self, count: int) -> int:
        """Count likes; how many there were since the room opened here."""
        self._likes += count
        self._likes_total += count
        self._pass_soon()
        return self._likes_total

    async def snapshot(self) -> tuple[int, dict[str, object]]:
        """The seq, and the parts of `hello` as they are then or later; shared while it is made."""
        if self._snapshot is None:
            self._snapshot = asyncio.get_running_loop().create_task(self._take_snapshot())
        return await asyncio.shield(self._snapshot)

    async def _take_snapshot(self) -> tuple[int, dict[str, object]]:
        try:
            seq = self.log.seq
            parts = {name: await give(self.name) for name, give in self._feed.snapshots.items()}
        finally:
            self._snapshot = None
        return seq, parts

    async def _deliver(self, messages: Sequence[Message]) -> None:
        self._feed.saying += 1
        try:
            await self.put("public", messages)
        finally:
            self._feed.saying -= 1

    def _pass_soon(self) -> None:
        if self._passing is None:
            loop = asyncio.get_running_loop()
            self._passing = loop.call_later(PASSING_TICK_S, self._pass)

    def _pass(self) -> None:
        self._passing = None
        batch = []
        if self._lines:
            batch.append(self._feed.event("chat", {"messages": self._lines}))
            self._lines = []
        if self._likes:
            likes = {"n": self._likes, "total": self._likes_total}
            batch.append(self._feed.event("likes", likes))
            self._likes = 0
        self.tell(*(Message(event) for event in batch))

    def _every_second(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(EVERY_S, self._every_second)
        viewers = self._feed.viewers(self.name)
        news = []
        if viewers != self._told_viewers:
            self._told_viewers = viewers
            news.append(Message(self._feed.event("viewer.count", {"n": viewers})))
        self._begin(self._tell_the_time(news))

    async def _tell_the_time(self, news: Sequence[Message]) -> None:
        """`seq` and the news, to some after the others, so that what is urgent finds the loop free."""
        outboxes = list(self.outboxes)
        at_once = max(VIEWERS_PER_TICK, -(-len(outboxes) // TICKS))
        for start in range(0, len(outboxes), at_once):
            clock = self._feed.time(self.name)
            told = Message(self._feed.event("seq", {"seq": self.log.seq, "clock": clock}))
            for outbox in outboxes[start : start + at_once]:
                outbox.say("passing", [told, *news])
            await asyncio.sleep(EVERY_S / (TICKS + 4))


class Membership:
    """One viewer's place in a room, until it leaves."""

    def __init__(self, feed: RoomFeed, room: Room, buyer: Buyer | None, outbox: Outbox) -> None:
        self.room = room
        self._feed = feed
        self._buyer = buyer
        self._outbox = outbox
        self._audiences: list[Room | Buyer] = [room] if buyer is None else [room, buyer]
        self._left = False
        for audience in self._audiences:
            audience.users += 1

    async def resume(self, after: int | None, safter: int | None) -> bool:
        """Put in what was missed; False where a new `hello` had to be put first.

        Without `safter` who comes back gets all of the buyer's kept events, and knows them by `sseq`;
        who was here all the time has had them.
        """
        if safter is None and self._buyer is not None:
            safter = self._buyer.log.seq if self._outbox in self._buyer.outboxes else 0
        missed = None if after is None else self._missed(after, safter or 0)
        resumed = missed is not None
        while missed is None:
            missed = await self._hello()
        if self._left:
            return resumed
        for message in missed:  # from `_missed` to here nothing waits, so nothing falls between
            self._outbox.put("own", message)
        for audience in self._audiences:
            audience.outboxes.add(self._outbox)
        return resumed

    def leave(self) -> None:
        """Fill the outbox no longer; calling it again does nothing."""
        if self._left:
            return
        self._left = True
        for audience in self._audiences:
            audience.outboxes.discard(self._outbox)
            audience.users -= 1
            if audience.users == 0:
                self._feed.forget(audience)

    def _missed(self, after: int, safter: int) -> list[Message] | None:
        public = self.room.log.after(after)
        own = [] if self._buyer is None else self._buyer.log.after(safter)
        return None if public is None or own is None else public + own

    async def _hello(self) -> list[Message] | None:
        """`hello` and what came while it was made; None if that is already not kept any more."""
        feed, buyer, room = self._feed, self._buyer, self.room
        data: dict[str, object] = {}
        sseq = 0
        if buyer is not None:
            sseq = data["sseq"] = buyer.log.seq
            for name, give in feed.own_snapshots.items():
                data[name] = await give(room.name, buyer.name)
        seq, parts = await room.snapshot()
        missed = self._missed(seq, sseq)
        if missed is None:
            return None
        clock = feed.time(room.name)
        viewers = feed.viewers(room.name)
        data = {**parts, **data, "viewers": viewers, "clock": clock, "seq": seq}
        return [Message(feed.event("hello", data)), *missed]


async def _read(seq: int, body: bytes) -> Event:
    return unpack(body, seq=seq)


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _pseudonym(room: str, sub: str) -> str:
    """Tells the writers of a room apart without telling who they are."""
    return hashlib.blake2s(f"{room}/{sub}".encode(), digest_size=6).hexdigest()
