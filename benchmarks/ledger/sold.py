"""What the model knows of an order: values, and the words that it shares with the shop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

RESERVED_MS = 600_000
OFF, CLAIMS, CLAIMS_EACH = 200, 4, 2  # of the one coupon: minor units, its quota, of a buyer
PENDING_MS = 900_000

OK = "ok"
REPLAYED = "replayed"
KEY_REUSED = "idempotency_key_reused"
ILLEGAL = "illegal_transition"
OUT_OF_STOCK = "out_of_stock"
LIMIT_REACHED = "limit_reached"
BELOW_HELD = "below_held"
REFUND_EXCEEDS = "refund_exceeds"
INVALID = "invalid"
NOT_CLAIMED = "coupon_not_claimed"
GONE = "coupon_gone"
STALE = "stale"

Label: TypeAlias = str  # of an order: the key it was placed under
PaymentLabel: TypeAlias = tuple[Label, int]  # of an order, the how manieth
Lines: TypeAlias = tuple[tuple[str, int], ...]  # (SKU, pieces), by SKU


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment; `refunds` of it as (minor units, "open" or "done"), in order."""

    state: str = "pending"
    refunds: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """What became of the pieces of a line: sent, or dropped before that; refunded, for how much."""

    sent: int = 0
    dropped: int = 0
    refunded: int = 0
    minor: int = 0


@dataclass(frozen=True, slots=True)
class Sold:
    """An order."""

    sub: str
    lines: Lines
    total: int
    until_ms: int
    expires_ms: int
    state: str = "reserved"
    payment: str = "none"
    fulfilment: str = "none"
    payments: tuple[Paid, ...] = ()
    paid_by: int | None = None
    gone: tuple[Gone, ...] = ()
    coupon: bool = False
    off: tuple[int, ...] = ()  # each line's share of the discount
    whole: bool = False  # nothing had gone of it when it was cancelled

    def paid_for(self, place: int, prices: Mapping[str, int]) -> int:
        """What the pieces of a line cost together."""
        sku, pieces = self.lines[place]
        return prices[sku] * pieces - self.off[place]

    def left(self, place: int) -> int:
        """Pieces of a line that are still to be sent."""
        return self.lines[place][1] - self.gone[place].sent - self.gone[place].dropped

    @property
    def left_minor(self) -> int:
        """What was paid for it and is not promised back."""
        return self.total - sum(gone.minor for gone in self.gone)


def spread(off: int, subtotals: Sequence[int]) -> tuple[int, ...]:
    """Shares of a discount in proportion, what is left over to the largest remainders."""
    whole = sum(subtotals)
    shares = [off * each // whole for each in subtotals]
    places = sorted(range(len(shares)), key=lambda place: -(off * subtotals[place] % whole))
    for place in places[: off - sum(shares)]:
        shares[place] += 1
    return tuple(shares)
