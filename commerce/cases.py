"""After-sale cases: what a buyer asks about an order, and what is said of it on both sides; notes.

    open → closed

A case is one record with its messages, and so are the notes of an order, which only the staff reads;
all are bounded. Who reads them is told that the order changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgpack

from commerce.changes import SHOP, Changes
from commerce.errors import Full, Invalid, NotFound
from commerce.idempotency import Answer, Scope, fingerprint
from commerce.ids import new_id, utc_ms
from commerce.once import Once
from commerce.order import Order
from commerce.ordering import Orders
from commerce.orders import save
from commerce.store import INDEX_END, Store
from commerce.text import checked_text
from commerce.timestamps import rfc3339
from commerce.transitions import CASE, step

KINDS = ("damaged", "wrong_item", "missing", "not_arrived", "refund", "other")
CASES_MAX = 20  # of an order, which is one record
MESSAGES_MAX = 100  # of a case, which is one record of at most some 800 kB
NOTES_MAX = 100
TEXT_CHARS = 2_000
PAGE_MAX = 200
CASE_ID = re.compile(r"case_[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class Message:
    """`staff` is the name of who of the staff wrote it, None for the buyer."""

    text: str
    staff: str | None
    at_ms: int

    def to_json(self) -> dict[str, Any]:
        by = "buyer" if self.staff is None else "staff"
        return {"by": by, "text": self.text, "at": rfc3339(self.at_ms)}


@dataclass(frozen=True, slots=True)
class Case:
    """`version` is the store's."""

    id: str
    order: str
    sub: str
    room: str | None
    kind: str
    state: str
    messages: tuple[Message, ...]
    created_ms: int
    updated_ms: int
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        """As its buyer and the shop see it; nobody of the staff is named."""
        return {
            "id": self.id,
            "order": self.order,
            "kind": self.kind,
            "state": self.state,
            "messages": [message.to_json() for message in self.messages],
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
        }


def case_key(id: str) -> str:
    return f"case/{id}"


def notes_key(order: str) -> str:
    return f"order-notes/{order}"


def pack(case: Case) -> bytes:
    members = asdict(case)
    del members["version"]
    return msgpack.packb(members)


def unpack(value: bytes | None, version: int) -> Case | None:
    if value is None:
        return None
    members = msgpack.unpackb(value)
    members["messages"] = tuple(Message(**each) for each in members["messages"])
    return Case(**members, version=version)


def checked_words(field: str, text: object) -> str:
    """A text of several lines; raises Invalid."""
    lines = text.replace("\r\n", "\n").strip() if isinstance(text, str) else text
    checked_text(field, lines.replace("\n", " ") if isinstance(lines, str) else lines, TEXT_CHARS)
    return str(lines)


