"""Idempotency: the same command under the same key is done once, and answered alike each time.

After draft-ietf-httpapi-idempotency-key-header, with these choices. A key belongs to (sub, act, key).
It is bound to the command's fingerprint by the commit that does the command, so only accepted
commands bind it: a refusal stores nothing and may be tried again. Another command under a bound key is
refused. A second copy that comes while the first is being done waits for it, in one process by a
lock, in two by the Conflict of the second commit, and gets its answer as a replay.

What is bound by an order is kept with it; the rest for KEPT_MS, then `sweep` forgets it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

import msgpack

from commerce.changes import Changes, decide_and_commit
from commerce.errors import Invalid, KeyMissing, KeyReused, Refusal, StoreUnavailable
from commerce.ids import new_id
from commerce.shrunk import grow, shrink
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
    if value is None:
        return None
    bound = msgpack.unpackb(value)
    if bound["fingerprint"] != scope.fingerprint:
        raise KeyReused("another command was given under this Idempotency-Key")
    return grow(bound["answer"])


def any_answer(value: bytes | None) -> bytes | None:
    """The answer under a key, whatever the command was."""
    return None if value is None else grow(msgpack.unpackb(value)["answer"])


def bind(changes: Changes, scope: Scope, answer: bytes, *, kept_ms: int | None = None) -> None:
    """Bind the key in the commit that does the command; `kept_ms` None: as long as the order."""
    changes.reads[scope.item] = 0
    changes.writes[scope.item] = msgpack.packb({"fingerprint": scope.fingerprint, "answer": answer})
    if kept_ms is not None:
        changes.index[INDEX, scope.item] = f"{changes.now_ms + kept_ms:015d}"


def shrunk_answer(value: bytes) -> bytes:
    """What stands under a key with its answer in the small form; it still answers alike."""
    bound = msgpack.unpackb(value)
    packed: bytes = msgpack.packb({**bound, "answer": shrink(bound["answer"])})
    return packed


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
    """Who does a command just now; a second copy waits here."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def alone(self, scope: Scope) -> asyncio.Lock:
        """The lock of the scope: held by who does the command, gone with the last who waits."""
        return self._locks.setdefault(scope.item, asyncio.Lock())


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
