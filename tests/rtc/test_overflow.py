"""What a viewer asks for again tells of a full queue; on a clock that only counts."""

from __future__ import annotations

import pytest

from mediaserver.rtc.overflow import WINDOW_S, Overflow


@pytest.mark.parametrize(
    ("numbers", "likely"),
    [([1, 4, 7, 10], True), ([1, 21, 41], False), ([1, 2, 3, 4], False), ([1], False)],
    ids=["full-queue", "chance", "no-link", "one"],
)
def test_a_queue_that_drops_some_of_all_is_told_from_chance(
    numbers: list[int], likely: bool
) -> None:
    overflow = Overflow()
    for number in numbers:
        overflow.ask((False, number), 1.0)
    assert overflow.likely(1.0) is likely
    assert not overflow.likely(1.1 + WINDOW_S)