class Cases:
    """The cases and notes in the store. A `sub` of None is staff."""

    def __init__(self, store: Store, orders: Orders, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._orders = orders
        self._now_ms = now_ms
        self._once = Once(store)

    async def open(self, id: str, sub: str, kind: str, text: str, *, key: str) -> Answer[Case]:
        """A case that the buyer opens; raises NotFound, Invalid, KeyReused or Full."""
        if kind not in KINDS:
            raise Invalid("kind", f"one of {', '.join(KINDS)}")
        text = checked_words("text", text)

        async def decide() -> tuple[Changes, Case]:
            order = await self._orders.load(id, sub)
            if len(order.cases) >= CASES_MAX:
                raise Full(f"an order has at most {CASES_MAX} cases")
            now_ms = self._now_ms()
            message = Message(text, None, now_ms)
            made = new_id("case", now_ms)
            case = Case(made, id, sub, order.room, kind, "open", (message,), now_ms, now_ms)
            changes = Changes(now_ms)
            save(changes, order, replace(order, cases=(*order.cases, made)))
            return changes, _save_case(changes, None, case)

        scope = Scope(sub, "case.open", key, fingerprint({"o": id, "k": kind, "t": text}))
        return await self._once.do(scope, decide, pack=pack, unpack=unpack)

    async def get(self, id: str) -> Case:
        """Raises NotFound."""
        item = case_key(id)
        known = CASE_ID.fullmatch(id) is not None
        case = unpack(*(await self._store.load([item]))[item]) if known else None
        if case is None:
            raise NotFound("there is no such case", code="case_not_found")
        return case

    async def of_order(self, order: Order) -> Sequence[Case]:
        """Oldest first."""
        return await self._cases([case_key(id) for id in order.cases])

    async def list(
        self,
        state: str,
        *,
        room: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[Case], str | None]:
        """A page of the cases in a state, oldest first, and the `after` of the next one.

        About the orders of `room`, None for all.
        """
        if state not in CASE:
            raise Invalid("state", f"one of {', '.join(CASE)}")
        if after is not None and not CASE_ID.fullmatch(after):
            raise Invalid("after", "not a cursor of this list")
        limit = max(1, min(limit, PAGE_MAX))
        low = "" if after is None else f"{after}\0"
        keys = await self._store.scan(_index(state, room), low, INDEX_END, limit + 1)
        cases = await self._cases(keys[:limit])
        return cases, keys[limit - 1].partition("/")[2] if len(keys) > limit else None

    async def say(
        self, id: str, text: str, *, staff: str | None, by: str, key: str
    ) -> Answer[Case]:
        """One more message; raises NotFound, Invalid, KeyReused, IllegalTransition or Full."""
        text = checked_words("text", text)

        async def decide() -> tuple[Changes, Case]:
            case = await self.get(id)
            if case.state != "open":
                step("case", case.state, "open")
            if len(case.messages) >= MESSAGES_MAX:
                raise Full(f"a case has at most {MESSAGES_MAX} messages")
            changes = Changes(self._now_ms())
            messages = (*case.messages, Message(text, staff, changes.now_ms))
            return changes, _save_case(changes, case, replace(case, messages=messages))

        scope = Scope(by, "case.say", key, fingerprint({"case": id, "text": text}))
        return await self._once.do(scope, decide, pack=pack, unpack=unpack)

    async def close(self, id: str, *, by: str, key: str) -> Answer[Case]:
        """The staff is done with it; raises NotFound, KeyReused or IllegalTransition."""

        async def decide() -> tuple[Changes, Case]:
            case = await self.get(id)
            changes = Changes(self._now_ms())
            after = replace(case, state=step("case", case.state, "closed"))
            return changes, _save_case(changes, case, after)

        scope = Scope(by, "case.close", key, fingerprint({"case": id}))
        return await self._once.do(scope, decide, pack=pack, unpack=unpack)

    async def note(self, order: str, text: str, *, by: str, key: str) -> Answer[dict[str, Any]]:
        """A note of the staff about an order; raises NotFound, Invalid, KeyReused or Full."""
        text = checked_words("text", text)

        async def decide() -> tuple[Changes, dict[str, Any]]:
            await self._orders.load(order, None)
            value, version = (await self._store.load([notes_key(order)]))[notes_key(order)]
            notes = [] if value is None else msgpack.unpackb(value)
            if len(notes) >= NOTES_MAX:
                raise Full(f"an order has at most {NOTES_MAX} notes")
            changes = Changes(self._now_ms())
            note = {"text": text, "by": by, "at": rfc3339(changes.now_ms)}
            changes.reads[notes_key(order)] = version
            changes.writes[notes_key(order)] = msgpack.packb([*notes, note])
            return changes, note

        scope = Scope(by, "order.note", key, fingerprint({"order": order, "text": text}))
        return await self._once.do(scope, decide, pack=msgpack.packb, unpack=_note)

    async def notes(self, order: str) -> Sequence[dict[str, Any]]:
        """{text, by, at} of an order's, oldest first."""
        value = (await self._store.load([notes_key(order)]))[notes_key(order)][0]
        notes: Sequence[dict[str, Any]] = [] if value is None else msgpack.unpackb(value)
        return notes

    async def _cases(self, keys: Sequence[str]) -> Sequence[Case]:
        loaded = await self._store.load(keys)
        return [case for key in keys if (case := unpack(*loaded[key])) is not None]


def _note(value: bytes | None, version: int) -> dict[str, Any] | None:
    return None if value is None else msgpack.unpackb(value)


def _index(state: str, room: str | None = None) -> str:
    return f"cases/state/{state}" if room is None else f"cases/room/{room}/{state}"


def _save_case(changes: Changes, before: Case | None, after: Case) -> Case:
    after = replace(after, updated_ms=changes.now_ms)
    key = case_key(after.id)
    changes.reads[key] = 0 if before is None else before.version
    changes.writes[key] = pack(after)
    if before is not None:
        changes.tell_all((f"buyer/{after.sub}", SHOP), "order.updated", order=after.order, what="")
    for room in {None, after.room}:
        if before is not None:
            changes.index[_index(before.state, room), key] = None
        changes.index[_index(after.state, room), key] = after.id
    return after
