"""How often one address may ask."""

from __future__ import annotations

import pytest

from mediaserver.api.limits import AddressLimiter
from mediaserver.errors import TooMany


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def allowed(limiter: AddressLimiter, address: str | None, times: int) -> int:
    """How many of so many requests at once are let through."""
    count = 0
    for _ in range(times):
        try:
            limiter.check(address)
        except TooMany:
            continue
        count += 1
    return count


def test_a_burst_passes_and_then_so_many_a_second(clock: Clock) -> None:
    limiter = AddressLimiter(per_s=2, burst=5, monotonic=clock)
    assert allowed(limiter, "192.0.2.1", 20) == 5
    clock.now_s += 1.5
    assert allowed(limiter, "192.0.2.1", 20) == 3
    clock.now_s += 3600
    assert allowed(limiter, "192.0.2.1", 20) == 5


def test_the_refusal_says_when_to_come_again(clock: Clock) -> None:
    limiter = AddressLimiter(per_s=0.1, burst=1, monotonic=clock)
    limiter.check("192.0.2.1")
    with pytest.raises(TooMany) as caught:
        limiter.check("192.0.2.1")
    wait_s = int(caught.value.headers["Retry-After"])
    assert wait_s == 10
    clock.now_s += wait_s
    limiter.check("192.0.2.1")


def test_addresses_do_not_share(clock: Clock) -> None:
    limiter = AddressLimiter(per_s=1, burst=1, monotonic=clock)
    assert allowed(limiter, "192.0.2.1", 2) == 1
    assert allowed(limiter, "192.0.2.2", 2) == 1
    assert allowed(limiter, None, 2) == 1


def test_one_ipv6_customer_counts_as_one(clock: Clock) -> None:
    limiter = AddressLimiter(per_s=1, burst=2, monotonic=clock)
    assert allowed(limiter, "2001:db8:1:2::1", 1) == 1
    assert allowed(limiter, "2001:db8:1:2:ffff::9%eth0", 2) == 1
    assert allowed(limiter, "2001:db8:1:3::1", 2) == 2
    assert allowed(limiter, "192.0.2.1", 1) == 1
    assert allowed(limiter, "::ffff:192.0.2.1", 2) == 1


def test_the_table_is_bounded_and_forgets_who_was_quiet_longest(clock: Clock) -> None:
    limiter = AddressLimiter(per_s=1, burst=1, addresses=10, monotonic=clock)
    for number in range(100):
        limiter.check(f"192.0.2.{number}")
    assert len(limiter._buckets) == 10
    assert allowed(limiter, "192.0.2.99", 1) == 0
    assert allowed(limiter, "192.0.2.0", 1) == 1
