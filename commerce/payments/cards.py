"""The sandbox's test cards: what each makes of a payment.

4242 4242 4242 4242   approved
4000 0000 0000 0002   declined
4000 0000 0000 0077   approved after `delay_ms`
4000 0000 0000 0119   approved, and the call is lost: only asking tells
4000 0000 0000 0259   approved, called twice
4000 0000 0000 0341   approved after `late_ms`, when the order is likely to have expired
4000 0000 0000 0408   approved, with a call from before it coming after it
4000 0000 0000 0580   approved, and one minor unit more comes in than was asked for
4000 0000 0000 0663   approved, and what is to be refunded of it is refused for good
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from commerce.errors import Invalid


@dataclass(frozen=True, slots=True)
class Card:
    """What a test card does: `after` is when it is decided, `calls` the webhooks from then on."""

    number: str
    label: str
    outcome: Literal["succeeded", "failed"]
    after: Literal["now", "delay", "late"] = "now"
    calls: tuple[str, ...] = ("outcome",)
    more_minor: int = 0
    refunds: bool = True


CARDS = {
    card.number: card
    for card in (
        Card("4242424242424242", "approved", "succeeded"),
        Card("4000000000000002", "declined", "failed"),
        Card("4000000000000077", "approved, a little later", "succeeded", "delay"),
        Card("4000000000000119", "approved, the call is lost", "succeeded", calls=()),
        Card("4000000000000259", "approved, called twice", "succeeded", calls=("outcome",) * 2),
        Card("4000000000000341", "approved, far too late", "succeeded", "late"),
        Card(
            "4000000000000408",
            "approved, calls out of order",
            "succeeded",
            calls=("outcome", "processing"),
        ),
    )
}
OTHER_AMOUNT = Card("4000000000000580", "approved, over another amount", "succeeded", more_minor=1)
TEST_CARDS = CARDS | {OTHER_AMOUNT.number: OTHER_AMOUNT}  # `CARDS` pay what is asked, or nothing
NO_REFUND = Card("4000000000000663", "approved, its refund is refused", "succeeded", refunds=False)
ALL_CARDS = TEST_CARDS | {NO_REFUND.number: NO_REFUND}


def card_of(number: str) -> Card:
    """The card of a number, with spaces or without; raises Invalid."""
    card = ALL_CARDS.get(number.replace(" ", "")) if isinstance(number, str) else None
    if card is None:
        raise Invalid("card", "one of the sandbox's test cards; no real card belongs here")
    return card
