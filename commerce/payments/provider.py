"""The seam to a payment provider: what every one of them can do, under our ids.

Our payment id and refund id are the provider's idempotency keys: `start` and `refund` may come twice
and act once. After a restart we ask, and never start again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from commerce.money import Money


class ProviderFailed(Exception):
    """The provider was not reached, or its answer was not understood: the outcome is not known."""


class RefundRefused(Exception):
    """The provider will never give this back, and says why."""


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """A webhook in our words. `id` is the provider's, the same for each delivery; `type` may be one we
    do not know, or one that changes nothing. `amount`: what came in, if it is of money that came.

    `ref` is what else the provider calls the payment; an event with no more than that has `payment` "".
    `refund.updated`: of our `refund` there is news, so it is to be asked about.
    `dispute.opened`, `dispute.won` and `dispute.lost` are of what the provider calls `dispute`, over
    `amount`, for a `reason` in its words.
    """

    id: str
    type: str
    payment: str
    amount: Money
    dispute: str | None = None
    reason: str = ""
    ref: str | None = None
    refund: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a payment stands; `captured`: what came in, where the state is `succeeded`.

    `ref` is what else the provider calls it.
    """

    state: Literal["pending", "succeeded", "failed"]
    captured: Money | None = None
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """What the buyer does next: open a hosted `page`, be sent to another site's (`redirect`), or scan
    a `qr` code whose content is `target`, which else is a path or URL."""

    kind: Literal["page", "redirect", "qr"]
    target: str

    def to_json(self) -> dict[str, Any]:
        qr = self.kind == "qr"
        url, content = (None, self.target) if qr else (self.target, None)
        return {"kind": self.kind, "url": url, "content": content}


class Provider(Protocol):
    """A payment provider."""

    def page(self, payment: str) -> str:
        """The path or URL of the hosted page on which the buyer pays."""

    def check(self, method: Mapping[str, str] | None, amount: Money) -> None:
        """Raises Invalid for a method or an amount that `start` would not take."""

    async def start(
        self, payment: str, amount: Money, method: Mapping[str, str] | None
    ) -> Next | None:
        """Tell the provider of a payment; None: the buyer goes to `page`. Raises ProviderFailed."""

    async def ask(self, payment: str) -> Standing | None:
        """How the payment stands; None: the provider never heard of it. Raises ProviderFailed."""

    async def refund(self, refund: str, payment: str, amount: Money) -> bool:
        """Give money back; True: done, False: on its way, call again.

        Raises ProviderFailed, or RefundRefused where it never will be.
        """

    def receive(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> ProviderEvent:
        """A webhook's meaning, checked over its raw bytes; raises SignatureInvalid or Invalid."""
