"""Money: whole minor units and an ISO 4217 currency. No floats, no rounding that is not written here.

The digits after the point are ISO 4217's, 2 unless listed. In JSON: `{"amount": 1990, "currency":
"CNY"}`, which is 19.90 yuan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from commerce.errors import Invalid, MixedCurrency

NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
TWO_DIGITS = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY
COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF
IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR
MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG
SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST
XCD YER ZAR ZMW
"""
DIGITS = (
    dict.fromkeys(NO_DIGITS.split(), 0)
    | dict.fromkeys(TWO_DIGITS.split(), 2)
    | dict.fromkeys(THREE_DIGITS.split(), 3)
)
AMOUNT_LIMIT = 2**53 - 1  # what every JSON reader keeps exactly


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` in minor units of `currency`; raises Invalid for what is neither."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.amount, int) or isinstance(self.amount, bool):
            raise Invalid("amount", "a whole number of minor units")
        if abs(self.amount) > AMOUNT_LIMIT:
            raise Invalid("amount", f"at most {AMOUNT_LIMIT} minor units")
        if not isinstance(self.currency, str) or self.currency not in DIGITS:
            raise Invalid("currency", "a currency code of ISO 4217")

    @property
    def digits(self) -> int:
        """Digits after the point: 0, 2 or 3."""
        return DIGITS[self.currency]

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other).amount, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other).amount, self.currency)

    def __mul__(self, times: int) -> Money:
        return Money(self.amount * times, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other).amount

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other).amount

    def __str__(self) -> str:
        sign, digits = "-" if self.amount < 0 else "", self.digits
        whole, part = divmod(abs(self.amount), 10**digits)
        point = f".{part:0{digits}}" if digits else ""
        return f"{sign}{whole}{point} {self.currency}"

    def split(self, weights: Sequence[int]) -> list[Money]:
        """Shares in the proportion of `weights` that add up to this, by largest remainder.

        A minor unit left over goes to the largest remainder, the earlier of two equal ones first.
        Weights are not negative and not all 0; raises ValueError otherwise.
        """
        total = sum(weights)
        if total <= 0 or min(weights) < 0:
            raise ValueError("weights must not be negative, nor all 0")
        sign = -1 if self.amount < 0 else 1
        parts = [divmod(abs(self.amount) * weight, total) for weight in weights]
        shares = [share for share, _ in parts]
        left = abs(self.amount) - sum(shares)
        by_remainder = sorted(range(len(parts)), key=lambda place: (-parts[place][1], place))
        for place in by_remainder[:left]:
            shares[place] += 1
        return [Money(sign * share, self.currency) for share in shares]

    def to_json(self) -> dict[str, Any]:
        return {"amount": self.amount, "currency": self.currency}

    @classmethod
    def from_json(cls, value: object) -> Money:
        """The money of `{"amount", "currency"}` and nothing else; raises Invalid."""
        if not isinstance(value, Mapping) or set(value) != {"amount", "currency"}:
            raise Invalid("money", "an object with amount and currency is wanted")
        return cls(value["amount"], value["currency"])

    def _same(self, other: Money) -> Money:
        if self.currency != other.currency:
            raise MixedCurrency(f"{self.currency} and {other.currency} do not add up")
        return other


def total(moneys: Sequence[Money]) -> Money:
    """The sum of at least one; raises MixedCurrency."""
    first, *others = moneys
    for money in others:
        first += money
    return first
