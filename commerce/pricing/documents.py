"""Rules as the API and the rooms show them, and the checks of new ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from commerce.errors import Invalid
from commerce.money import Money
from commerce.pricing.rules import Rule
from commerce.pricing.words import rule_label
from commerce.products import SKU_CODE
from commerce.text import checked_count, checked_text
from commerce.timestamps import rfc3339

TITLE_CHARS = 100
LABEL_CHARS = 200  # as long as a merchant's name; tiers and segments have fewer
SKUS_MAX = 100  # of one rule: who means more means a merchant's, or all
PROMOTION_KINDS = ("threshold", "percent", "fixed", "tier")
AHEAD_MS = 366 * 86_400_000  # nobody plans a price further ahead
GROUP = re.compile(r"[A-Za-z0-9_.-]{1,40}")


def rule_document(rule: Rule, created_ms: int) -> dict[str, Any]:
    """With its `label` in words by language; what is null is no condition."""
    ends_ms = rule.ends_ms
    return {
        "id": rule.id,
        "kind": rule.kind,
        "title": rule.title,
        "label": dict(rule_label(rule)),
        "spend": _money(rule.spend),
        "off": _money(rule.off),
        "percent": rule.percent,
        "price": _money(rule.price),
        "every": rule.every,
        "stacks": rule.stacks,
        "group": rule.group,
        "room": rule.room,
        "skus": list(rule.skus),
        "merchant": rule.merchant,
        "tier": rule.tier,
        "segment": rule.segment,
        "starts_at": rfc3339(rule.starts_ms),
        "ends_at": None if ends_ms is None else rfc3339(ends_ms),
        "created_at": rfc3339(created_ms),
    }


def check_rule(rule: Rule, now_ms: int) -> None:
    """Raise Invalid for a rule that cannot be: each kind gives what its name says."""
    checked_text("title", rule.title, TITLE_CHARS)
    gifts = {"off": rule.off, "percent": rule.percent, "price": rule.price}
    allowed = {
        "threshold": ("off", "percent"),
        "percent": ("percent",),
        "fixed": ("off",),
        "tier": ("off", "percent", "price"),
        "coupon": ("off", "percent"),
    }[rule.kind]
    given = [name for name, value in gifts.items() if value is not None]
    if len(given) != 1 or given[0] not in allowed:
        raise Invalid("kind", f"a {rule.kind} gives one of {', '.join(allowed)}")
    if rule.percent is not None:
        checked_count("percent", rule.percent, 1, 100)
    _check_amounts(rule)
    if (rule.kind == "threshold") != (rule.spend is not None) and rule.kind != "coupon":
        raise Invalid("spend", "a threshold has one, and nothing else but a coupon")
    if rule.every and (rule.spend is None or rule.off is None):
        raise Invalid("every", "it is for what is off each time that spend is reached")
    if (rule.kind == "tier") != (rule.tier is not None) and rule.kind != "coupon":
        raise Invalid("tier", "a promotion of kind tier has one, and no other")
    _check_scope(rule)
    check_window(rule.starts_ms, rule.ends_ms, now_ms)


def check_window(starts_ms: int, ends_ms: int | None, now_ms: int) -> None:
    """Raise Invalid for a time that has passed, is nowhere near, or ends before it begins."""
    if not 0 <= starts_ms <= now_ms + AHEAD_MS:
        raise Invalid("starts_at", "at most a year ahead")
    if ends_ms is not None and not max(starts_ms, now_ms) < ends_ms <= now_ms + 2 * AHEAD_MS:
        raise Invalid("ends_at", "after the start, and in the future")


def _check_amounts(rule: Rule) -> None:
    moneys = [(name, getattr(rule, name)) for name in ("spend", "off", "price")]
    for name, money in moneys:
        least = 0 if name == "price" else 1
        if money is not None and money.amount < least:
            raise Invalid(name, f"at least {least} minor units")
    if len({money.currency for _, money in moneys if money is not None}) > 1:
        raise Invalid("currency", "all of a rule in one")


def _check_scope(rule: Rule) -> None:
    _check_skus(rule.skus)
    if rule.price is not None and not rule.skus:
        raise Invalid("skus", "a member price is that of some SKUs")
    if rule.group is not None and not GROUP.fullmatch(rule.group):
        raise Invalid("group", "1 to 40 of letters, digits, _, . and -")
    for name in ("room", "merchant", "tier", "segment"):
        text = getattr(rule, name)
        if text is not None and checked_text(name, text, LABEL_CHARS) != text:
            raise Invalid(name, "no spaces at its ends")


def _check_skus(skus: Sequence[str]) -> None:
    if len(skus) > SKUS_MAX or not all(SKU_CODE.fullmatch(sku) for sku in skus):
        raise Invalid("skus", f"at most {SKUS_MAX} codes of SKUs")


def _money(money: Money | None) -> dict[str, Any] | None:
    return None if money is None else money.to_json()
