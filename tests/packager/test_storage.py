"""Which segments a playlist lists, and how long the others stay."""

from __future__ import annotations

from mediaserver.packager.segment import Segment
from mediaserver.packager.storage import MIN_LISTED, Storage


def fill(
    storage: Storage, count: int, *, size: int = 10, window_s: float = 10, first: int = 0
) -> None:
    for number in range(first, first + count):
        storage.add_init(f"init{number // 10}", b"moov")
        storage.add(
            Segment(
                sequence=number,
                name=f"{number}",
                init_name=f"init{number // 10}",
                wallclock_ms=0,
                independent=True,
                discontinuity=0,
                new_discontinuities=0,
                duration_s=2.0,
                data=bytes(size),
            ),
            window_s,
        )


def listed(storage: Storage) -> list[int]:
    return [segment.sequence for segment in storage.listed]


def test_the_list_slides_and_always_holds_the_window() -> None:
    storage = Storage()
    fill(storage, 20)
    assert listed(storage) == [15, 16, 17, 18, 19]


def test_a_segment_that_left_the_list_stays_as_long_as_the_list_is() -> None:
    storage = Storage()
    fill(storage, 20)
    assert storage.get("15") is not None
    # 9 to 14 left it during the last 12 s, the longest list and a segment.
    assert [number for number in range(20) if storage.get(f"{number}")] == list(range(9, 20))


def test_at_least_three_segments_are_listed_however_short_the_window() -> None:
    storage = Storage()
    fill(storage, 10, window_s=0)
    assert len(listed(storage)) == MIN_LISTED


def test_bytes_are_bounded_and_the_oldest_go_first() -> None:
    storage = Storage(max_bytes=80)
    fill(storage, 20)
    assert storage.bytes <= 80
    assert listed(storage) == [15, 16, 17, 18, 19]
    assert [number for number in range(20) if storage.get(f"{number}")] == list(range(12, 20))
    fill(storage, 3, size=25, first=20)
    assert listed(storage) == [20, 21, 22]
    assert storage.get("19") is None
    assert storage.bytes == 75


def test_an_initialization_segment_stays_as_long_as_its_segments() -> None:
    storage = Storage()
    fill(storage, 25)
    assert storage.get("init0") is None
    assert storage.get("init1") == b"moov"
    assert storage.get("init2") == b"moov"


def test_a_name_it_never_had_is_unknown() -> None:
    assert Storage().get("0") is None
