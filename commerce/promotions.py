"""Promotions: what the shop takes off everybody's orders while it lasts, made, listed and ended.

Each is kept under `promotion/<id>`, and while it is not over among the `price-rules` that orders go by
(`commerce.pricing.rules`). A promotion is not edited: it is ended, and another one made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from commerce.changes import SHOP, Changes, decide_and_commit
from commerce.errors import NotFound
from commerce.ids import new_id, utc_ms
from commerce.pricing.documents import check_rule, rule_document
from commerce.pricing.kept import newest, newest_first, save_rules
from commerce.pricing.rules import KEY, PriceRules, Rule, members_of, read_rule, read_rules
from commerce.store import Store

INDEX = "promotions"
PROMOTION_ID = re.compile(r"prm_[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class Promotion:
    """A rule with who made it; `version` is the store's."""

    rule: Rule
    created_ms: int
    by: str
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        return rule_document(self.rule, self.created_ms)


class Promotions:
    """The promotions in the store."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms

    async def create(self, rule: Rule, *, by: str) -> Promotion:
        """The rule under a new id; a start of 0 is now. Raises Invalid or LimitReached."""

        async def decide() -> tuple[Changes | None, Promotion]:
            now_ms = self._now_ms()
            rules = read_rules(await self._store.load([KEY]))
            return decide_create(rules, rule, by, now_ms)

        return await decide_and_commit(self._store, decide)

    async def get(self, id: str) -> Promotion:
        """Raises NotFound."""
        key = promotion_key(id)
        known = PROMOTION_ID.fullmatch(id) is not None
        promotion = unpack(*(await self._store.load([key]))[key]) if known else None
        if promotion is None:
            raise NotFound("there is no such promotion", code="promotion_not_found")
        return promotion

    async def list(
        self, *, after: str | None = None, limit: int = 50
    ) -> tuple[list[Promotion], str | None]:
        """A page, newest first, and the `after` of the next one; raises Invalid."""
        items, cursor = await newest(self._store, INDEX, after, limit)
        found = (unpack(*item) for _, item in items)
        return [promotion for promotion in found if promotion is not None], cursor

    async def end(self, id: str) -> Promotion:
        """The promotion, which is over from now on; again is the same. Raises NotFound."""

        async def decide() -> tuple[Changes | None, Promotion]:
            promotion = await self.get(id)
            rules = read_rules(await self._store.load([KEY]))
            return decide_end(rules, promotion, self._now_ms())

        return await decide_and_commit(self._store, decide)


def decide_create(rules: PriceRules, rule: Rule, by: str, now_ms: int) -> tuple[Changes, Promotion]:
    """A new promotion among the rules; raises Invalid or LimitReached."""
    changes = Changes(now_ms)
    rule = replace(rule, id=new_id("prm", now_ms), starts_ms=rule.starts_ms or now_ms)
    check_rule(rule, now_ms)
    promotion = Promotion(rule, now_ms, by)
    _save(changes, promotion)
    key = promotion_key(promotion.rule.id)
    changes.index[INDEX, key] = newest_first(changes, promotion.rule.id)
    save_rules(changes, replace(rules, promotions=(*rules.promotions, rule)))
    return changes, promotion


def decide_end(
    rules: PriceRules, promotion: Promotion, now_ms: int
) -> tuple[Changes | None, Promotion]:
    """The end of a promotion; no changes where it is over."""
    rule = promotion.rule
    if rule.ends_ms is not None and rule.ends_ms <= now_ms:
        return None, promotion
    changes = Changes(now_ms)
    ended = replace(promotion, rule=replace(rule, ends_ms=now_ms))
    _save(changes, ended)
    kept = tuple(each for each in rules.promotions if each.id != rule.id)
    save_rules(changes, replace(rules, promotions=kept))
    return changes, ended


def promotion_key(id: str) -> str:
    return f"promotion/{id}"


def unpack(value: bytes | None, version: int) -> Promotion | None:
    if value is None:
        return None
    members = msgpack.unpackb(value)
    return Promotion(read_rule(members["rule"]), members["created_ms"], members["by"], version)


def _save(changes: Changes, promotion: Promotion) -> None:
    key = promotion_key(promotion.rule.id)
    members = members_of(promotion)
    del members["version"]
    changes.reads[key] = promotion.version
    changes.writes[key] = msgpack.packb(members, default=members_of)
    changes.tell(SHOP, "promotion.updated", promotion=promotion.rule.id)
