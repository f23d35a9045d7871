"""A shipment: the pieces of an order that left the shelf together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from commerce.timestamps import rfc3339


@dataclass(frozen=True, slots=True)
class Shipment:
    """`pieces` {sku: how many}; `carrier` and `tracking` as the parcel's label has them."""

    id: str
    pieces: Mapping[str, int]
    carrier: str | None
    tracking: str | None
    sent_ms: int
    delivered_ms: int | None = None

    def arrived(self, now_ms: int) -> Shipment:
        """Delivered; one that was delivered before stays as it is."""
        return self if self.delivered_ms is not None else replace(self, delivered_ms=now_ms)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "lines": [{"sku": sku, "qty": pieces} for sku, pieces in self.pieces.items()],
            "carrier": self.carrier,
            "tracking": self.tracking,
            "sent_at": rfc3339(self.sent_ms),
            "delivered_at": None if self.delivered_ms is None else rfc3339(self.delivered_ms),
        }
