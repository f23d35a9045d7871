"""Times as the API writes them: RFC 3339 in UTC with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(utc_ms: int) -> str:
    """`2027-01-15T08:00:00.000Z` of UTC milliseconds since 1970."""
    moment = EPOCH + timedelta(milliseconds=utc_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
