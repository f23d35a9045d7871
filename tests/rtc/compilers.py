"""The compiled sender for tests: built once for all of them, if this machine has a compiler."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediaserver.rtc import compiled
from mediaserver.rtc.compiled_carrier import Compiled


def built(directory: Path) -> Compiled:
    """Build it there and load it; skips the test where that can't be."""
    try:
        compiled.build(directory)
    except compiled.Unavailable as why:
        pytest.skip(f"no compiled sender: {why}")
    return compiled.load(directory)
