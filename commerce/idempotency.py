"""Idempotency: the same command under the same key is done once, and answered alike each time.

After draft-ietf-httpapi-idempotency-key-header, with these choices. A key belongs to (sub, act, key).
It is bound to the command's fingerprint by the commit that does the command, so only accepted
commands bind it: a refusal stores nothing and may be tried again. Another command under a bound key is
refused. A second copy that comes while the first is being done waits for its turn, in two processes it
meets the Conflict of the second commit, and gets the first one's answer as a replay.

What is bound by an order is kept as long as it, and its answer is read out of it; the rest is kept for
KEPT_MS, then `sweep` forgets it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Generic, TypeVar

import msgpack

from commerce.changes import Changes, decide_and_commit
from commerce.errors import Invalid, KeyMissing, KeyReused, Refusal, StoreUnavailable
from commerce.ids import new_id
from commerce.store import Store

T = TypeVar("T")

KEY_CHARS_MAX = 255
KEPT_MS = 7 * 86_400_000
INDEX = "idempotency-ends"
SWEPT_AT_ONCE = 500
NORMAL = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The answer to a command; `replayed`: it was given before, and is given again."""

    value: T
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose key for what act, and the fingerprint of the normalised command.

    `item` is where the store keeps it.
    """

    sub: str
    act: str
    key: str
    fingerprint: str
    item: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "item", scope_item(self.sub, self.act, self.key))


def parse_key(text: str | None) -> str:
    """The key of an Idempotency-Key header, bare or quoted; raises KeyMissing or Invalid."""
    key = "" if text is None else text.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        raise KeyMissing("this act wants an Idempotency-Key")
    if len(key) > KEY_CHARS_MAX or not all(" " <= character <= "~" for character in key):
        raise Invalid("Idempotency-Key", f"1 to {KEY_CHARS_MAX} printable ASCII characters")
    return key


def fingerprint(command: Mapping[str, Any]) -> str:
    """SHA-256 of a command in its normal form: JSON with sorted members."""
    return hashlib.sha256(NORMAL(command).encode()).hexdigest()


def scope_item(sub: str, act: str, key: str) -> str:
    """The store's key of a scope; hashed, for a sub and a key may hold anything."""
    text = f"[{quoted(sub)}, {quoted(act)}, {quoted(key)}]"
    return f"idempotency/{hashlib.sha256(text.encode()).hexdigest()}"


def bound_answer(scope: Scope, value: bytes | None) -> bytes | None:
    """The answer that stands under the scope's key, if one does; raises KeyReused."""
    return read_bound(value, scope)[1]


def read_bound(value: bytes | None, scope: Scope | None = None) -> tuple[str | None, bytes | None]:
    """What stands under a key: (the item that its answer is read out of, None) or (None, its answer).

    (None, None) where nothing does; raises KeyReused when `scope` is given and is another command's.
    """
    if value is None:
        return None, None
    bound = msgpack.unpackb(value)
    if scope is not None and bound["fingerprint"] != scope.fingerprint:
        raise KeyReused("another command was given under this Idempotency-Key")
    if "item" in bound:
        return bound["item"], None
    return None, bound["answer"]


def bind(changes: Changes, scope: Scope, answer: bytes, *, kept_ms: int | None = None) -> None:
    """Bind the key in the commit that does the command; `kept_ms` None: as long as the order."""
    changes.reads[scope.item] = 0
    changes.writes[scope.item] = msgpack.packb({"fingerprint": scope.fingerprint, "answer": answer})
    if kept_ms is not None:
        changes.index[INDEX, scope.item] = f"{changes.now_ms + kept_ms:015d}"


def bind_to(changes: Changes, scope: Scope, item: str) -> None:
    """Bind the key to an item of the same commit, out of which its answer can be read ever after."""
    changes.reads[scope.item] = 0
    changes.writes[scope.item] = msgpack.packb({"fingerprint": scope.fingerprint, "item": item})


async def decide_once(
    store: Store, scope: Scope, decide: Callable[[], Awaitable[tuple[Changes | None, T]]]
) -> T:
    """`decide_and_commit` for a command under a key, whose answer `decide` looks for first.

    A copy in another process may be done between that look and the load of what the command is
    about, and would be refused for its own doing: so what was refused looks once more.
    """
    try:
        return await decide_and_commit(store, decide)
    except StoreUnavailable:
        raise
    except Refusal:
        if (await store.load([scope.item]))[scope.item][0] is None:
            raise
        return await decide_and_commit(store, decide)


class InFlight:
    """Who does a command just now; a second copy waits until he is done."""

    def __init__(self) -> None:
        self._done: dict[str, asyncio.Future[None] | None] = {}  # None where nobody waits

    def alone(self, scope: Scope) -> Turn:
        """`async with` it: held by who does the command."""
        return Turn(self._done, scope.item)


class Turn:
    """One command's turn."""

    __slots__ = ("_done", "_item")

    def __init__(self, done: dict[str, asyncio.Future[None] | None], item: str) -> None:
        self._done, self._item = done, item

    async def __aenter__(self) -> None:
        done, item = self._done, self._item
        while item in done:
            waited = done[item]
            if waited is None:
                waited = done[item] = asyncio.get_running_loop().create_future()
            await asyncio.shield(waited)  # others may wait for it, too
        done[item] = None

    async def __aexit__(self, *error: object) -> None:
        waited = self._done.pop(self._item)
        if waited is not None:
            waited.set_result(None)


async def sweep(store: Store, now_ms: int) -> int:
    """Forget the keys whose time has passed; how many that were, at most SWEPT_AT_ONCE."""
    items = await store.scan(INDEX, "", f"{now_ms + 1:015d}", SWEPT_AT_ONCE)
    if items:
        await store.commit(
            new_id("cmt", now_ms),
            writes=dict.fromkeys(items),
            index={(INDEX, item): None for item in items},
        )
    return len(items)
