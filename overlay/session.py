"""One viewer's session in a room, whatever carries it: what it sends is parsed, limited and acted on.

Every message gets a `reply` {rid, ok, …} or an `error` {rid, code, detail, …}, in the order in which
the acts are done, not asked: a payment that takes its time holds up no chat. Nothing a viewer sends
reaches a log: not its words, not an exception that may quote them.

Limits: 20 messages a second with bursts of 40, beyond it `rate_limited`; 400 messages within 10 s, or
five malformed ones in a row, and the session is closed. Who asks faster than it reads is closed by its
outbox.

Who closes whom: a carrier closes its session when it ends; a session that closes itself closes its
outbox, and the carrier sends what is left in there and ends. Acts in flight are finished, and nobody
hears of it: the same key asked again tells how they ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from commerce.text import checked_text
from overlay.errors import Invalid, Refusal, Unauthorized
from overlay.events import BadMessage, Format, Message, Request, Rid, parse_request
from overlay.outbox import Outbox
from overlay.rates import Bucket, RateLimited, SlowMode
from overlay.room_feed import Membership, RoomFeed
from overlay.rooms import RoomAccess
from overlay.tokens import Claims

log = logging.getLogger("hawker.events")

MESSAGES_PER_S = 20.0
MESSAGES_BURST = 40
FLOOD_S = 10.0
FLOOD_MESSAGES = 400  # twice the rate for FLOOD_S
MALFORMED_IN_A_ROW = 5
ACTS_AT_ONCE = MESSAGES_BURST  # under way for one viewer
RESUMES_PER_S = 0.5  # each may cost a snapshot of the room
RESUMES_BURST = 5
CHAT_CHARS = 200
LIKES_MAX = 50  # one tap is one; a page sends what was tapped in a second
SEQ_MAX = 2**53
FINISH_S = 2.0  # for acts in flight when the server stops

Act: TypeAlias = Callable[[Claims, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class UnknownType(Refusal):
    code = "unknown_type"
    title = "No such act"


class SessionsFull(Refusal):
    status = 503
    code = "unavailable"
    title = "Not available now"

    def __init__(self) -> None:
        super().__init__("no room for another viewer", headers={"Retry-After": "5"})


class Sessions:
    """The sessions of one process; `acts` are those of others than the room (`buy`, `pay`, …)."""

    def __init__(
        self,
        feed: RoomFeed,
        access: RoomAccess,
        *,
        acts: Mapping[str, Act],
        slow_mode_s: float,
        max_sessions: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.feed = feed
        self.acts = acts
        self.slow_mode = SlowMode(slow_mode_s)
        self.monotonic = monotonic
        self.opened: set[Session] = set()
        self.acting: set[asyncio.Task[None]] = set()
        self._access = access
        self._max_sessions = max_sessions
        self._closed = False

    async def open(
        self,
        room: str,
        token: str | None,
        *,
        format: Format,
        after: int | None = None,
        safter: int | None = None,
    ) -> Session:
        """A session with its first messages waiting; without a token it may only look on.

        Raises RoomNotFound, Unauthorized, WrongRoom, RoomRestricted, SessionsFull, StoreUnavailable.
        """
        await self._access.watch(room, token)
        claims = None if token is None else await self._access.claims(token, room)
        if self._closed or len(self.opened) >= self._max_sessions:
            raise SessionsFull
        session = Session(self, claims, Outbox(format))
        self.opened.add(session)
        try:
            await session.join(room, after, safter)
        except BaseException:
            session.close("left")
            raise
        return session

    def count(self, room: str) -> int:
        """Sessions in a room."""
        return self.feed.present(room)

    async def close(self) -> None:
        """Close every session and give the acts in flight FINISH_S."""
        self._closed = True
        for session in list(self.opened):
            session.close("going_away")
        if self.acting:
            _, late = await asyncio.wait(self.acting, timeout=FINISH_S)
            for task in late:
                task.cancel()


class Session:
    """One viewer's session, from `Sessions.open` to `close`."""

    def __init__(self, sessions: Sessions, claims: Claims | None, outbox: Outbox) -> None:
        now = sessions.monotonic()
        self.room = ""
        self.outbox = outbox
        self._sessions = sessions
        self._claims = claims
        self._membership: Membership | None = None
        self._messages = Bucket(MESSAGES_PER_S, MESSAGES_BURST, now)
        self._resumes = Bucket(RESUMES_PER_S, RESUMES_BURST, now)
        self._flood_began = now
        self._flood = 0
        self._malformed = 0
        self._acting = 0

    @property
    def closed(self) -> str | None:
        """Why it is closed: `left rate_limited bad_message too_slow going_away`; None while open."""
        return self.outbox.closed

    async def join(self, room: str, after: int | None, safter: int | None) -> None:
        """Take the viewer's place in the room; raises StoreUnavailable."""
        self.room = room
        sub = self._claims.sub if self._claims else None
        self._membership = await self._sessions.feed.join(
            room, sub, self.outbox, after=after, safter=safter
        )
        if self.closed is not None:
            self._membership.leave()

    async def next(self) -> list[bytes | str]:
        """What is to be sent now, waiting for at least one message; empty at the end."""
        messages = await self.outbox.next()
        if not messages:
            self.close("left")
        return messages

    def receive(self, data: bytes | str) -> None:
        """Take one message of the viewer's; never raises."""
        if self.closed is not None:
            return
        now = self._sessions.monotonic()
        if self._floods(now):
            self.error(None, RateLimited(f"{FLOOD_MESSAGES} messages within {FLOOD_S:g} s"))
            self.close("rate_limited")
            return
        allowed = self._messages.take(now)
        try:
            request = parse_request(data)
        except BadMessage as error:
            self._on_malformed(error)
            return
        self._malformed = 0
        if not allowed:
            self.error(request.rid, RateLimited(f"{MESSAGES_PER_S:g} messages a second"))
        elif self._acting >= ACTS_AT_ONCE:
            self.error(request.rid, RateLimited(f"{ACTS_AT_ONCE} acts at once"))
        else:
            self._begin(request)

    def error(self, rid: Rid, refusal: Refusal) -> None:
        """Tell the viewer what it cannot have."""
        members = {"code": refusal.code, "detail": refusal.detail}
        self._tell("error", {**refusal.extra, "rid": rid, **members})

    def close(self, reason: str) -> None:
        """Leave the room; what waits to be sent may still be. Calling it again does nothing."""
        if self in self._sessions.opened:
            self._sessions.opened.discard(self)
            log.debug("room %s: a viewer's session ends: %s", self.room, self.closed or reason)
        if self._membership is not None:
            self._membership.leave()
        self.outbox.close(reason)

    def _floods(self, now: float) -> bool:
        if now - self._flood_began >= FLOOD_S:
            self._flood_began, self._flood = now, 0
        self._flood += 1
        return self._flood > FLOOD_MESSAGES

    def _on_malformed(self, error: BadMessage) -> None:
        self._malformed += 1
        self.error(error.rid, error)
        if self._malformed >= MALFORMED_IN_A_ROW:
            self.close("bad_message")

    def _begin(self, request: Request) -> None:
        self._acting += 1
        task = asyncio.get_running_loop().create_task(self._act(request))
        self._sessions.acting.add(task)
        task.add_done_callback(self._sessions.acting.discard)

    async def _act(self, request: Request) -> None:
        try:
            result = await self._do(request)
            self._tell("reply", {**result, "rid": request.rid, "ok": True})
        except Refusal as refusal:
            self.error(request.rid, refusal)
        except Exception as bug:  # noqa: BLE001  a bug of ours in one act ends only that act
            self._tell_of(bug, request)
        finally:
            self._acting -= 1

    async def _do(self, request: Request) -> Mapping[str, Any]:
        match request.type:
            case "chat.send":
                return await self._chat(request.data)
            case "like":
                return await self._like(request.data)
            case "resume":
                return await self._resume(request.data)
        act = self._sessions.acts.get(request.type)
        if act is None:
            raise UnknownType("there is no such act")
        return await act(self._viewer(), request.data)

    def _tell_of(self, bug: Exception, request: Request) -> None:
        where = "".join(traceback.format_tb(bug.__traceback__))  # frames only: no values
        log.error("act %s failed: %s\n%s", request.type, type(bug).__name__, where)
        members = {"code": "internal_error", "detail": "the server made a mistake"}
        self._tell("error", {"rid": request.rid, **members})

    def _tell(self, type: str, data: Mapping[str, Any]) -> None:
        self.outbox.put("own", Message(self._sessions.feed.event(type, data)))

    def _viewer(self) -> Claims:
        if self._claims is None:
            raise Unauthorized("this wants a viewer token", code="token_missing")
        if self._claims.expires_ms <= self._sessions.feed.now_ms():
            raise Unauthorized("the token has expired", code="token_expired")
        return self._claims

    async def _chat(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        viewer = self._viewer()
        text = data.get("text")
        if not isinstance(text, str):
            raise Invalid("text", "text")
        text = checked_text("text", text, CHAT_CHARS)
        self._sessions.slow_mode.check(self.room, viewer.sub, self._sessions.monotonic())
        assert self._membership is not None
        # A shop's own tokens may name people with what UTF-8 cannot carry.
        name = viewer.name and viewer.name.encode("utf-8", "replace").decode()
        return {"id": self._membership.room.chat(viewer.sub, name, text)}

    async def _like(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        count = _integer(data, "n", 1, LIKES_MAX)
        assert self._membership is not None
        return {"total": self._membership.room.like(1 if count is None else count)}

    async def _resume(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        after = _integer(data, "after", 0, SEQ_MAX)
        safter = _integer(data, "safter", 0, SEQ_MAX)
        if not self._resumes.take(self._sessions.monotonic()):
            raise RateLimited(f"{RESUMES_PER_S:g} resumes a second")
        assert self._membership is not None
        return {"resumed": await self._membership.resume(after, safter)}


def _integer(data: Mapping[str, Any], field: str, low: int, high: int) -> int | None:
    number = data.get(field)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise Invalid(field, f"an integer from {low} to {high}")
    return number
