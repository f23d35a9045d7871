from __future__ import annotations

import pytest

from commerce.errors import IllegalTransition
from commerce.transitions import ALL, FULFILMENT, PAYMENT, STATE, step


def test_the_tables_hold_the_states_that_are_promised() -> None:
    assert list(STATE) == ["reserved", "confirmed", "completed", "cancelled", "expired"]
    assert set(PAYMENT) == {
        "none",
        "pending",
        "failed",
        "paid",
        "partially_refunded",
        "refunded",
        "disputed",
    }
    assert set(FULFILMENT) == {
        "none",
        "partial",
        "shipped",
        "delivered",
        "return_requested",
        "partially_returned",
        "returned",
    }


@pytest.mark.parametrize("name", ALL)
def test_every_step_leads_to_a_state_of_its_table(name: str) -> None:
    for targets in ALL[name].values():
        assert targets <= set(ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_what_is_not_in_the_table_is_refused_and_both_states_are_named(name: str) -> None:
    table = ALL[name]
    for source, targets in table.items():
        for target in table:
            if target in targets:
                assert step(name, source, target) == target
                continue
            with pytest.raises(IllegalTransition) as refusal:
                step(name, source, target)
            assert (refusal.value.status, refusal.value.code) == (409, "illegal_transition")
            assert refusal.value.extra == {"table": name, "from": source, "to": target}
