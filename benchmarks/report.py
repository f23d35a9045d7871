"""How a benchmark shows itself: conditions in words, a table with bars, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

BAR_CELLS = 10
WIDTH = 100  # of what goes to a file: the widest table


def show_facts(console: Console, title: str, facts: Mapping[str, str]) -> None:
    """A headed list of what holds for the whole run."""
    console.print(Text(title, style="bold"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, value in facts.items():
        grid.add_row(name, value)
    console.print(grid)
    console.print()


def console() -> Console:
    """Where results are printed; wide enough for every table where it is no terminal."""
    printed = Console()
    return printed if printed.is_terminal else Console(width=WIDTH)


def show_table(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """The first column is words, the others are figures; a column without a title holds bars."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number and column else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def bar(value: float, longest: float) -> str:
    """A bar in proportion to the longest one, never empty."""
    return "█" * max(1, round(value / longest * BAR_CELLS))


def save(path: Path, result: Mapping[str, Any]) -> None:
    """Write the whole result as JSON."""
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
