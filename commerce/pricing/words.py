"""What a rule gives, in words: for the quote, the order and the page, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping

from commerce.money import Money
from commerce.pricing.rules import Rule, Sale

Label = Mapping[str, str]


def rule_label(rule: Rule) -> Label:
    """`{"en": …, "zh": …}`; a title that was given stands before it."""
    en, zh = _given(rule)
    if rule.spend is not None and rule.spend.amount > 0:
        each = "each " if rule.every else ""
        en = f"{en} for {each}{_plain(rule.spend)} {rule.spend.currency} spent"
        zh = f"{'每' if rule.every else ''}满{_plain(rule.spend)}{zh}"
    if rule.kind == "tier":
        en, zh = f"{en} for members ({rule.tier})", f"会员（{rule.tier}）{zh}"
    elif rule.kind == "coupon":
        en, zh = f"coupon: {en}", f"优惠券：{zh}"
    return {"en": f"{rule.title}: {en}", "zh": f"{rule.title}：{zh}"}


def sale_label(sale: Sale, pieces: int, wanted: int) -> Label:
    """Why only some pieces have a sale's price."""
    return {
        "en": f"{pieces} of {wanted} at the sale price of {sale.price}",
        "zh": f"{wanted}件中{pieces}件享秒杀价{_plain(sale.price)}",
    }


def _given(rule: Rule) -> tuple[str, str]:
    if rule.off is not None:
        return f"{rule.off} off", f"减{_plain(rule.off)}"
    if rule.price is not None:
        return f"{rule.price} a piece", f"每件{_plain(rule.price)}"
    assert rule.percent is not None
    return f"{rule.percent}% off", _zhe(100 - rule.percent)


def _zhe(percent: int) -> str:
    """What is left to pay, in tenths, as Chinese has it: 88 % is 8.8折."""
    if percent == 0:
        return "免单"
    tenths, rest = divmod(percent, 10)
    return f"{tenths}.{rest}折" if rest else f"{tenths}折"


def _plain(money: Money) -> str:
    return str(money).rpartition(" ")[0]
