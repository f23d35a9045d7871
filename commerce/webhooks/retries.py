"""When a delivery is tried again, and what an answer means (Standard Webhooks 1.0.0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000

# The wait before each try.
SCHEDULE_MS = (
    0,
    5 * SECOND_MS,
    5 * MINUTE_MS,
    30 * MINUTE_MS,
    *(hours * HOUR_MS for hours in (2, 5, 10, 14, 20, 24)),
)
JITTER = 0.2  # of a wait at most is added: what failed together is not tried again together
SLOW_DOWN_MS = 30 * SECOND_MS  # for an endpoint that says it is overrun and not for how long
RETRY_AFTER_MAX_MS = HOUR_MS
DISABLE_AFTER_MS = 5 * DAY_MS  # of nothing but failures: longer than one event is tried
GONE = 410
OVERRUN = (429, 502, 504)

Verdict = Literal["done", "again", "gone"]


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` None: there was none, and `error` says why; `retry_after_ms` as the endpoint asked."""

    status: int | None
    error: str = ""
    retry_after_ms: int | None = None

    @property
    def verdict(self) -> Verdict:
        if self.status is not None and 200 <= self.status < 300:
            return "done"
        return "gone" if self.status == GONE else "again"

    @property
    def slow_down_ms(self) -> int:
        """How long the endpoint is left alone altogether."""
        if self.status not in OVERRUN:
            return 0
        asked = SLOW_DOWN_MS if self.retry_after_ms is None else self.retry_after_ms
        return min(asked, RETRY_AFTER_MAX_MS)


def next_try_ms(attempts: int, now_ms: int, random: float) -> int | None:
    """When to try again after so many attempts, None after the last; `random` in 0 to 1."""
    if attempts >= len(SCHEDULE_MS):
        return None
    return now_ms + round(SCHEDULE_MS[attempts] * (1 + JITTER * random))
