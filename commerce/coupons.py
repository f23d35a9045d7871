"""Coupons: made by the shop, dropped into rooms, claimed by viewers, spent by their orders.

A claim is counted three times in one commit, see `commerce.pricing.claims`; spending one is a part of
the order's commit (`commerce.orders.decide_place`), and so is giving it back once when the order ends.
What was dropped into a room is kept under `coupon-drops/<room>`, for those who come later.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from commerce.changes import SHOP, Changes, decide_and_commit
from commerce.errors import AlreadyExists, Invalid, LimitReached, NotFound
from commerce.idempotency import (
    KEPT_MS,
    Answer,
    InFlight,
    Scope,
    bind,
    bound_answer,
    decide_once,
    fingerprint,
)
from commerce.ids import new_id, utc_ms
from commerce.pricing.claims import (
    claimed_key,
    claims_index,
    claims_left_key,
    coupon_key,
    unspent_key,
)
from commerce.pricing.coupon import Coupon, CouponRefused, check_for, pack_coupon, unpack_coupon
from commerce.pricing.documents import check_rule
from commerce.pricing.kept import newest, newest_first, tell_room
from commerce.pricing.rules import Rule, count
from commerce.store import INDEX_END, Store, Versioned
from commerce.text import checked_count

CLAIM = "coupon.claim"
INDEX = "coupons"
QUOTA_MAX = 100_000_000
PER_BUYER_MAX = 100
CODE = re.compile(r"[A-Z0-9][A-Z0-9_-]{2,39}")
COUPON_ID = re.compile(r"cpn_[0-9a-z]{26}")
DROPS_MAX = 10  # in `hello` of a room: the latest
CLAIMS_SHOWN = 200  # of one buyer
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """A buyer's claims of one coupon, after one of them was made: `claimed` in all, `unspent` left."""

    coupon: str
    claimed: int
    unspent: int

    def to_json(self) -> dict[str, Any]:
        return {"coupon": self.coupon, "claimed": self.claimed, "unspent": self.unspent}


