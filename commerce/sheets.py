"""CSV (RFC 4180) as spreadsheets read it: with a byte order mark, and no text that is a formula.

A text that begins with what a spreadsheet takes for a formula gets an apostrophe before it, as OWASP
recommends against CSV injection; numbers of ours are left as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

BOM = "\ufeff"  # Excel takes a file without it for one of its own code page
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def safe(text: str | None) -> str:
    """A text for a cell."""
    text = text or ""
    return f"'{text}" if text.startswith(FORMULA) else text


def rows_to_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """The rows, in which texts of others went through `safe`."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue().encode("utf-8", "replace")
