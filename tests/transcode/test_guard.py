"""The overload guard on a clock of the test's own."""

from __future__ import annotations

from mediaserver.transcode.guard import RECOVER_S, OverloadGuard

FRAME_S = 1 / 30


class Machine:
    """Works at so many seconds for a second of media, `most` levels deep."""

    def __init__(self, most: int = 3) -> None:
        self.guard = OverloadGuard()
        self.now = 0.0
        self.most = most

    def work(self, seconds: float, cost: float, lag_s: float, gain: float = 2.0) -> list[int]:
        """The levels that were gone through."""
        levels = []
        for _ in range(round(seconds / FRAME_S)):
            self.now += FRAME_S
            busy_s = cost * FRAME_S
            if self.guard.worked(self.now, FRAME_S, busy_s, lag_s, self.most, gain):
                levels.append(self.guard.level)
        return levels


def test_a_machine_that_keeps_up_is_left_alone() -> None:
    assert Machine().work(60, 0.8, 0.1) == []


def test_a_machine_that_cannot_keep_up_does_less_step_by_step() -> None:
    assert Machine(most=3).work(30, 1.4, 1.5) == [1, 2, 3]


def test_no_rung_is_left_out_for_a_moments_sake() -> None:
    machine = Machine()
    assert machine.work(6, 1.4, 1.5) == [1]
    assert machine.work(4, 0.8, 0.0) == []
    assert machine.work(5, 1.4, 1.5) == []


def test_what_comes_late_but_is_soon_made_good_is_no_overload() -> None:
    assert Machine().work(20, 0.5, 1.5) == []


def test_it_does_more_again_once_there_is_room_for_it() -> None:
    machine = Machine()
    assert machine.work(2.1, 1.4, 1.0) == [1]
    assert machine.work(RECOVER_S - 1, 0.3, 0.0) == []
    assert machine.work(RECOVER_S, 0.3, 0.0) == [0]


def test_it_does_not_try_what_cannot_work() -> None:
    machine = Machine()
    machine.work(2.1, 1.4, 1.0)
    assert machine.work(60, 0.6, 0.0, gain=2.0) == []


def test_it_waits_longer_after_it_was_wrong() -> None:
    machine = Machine(most=1)
    machine.work(2.1, 1.4, 1.0)
    assert machine.work(RECOVER_S + 8, 0.3, 0.0) == [0]
    assert machine.work(2.1, 1.4, 1.0) == [1]
    assert machine.work(RECOVER_S + 8, 0.3, 0.0) == []
    assert machine.work(RECOVER_S, 0.3, 0.0) == [0]


def test_fewer_rungs_allow_fewer_levels() -> None:
    machine = Machine(most=3)
    machine.work(30, 1.4, 1.5)
    machine.most = 1
    assert machine.work(FRAME_S, 0.5, 0.0) == [1]
