"""Contact and address: the only personal data of a buyer, encrypted, in one place, erasable.

Orders hold an id of the form `con_…`; what stands under it is AES-256-GCM under the shop's key, with
the id as associated data, so that no record can be passed off as another's. The key is kept apart
from the store, in a file of mode 600: a copy of the store alone tells nobody where anybody lives.
`erase` takes away all that a buyer ever gave; his orders go on without. What he gave last is offered
again next time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from commerce.changes import Changes, decide_and_commit
from commerce.errors import Invalid
from commerce.ids import new_id, utc_ms
from commerce.store import INDEX_END, Store

KEY_BYTES = 32
NONCE_BYTES = 12
FIELD_CHARS = {
    "name": 100,
    "phone": 40,
    "email": 254,
    "country": 60,
    "region": 100,
    "city": 100,
    "street": 300,
    "postcode": 20,
    "note": 500,
}
CONTACT_FIELDS = ("name", "phone", "email")
ADDRESS_FIELDS = ("name", "phone", "country", "region", "city", "street", "postcode", "note")
ERASED_AT_ONCE = 500

Given = Mapping[str, Mapping[str, str]]


def load_key(path: Path) -> bytes:
    """The key in the file, made (mode 600) when there is none; raises ValueError for another size."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise ValueError(f"{path} does not hold a key of {KEY_BYTES} bytes") from None
        return key
    key = secrets.token_bytes(KEY_BYTES)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


def normal_form(
    contact: Mapping[str, Any] | None, address: Mapping[str, Any] | None
) -> dict[str, dict[str, str]] | None:
    """What was given, trimmed and without empty fields; None for nothing. Raises Invalid."""
    if contact is None and address is None:
        return None
    given = {
        name: fields
        for name, value, allowed in (
            ("contact", contact, CONTACT_FIELDS),
            ("address", address, ADDRESS_FIELDS),
        )
        if value is not None and (fields := _fields(name, value, allowed))
    }
    return given or None


def _fields(name: str, value: Mapping[str, Any], allowed: tuple[str, ...]) -> dict[str, str]:
    fields = {}
    for field, text in value.items():
        if field not in allowed or not isinstance(text, str):
            raise Invalid(name, f"texts named {', '.join(allowed)}")
        text = text.strip()
        if len(text) > FIELD_CHARS[field] or "\0" in text:
            raise Invalid(f"{name}.{field}", f"at most {FIELD_CHARS[field]} characters")
        if text:
            fields[field] = text
    return fields


class Contacts:
    """The contacts in the store; `key` is 32 bytes."""

    def __init__(self, store: Store, key: bytes, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms
        self._cipher = AESGCM(key)
        self._mark_key = hmac.digest(key, b"contact fingerprint", "sha256")

    def mark(self, given: Given | None) -> str | None:
        """A keyed hash for a command's fingerprint: tells same from other, and nothing else."""
        if given is None:
            return None
        return hmac.digest(self._mark_key, _plain(given), "sha256").hex()

    def put(self, changes: Changes, sub: str, given: Given, *, offered: bool = True) -> str:
        """The id under which the same commit keeps what was given; `offered` again next time."""
        id = new_id("con", changes.now_ms)
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, _plain(given), id.encode())
        changes.writes[_item(id)] = sealed
        newest_first = f"{10**15 - changes.now_ms:015d}{id}"
        changes.index[_index(sub), _item(id)] = newest_first if offered else f"not offered {id}"
        return id

    def drop(self, changes: Changes, sub: str, id: str) -> None:
        """Another one takes its place in the same commit."""
        changes.writes[_item(id)] = None
        changes.index[_index(sub), _item(id)] = None

    async def get(self, id: str) -> dict[str, Any] | None:
        """`{"contact": …, "address": …}` as given; None when it was erased."""
        sealed = (await self._store.load([_item(id)]))[_item(id)][0]
        if sealed is None:
            return None
        nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        given: dict[str, Any] = json.loads(self._cipher.decrypt(nonce, text, id.encode()))
        return given

    async def last(self, sub: str) -> dict[str, Any] | None:
        """What the buyer gave last, to offer it again."""
        items = await self._store.scan(_index(sub), "", INDEX_END, 1)
        return await self.get(items[0].partition("/")[2]) if items else None

    async def erase(self, sub: str) -> int:
        """Take away everything that the buyer gave; how many records that were."""
        erased = 0
        while items := await self._store.scan(_index(sub), "", INDEX_END, ERASED_AT_ONCE):
            erased += await self._erase(sub, items)
        return erased

    async def _erase(self, sub: str, items: list[str]) -> int:
        async def decide() -> tuple[Changes | None, int]:
            changes = Changes(self._now_ms())
            for item in items:
                changes.writes[item] = None
                changes.index[_index(sub), item] = None
            return changes, len(items)

        return await decide_and_commit(self._store, decide)


def _plain(given: Given) -> bytes:
    return json.dumps(given, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")


def _item(id: str) -> str:
    return f"contact/{id}"


def _index(sub: str) -> str:
    return f"contacts/{hashlib.sha256(sub.encode('utf-8', 'replace')).hexdigest()}"
