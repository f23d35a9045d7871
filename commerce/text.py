"""Checks of the words people give: titles, names, ids, reasons."""

from __future__ import annotations

import re

from commerce.errors import Invalid

NOT_PLAIN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, surrogates


def checked_text(field: str, text: object, limit: int) -> str:
    """The text without spaces at its ends; raises Invalid when it is empty, too long or not plain.

    `limit` is in characters. Control characters are refused, and surrogates without a partner, which
    JSON can carry and UTF-8 cannot.
    """
    if not isinstance(text, str):
        raise Invalid(field, "a text is wanted")
    text = text.strip()
    if not 1 <= len(text) <= limit:
        raise Invalid(field, f"1 to {limit} characters")
    if NOT_PLAIN.search(text):
        raise Invalid(field, "no control characters")
    return text


def checked_count(field: str, number: object, low: int, high: int) -> int:
    """The number if it is a whole one in `low` to `high`; raises Invalid."""
    if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
        raise Invalid(field, f"a whole number from {low} to {high}")
    return number
