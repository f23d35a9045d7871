"""The benchmarks, one module each: a docstring, and `main(argv) -> int` that prints a table."""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent


def available(folder: Path = HERE) -> dict[str, str]:
    """The benchmarks' names, each with the first line of its docstring; none is imported."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        summary = ast.get_docstring(tree)
        mains = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        if summary and any(function.name == "main" for function in mains):
            found[path.stem] = summary.splitlines()[0]
    return found
