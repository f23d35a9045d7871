"""The seam to a payment provider: what every one of them can do, under our ids.

Our payment id and refund id are the provider's idempotency keys: `start` and `refund` may come twice
and act once. After a restart we ask, and never start again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from commerce.money import Money


class ProviderFailed(Exception):
    """The provider was not reached, or its answer was not understood: the outcome is not known."""


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """A webhook in our words. `id` is the provider's, the same for each delivery; `type` may be one we
    do not know, or one that changes nothing."""

    id: str
    type: str
    payment: str
    amount: Money


class Provider(Protocol):
    """A payment provider."""

    def page(self, payment: str) -> str:
        """The path or URL of the hosted page on which the buyer pays."""

    def check(self, method: Mapping[str, str] | None) -> None:
        """Raises Invalid for a method that `start` would not take."""

    async def start(self, payment: str, amount: Money, method: Mapping[str, str] | None) -> None:
        """Tell the provider of a payment; raises ProviderFailed."""

    async def ask(self, payment: str) -> Literal["pending", "succeeded", "failed"] | None:
        """How the payment stands; None: the provider never heard of it. Raises ProviderFailed."""

    async def refund(self, refund: str, payment: str, amount: Money) -> bool:
        """Give money back; True: done, False: on its way, call again. Raises ProviderFailed."""

    def receive(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> ProviderEvent:
        """A webhook's meaning, checked over its raw bytes; raises SignatureInvalid or Invalid."""
