"""API keys `hk_…`: what programs of the shop's come with, each with a role.

Kept as `api-key/<SHA-256 of the key>`; a key has no end but its deletion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgpack

from commerce.changes import Changes
from commerce.errors import NotFound
from commerce.ids import new_id, utc_ms
from commerce.store import Store
from commerce.text import checked_text
from overlay.errors import Unauthorized
from overlay.index_page import check_room_in, index_page
from overlay.permissions import checked_role
from overlay.random_tokens import TOKEN_CHARS_MAX, new_token, token_hash

API_KEY_PREFIX = "hk_"
LABEL_CHARS = 100
API_KEYS_MAX = 200
INDEX = "api-keys"


class ApiKeyNotFound(NotFound):
    code = "api_key_not_found"
    title = "No such API key"


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    label: str
    role: str
    created_ms: int


class ApiKeys:
    """The keys in the store."""

    def __init__(self, store: Store, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms

    async def create(self, label: str, role: str) -> tuple[ApiKey, str]:
        """The new key and its text, told once; raises Invalid or LimitReached."""
        label, role = checked_text("label", label, LABEL_CHARS), checked_role(role)
        await check_room_in(self._store, INDEX, API_KEYS_MAX)
        text = API_KEY_PREFIX + new_token()
        now_ms = self._now_ms()
        key = ApiKey(new_id("apk", now_ms), label, role, now_ms)
        members = {"id": key.id, "label": label, "role": role, "created_ms": now_ms}
        item = _item(text)
        changes = Changes(now_ms, writes={item: msgpack.packb(members)})
        changes.index[INDEX, item] = key.id
        await changes.commit(self._store)
        return key, text

    async def list(
        self, *, after: str | None = None, limit: int = 50
    ) -> tuple[list[ApiKey], str | None]:
        """A page of keys, oldest first, and the id to give as `after` for the next, if any."""
        values, more = await index_page(self._store, INDEX, after, limit)
        page = [ApiKey(**msgpack.unpackb(value)) for value, _ in values if value is not None]
        return page, page[-1].id if more and page else None

    async def get(self, text: str) -> ApiKey:
        """The key with this text; raises Unauthorized."""
        if len(text) <= TOKEN_CHARS_MAX:
            item = _item(text)
            value = (await self._store.load([item]))[item][0]
            if value is not None:
                return ApiKey(**msgpack.unpackb(value))
        raise Unauthorized("the API key is not valid", code="token_invalid")

    async def delete(self, id: str) -> None:
        """The key opens nothing any more; raises ApiKeyNotFound."""
        items = await self._store.scan(INDEX, id, f"{id}\0", 1)
        if not items:
            raise ApiKeyNotFound("there is no such API key")
        item = items[0]
        changes = Changes(self._now_ms(), writes={item: None}, index={(INDEX, item): None})
        await changes.commit(self._store)


def _item(text: str) -> str:
    return f"api-key/{token_hash(text)}"