class Coupons:
    """The coupons in the store; `room_exists` is asked before one is dropped."""

    def __init__(
        self,
        store: Store,
        *,
        room_exists: Callable[[str], Awaitable[bool]],
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._room_exists = room_exists
        self._now_ms = now_ms
        self._in_flight = InFlight()

    async def create(
        self, rule: Rule, *, quota: int, per_buyer: int = 1, code: str | None = None, by: str
    ) -> Coupon:
        """A coupon of `rule` under a new id; raises Invalid, or AlreadyExists for the code."""

        async def decide() -> tuple[Changes | None, Coupon]:
            if code is not None:
                key = code_key(code)
                if (await self._store.load([key]))[key][0] is not None:
                    raise AlreadyExists(f"there is a coupon {code}", code="coupon_exists")
            return decide_create(rule, quota, per_buyer, code, by, self._now_ms())

        return await decide_and_commit(self._store, decide)

    async def get(self, id: str) -> Coupon:
        """By its id or its code; raises NotFound."""
        if CODE.fullmatch(id):
            found = (await self._store.load([code_key(id)]))[code_key(id)][0]
            id = "" if found is None else found.decode()
        key = coupon_key(id)
        known = COUPON_ID.fullmatch(id) is not None
        coupon = unpack_coupon(*(await self._store.load([key]))[key]) if known else None
        if coupon is None:
            raise NotFound("there is no such coupon", code="coupon_not_found")
        return coupon

    async def show(self, coupon: Coupon) -> dict[str, Any]:
        """The coupon's document with `left`, the claims that may still be made."""
        key = claims_left_key(coupon.id)
        return {**coupon.to_json(), "left": count(await self._store.load([key]), key)}

    async def list(
        self, *, after: str | None = None, limit: int = 50
    ) -> tuple[list[Coupon], str | None]:
        """A page, newest first, and the `after` of the next one; raises Invalid."""
        items, cursor = await newest(self._store, INDEX, after, limit)
        found = (unpack_coupon(*item) for _, item in items)
        return [coupon for coupon in found if coupon is not None], cursor

    async def end(self, id: str) -> Coupon:
        """The coupon, which is neither claimed nor spent any more; again is the same. NotFound."""

        async def decide() -> tuple[Changes | None, Coupon]:
            return decide_end(await self.get(id), self._now_ms())

        return await decide_and_commit(self._store, decide)

    async def drop(self, room: str, id: str) -> dict[str, Any]:
        """Tell a room of a coupon; its document. Raises NotFound, Invalid or CouponRefused."""
        if not await self._room_exists(room):
            raise NotFound("there is no such room", code="room_not_found")

        async def decide() -> tuple[Changes | None, dict[str, Any]]:
            coupon = await self.get(id)
            left, drops = claims_left_key(coupon.id), drops_key(room)
            loaded = await self._store.load([left, drops])
            return decide_drop(room, coupon, loaded, self._now_ms())

        return await decide_and_commit(self._store, decide)

    async def dropped(self, room: str) -> Sequence[dict[str, Any]]:
        """What was dropped into a room and may still be claimed, the latest first."""
        key = drops_key(room)
        ids = _drops((await self._store.load([key]))[key])
        if not ids:
            return []
        keys = [each(id) for id in ids for each in (coupon_key, claims_left_key)]
        loaded = await self._store.load(keys)
        found = (unpack_coupon(*loaded[coupon_key(id)]) for id in ids)
        now_ms = self._now_ms()
        return [
            {**coupon.to_json(), "left": count(loaded, claims_left_key(coupon.id))}
            for coupon in found
            if coupon is not None and coupon.rule.runs(now_ms)
        ]

    async def claim(
        self,
        id: str,
        sub: str,
        *,
        key: str,
        tier: str | None = None,
        segment: str | None = None,
    ) -> Answer[Claim]:
        """One more of this coupon for a buyer; durable on return.

        Raises NotFound, KeyReused, LimitReached or CouponRefused `coupon_over`, `coupon_gone` or
        `coupon_not_yours`.
        """
        scope = Scope(sub, CLAIM, key, fingerprint({"coupon": id}))

        async def decide() -> tuple[Changes | None, Answer[Claim]]:
            bound = bound_answer(scope, (await self._store.load([scope.item]))[scope.item][0])
            if bound is not None:
                return None, Answer(Claim(**msgpack.unpackb(bound)), True)
            coupon = await self.get(id)
            if coupon.code is not None and id != coupon.code:
                raise NotFound("there is no such coupon", code="coupon_not_found")
            check_for(coupon, tier, segment, self._now_ms())
            loaded = await self._store.load(claim_keys(coupon.id, sub))
            changes, claim = decide_claim(coupon, sub, loaded, self._now_ms())
            bind(changes, scope, msgpack.packb(claim.to_json()), kept_ms=KEPT_MS)
            return changes, Answer(claim)

        async with self._in_flight.alone(scope):
            return await decide_once(self._store, scope, decide)

    async def claims(self, sub: str) -> Sequence[dict[str, Any]]:
        """What a buyer has claimed and not spent, the latest first: [{coupon, claimed, unspent}]

        with the coupon's document.
        """
        keys = await self._store.scan(claims_index(sub), "", INDEX_END, CLAIMS_SHOWN)
        ids = [key.rpartition("/")[2] for key in keys]
        counters = [each(id, sub) for id in ids for each in (claimed_key, unspent_key)]
        loaded = await self._store.load([*keys, *counters])
        claims = []
        for key, id in zip(keys, ids, strict=True):
            coupon, claim = unpack_coupon(*loaded[key]), _claim(id, sub, loaded)
            if coupon is not None and claim.unspent:
                claims.append({**claim.to_json(), "coupon": coupon.to_json()})
        return claims


def decide_create(
    rule: Rule, quota: int, per_buyer: int, code: str | None, by: str, now_ms: int
) -> tuple[Changes, Coupon]:
    """A new coupon with all of its quota; raises Invalid."""
    changes = Changes(now_ms)
    id = new_id("cpn", now_ms)
    rule = replace(rule, id=id, kind="coupon", starts_ms=rule.starts_ms or now_ms)
    check_rule(rule, now_ms)
    checked_count("quota", quota, 1, QUOTA_MAX)
    checked_count("per_buyer", per_buyer, 1, PER_BUYER_MAX)
    if code is not None:
        if not CODE.fullmatch(code):
            raise Invalid("code", "3 to 40 of A to Z, digits, _ and -")
        changes.reads[code_key(code)] = 0
        changes.writes[code_key(code)] = id.encode()
    coupon = Coupon(rule, quota, per_buyer, code, now_ms, by)
    changes.index[INDEX, coupon_key(id)] = newest_first(changes, id)
    changes.add(claims_left_key(id), quota)
    _save(changes, coupon)
    return changes, coupon


def decide_end(coupon: Coupon, now_ms: int) -> tuple[Changes | None, Coupon]:
    """The end of a coupon; no changes where it is over."""
    if coupon.rule.ends_ms is not None and coupon.rule.ends_ms <= now_ms:
        return None, coupon
    changes = Changes(now_ms)
    ended = replace(coupon, rule=replace(coupon.rule, ends_ms=now_ms))
    _save(changes, ended)
    return changes, ended


def decide_drop(
    room: str, coupon: Coupon, loaded: Mapping[str, Versioned], now_ms: int
) -> tuple[Changes, dict[str, Any]]:
    """A room is told of a coupon; raises Invalid, or CouponRefused where it is over."""
    if coupon.rule.room not in (None, room) or coupon.code is not None:
        raise Invalid("coupon", "one of this room or of all, and without a code")
    if coupon.rule.ends_ms is not None and coupon.rule.ends_ms <= now_ms:
        raise CouponRefused(f"{coupon.id} is over", code="coupon_over")
    changes = Changes(now_ms)
    key = drops_key(room)
    drops = [coupon.id, *(id for id in _drops(loaded[key]) if id != coupon.id)]
    changes.reads[key] = loaded[key][1]
    changes.writes[key] = msgpack.packb({"v": FORMAT, "coupons": drops[:DROPS_MAX]})
    document = {**coupon.to_json(), "left": count(loaded, claims_left_key(coupon.id))}
    tell_room(changes, room, "coupon.dropped", document)
    changes.tell(SHOP, "coupon.dropped", coupon=coupon.id, room=room)
    return changes, document


def decide_claim(
    coupon: Coupon, sub: str, loaded: Mapping[str, Versioned], now_ms: int
) -> tuple[Changes, Claim]:
    """One more claim of who may have it; raises LimitReached or CouponRefused `coupon_gone`."""
    before = _claim(coupon.id, sub, loaded)
    if before.claimed >= coupon.per_buyer:
        raise LimitReached(
            f"at most {coupon.per_buyer} of {coupon.id} for each buyer",
            extra={"limit": coupon.per_buyer, "claimed": before.claimed},
        )
    if count(loaded, claims_left_key(coupon.id)) < 1:
        raise CouponRefused(f"all of {coupon.id} are claimed", code="coupon_gone")
    changes = Changes(now_ms)
    changes.reads[coupon_key(coupon.id)] = coupon.version
    changes.add(claims_left_key(coupon.id), -1)
    changes.add(claimed_key(coupon.id, sub), -1, -coupon.per_buyer)
    changes.add(unspent_key(coupon.id, sub), 1)
    changes.index[claims_index(sub), coupon_key(coupon.id)] = newest_first(changes, coupon.id)
    changes.tell(f"buyer/{sub}", "coupon.claimed", coupon=coupon.id)
    return changes, Claim(coupon.id, before.claimed + 1, before.unspent + 1)


def claim_keys(coupon: str, sub: str) -> list[str]:
    """What to load for `decide_claim`."""
    return [claims_left_key(coupon), claimed_key(coupon, sub), unspent_key(coupon, sub)]


def code_key(code: str) -> str:
    return f"coupon-code/{code}"


def drops_key(room: str) -> str:
    return f"coupon-drops/{room}"


def _claim(coupon: str, sub: str, loaded: Mapping[str, Versioned]) -> Claim:
    claimed = -count(loaded, claimed_key(coupon, sub))
    return Claim(coupon, claimed, count(loaded, unspent_key(coupon, sub)))


def _drops(item: Versioned) -> list[str]:
    return [] if item[0] is None else list(msgpack.unpackb(item[0])["coupons"])


def _save(changes: Changes, coupon: Coupon) -> None:
    key = coupon_key(coupon.id)
    changes.reads[key] = coupon.version
    changes.writes[key] = pack_coupon(coupon)
    changes.tell(SHOP, "coupon.updated", coupon=coupon.id)
