"""Checks of the words people give: titles, names, labels."""

from __future__ import annotations

import unicodedata

from overlay.errors import Invalid


def checked_text(field: str, text: str, limit: int) -> str:
    """The text without spaces at its ends; refused when empty, too long or with control characters.

    `limit` is in characters. Surrogates without a partner, which JSON can carry and UTF-8 cannot, are
    refused too.
    """
    text = text.strip()
    if not 1 <= len(text) <= limit:
        raise Invalid(field, f"1 to {limit} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise Invalid(field, "no control characters")
    return text
