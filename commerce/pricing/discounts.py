"""A discount of an order, as it is told on the quote and kept with the order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from commerce.money import Money


@dataclass(frozen=True, slots=True)
class Discount:
    """What one rule takes off: `id` and `kind` are the rule's, `label` says why {language: words}."""

    id: str
    kind: str
    label: Mapping[str, str]
    amount: Money

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "label": dict(self.label),
            "amount": self.amount.to_json(),
        }

    @classmethod
    def read(cls, members: Mapping[str, Any]) -> Discount:
        """As it is kept."""
        return cls(members["id"], members["kind"], members["label"], Money(**members["amount"]))
