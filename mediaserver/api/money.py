"""Money in requests and answers: `{"amount": 1990, "currency": "CNY"}`, in whole minor units."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from commerce.money import AMOUNT_LIMIT, Money
from mediaserver.api.strict import Strict


class Price(Strict):
    """Money that something costs: whole minor units."""

    amount: Annotated[int, Field(ge=0, le=AMOUNT_LIMIT)]
    currency: str

    def money(self) -> Money:
        """Raises Invalid for a currency that is none."""
        return Money(self.amount, self.currency)


class MoneyDocument(Strict):
    amount: int
    currency: str
