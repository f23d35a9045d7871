"""Times as the API writes them: RFC 3339 in UTC with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ms_of(moment: datetime) -> int:
    """UTC milliseconds since 1970 of a time with its zone, rounded down."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def rfc3339(utc_ms: int) -> str:
    """`2027-01-15T08:00:00.000Z` of UTC milliseconds since 1970."""
    return f"{_second(utc_ms // 1000)}.{utc_ms % 1000:03}Z"


@lru_cache(maxsize=256)
def _second(utc_s: int) -> str:
    return (EPOCH + timedelta(seconds=utc_s)).isoformat().removesuffix("+00:00")
