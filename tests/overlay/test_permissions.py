"""The permission table as it was agreed, written down a second time."""

from __future__ import annotations

import json

import pytest

from overlay import permissions
from overlay.permissions import ACTS, STAFF_ROLES, TABLE, acts_of, document, may
from overlay.tokens import ROLES

AGREED = """
                      admin operator host moderator finance engineer
rooms.write             x      x      -       -        -       -
rooms.inspect           x      x      x       x        -       x
stream_key.rotate       x      x      x       -        -       -
restreams.write         x      x      x       -        -       -
viewer_tokens.issue     x      x      -       -        -       -
products.write          x      x      x       -        -       -
stock.read              x      x      x       -        x       -
stock.adjust            x      x      x       -        -       -
prices.write            x      x      x       -        -       -
cards.pin               x      x      x       -        -       -
bag.write               x      x      x       -        -       -
sales.write             x      x      x       -        -       -
promotions.write        x      x      x       -        -       -
coupons.write           x      x      x       -        -       -
orders.read             x      x      -       -        x       -
orders.contact          x      x      -       -        -       -
orders.ship             x      x      -       -        -       -
orders.cancel           x      x      -       -        -       -
orders.refund           x      x      -       -        x       -
orders.returns          x      x      -       -        -       -
orders.notes            x      x      -       -        x       -
payments.read           x      x      -       -        x       -
payments.disputes       x      x      -       -        x       -
webhooks.manage         x      x      -       -        -       -
audit.read              x      x      -       -        x       x
staff.manage            x      -      -       -        -       -
"""
HEAD, *ROWS = [line.split() for line in AGREED.strip().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_an_act_is_for_the_roles_that_were_agreed(row: list[str]) -> None:
    assert {role for role in TABLE if may(role, row[0])} == {
        role for role, mark in zip(HEAD, row[1:], strict=True) if mark == "x"
    }


def test_the_table_has_these_acts_and_roles_and_no_others() -> None:
    assert list(ACTS) == [row[0] for row in ROWS]
    assert list(TABLE) == HEAD
    assert set().union(*TABLE.values()) == set(ACTS)


@pytest.mark.parametrize("role", ["viewer", "nobody", "order", "", "Admin", "admin "])
def test_who_is_not_in_the_table_may_do_nothing(role: str) -> None:
    assert acts_of(role) == []


def test_an_act_that_is_not_in_the_table_is_nobodys() -> None:
    assert not may("admin", "rooms.delete")


def test_the_roles_of_the_staff_are_those_a_viewer_token_may_grant() -> None:
    assert {"viewer", *STAFF_ROLES} == set(ROLES)
    assert "admin" not in STAFF_ROLES


def test_the_document_is_json_and_says_the_same() -> None:
    said = json.loads(json.dumps(document()))
    assert said["roles"] == HEAD
    assert said["acts"] == list(ACTS)
    assert {role: set(acts) for role, acts in said["table"].items()} == permissions.TABLE
