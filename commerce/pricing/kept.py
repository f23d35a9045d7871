"""The key that all running rules are kept under, and lists of what was made, newest first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgpack

from commerce.changes import Changes
from commerce.errors import Invalid, LimitReached
from commerce.ids import new_id
from commerce.pricing.rules import KEY, RULES_MAX, PriceRules, pack_rules
from commerce.store import INDEX_END, Store, Versioned

CURSOR = re.compile(r"[0-9]{15}[a-z]{3}_[0-9a-z]{26}")
PAGE_MAX = 200


def save_rules(changes: Changes, rules: PriceRules) -> None:
    """Keep the rules, which must be as they were read; promotions that are over go. LimitReached."""
    promotions = tuple(
        rule for rule in rules.promotions if rule.ends_ms is None or changes.now_ms < rule.ends_ms
    )
    kept = PriceRules(rules.sales, promotions, rules.version)
    if len(kept.sales) + len(kept.promotions) > RULES_MAX:
        detail = f"at most {RULES_MAX} sales and promotions at a time"
        raise LimitReached(detail, extra={"limit": RULES_MAX})
    changes.reads[KEY] = rules.version
    changes.writes[KEY] = pack_rules(kept)


def newest_first(changes: Changes, id: str) -> str:
    """The sort of something that is made now."""
    return f"{10**15 - changes.now_ms:015d}{id}"


async def newest(
    store: Store, index: str, after: str | None, limit: int
) -> tuple[list[tuple[str, Versioned]], str | None]:
    """A page of an index of `newest_first`: [(key, item)], and the `after` of the next; or Invalid.

    Keys are `kind/id`.
    """
    if after is not None and not CURSOR.fullmatch(after):
        raise Invalid("cursor", "not one of this list")
    limit = max(1, min(limit, PAGE_MAX))
    low = "" if after is None else f"{after}\0"
    keys = await store.scan(index, low, INDEX_END, limit + 1)
    loaded = await store.load(keys[:limit])
    items = [(key, loaded[key]) for key in keys[:limit]]
    if len(keys) <= limit:
        return items, None
    id = keys[limit - 1].rpartition("/")[2]
    return items, _sort_of(id)


def _sort_of(id: str) -> str:
    """The sort that `newest_first` gave: an id holds the time of its making."""
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    made_ms = 0
    for character in id.partition("_")[2][:10]:
        made_ms = made_ms * 32 + digits.index(character)
    return f"{10**15 - made_ms:015d}{id}"


def tell_room(changes: Changes, room: str, type: str, data: Mapping[str, Any]) -> None:
    """A durable event that everybody in the room is told, in the same commit."""
    id = new_id("evt", changes.now_ms)
    event = {"t": type, "id": id, "ts": changes.now_ms, "mt": None, "d": data}
    changes.events.append((f"room/{room}", msgpack.packb(event)))
