"""What the tests of the pages run on."""

from __future__ import annotations

import shutil
from pathlib import Path

import playwright
import pytest


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node.js: the machine's, or the one that Playwright brings."""
    brought = Path(playwright.__file__).parent / "driver/node"
    found = shutil.which("node") or (str(brought) if brought.exists() else None)
    return found or pytest.skip("Node.js is not installed")
