"""What a promotion or a coupon gives, as requests bring it and answers show it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, Field

from commerce.pricing.rules import Rule
from commerce.timestamps import ms_of
from mediaserver.api.money import MoneyDocument, Price
from mediaserver.api.strict import Strict

Moment = Annotated[AwareDatetime, Field(strict=False, examples=["2027-01-15T08:00:00.000Z"])]


class RuleBody(Strict):
    """One of `off`, `percent` and, for members, `price` of each piece. `spend` must be reached, and
    counts again each time with `every`. `stacks` false: not together with any other one. Of one
    `group` only the best comes. What is left out is no condition; without `starts_at` it is now."""

    title: Annotated[str, Field(examples=["Spring"])]
    spend: Price | None = None
    off: Price | None = None
    percent: Annotated[int, Field(ge=1, le=100)] | None = None
    every: bool = False
    stacks: bool = True
    group: str | None = None
    room: str | None = None
    skus: list[str] = Field([])
    merchant: str | None = None
    tier: str | None = None
    segment: str | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None

    def rule(self, kind: str, price: Price | None = None) -> Rule:
        """Without an id; raises Invalid for a currency that is none."""
        return Rule(
            "",
            kind,
            self.title.strip(),
            ms(self.starts_at) or 0,
            ms(self.ends_at),
            None if self.spend is None else self.spend.money(),
            None if self.off is None else self.off.money(),
            self.percent,
            None if price is None else price.money(),
            self.every,
            self.stacks,
            self.group,
            self.room,
            tuple(self.skus),
            self.merchant,
            self.tier,
            self.segment,
        )


class RuleDocument(Strict):
    """`label` says in words what it gives, by language; what is null is no condition."""

    id: str
    kind: str
    title: str
    label: dict[str, str]
    spend: MoneyDocument | None
    off: MoneyDocument | None
    percent: int | None
    price: MoneyDocument | None
    every: bool
    stacks: bool
    group: str | None
    room: str | None
    skus: list[str]
    merchant: str | None
    tier: str | None
    segment: str | None
    starts_at: str
    ends_at: str | None
    created_at: str


def ms(moment: datetime | None) -> int | None:
    """UTC milliseconds."""
    return None if moment is None else ms_of(moment)
