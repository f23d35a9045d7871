"""Log lines, as text and as JSON: the same content, and nothing that a peer could forge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import logging, sys
from mediaserver import logs

logs.configure(sys.argv[1], sys.argv[2])
log = logging.getLogger("mediaserver.ingest")
log.debug("not wanted")
log.info("published by %s", "x\\n2026 ERROR forged \\x1b[2J", extra={"room": "demo", "bytes": 7})
try:
    raise ValueError("ours")
except ValueError:
    log.exception("a bug")
"""


def lines(level: str, style: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level, style],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_text_lines_cannot_be_forged_and_carry_their_facts() -> None:
    first, second, *traceback = lines("info", "text")
    timestamp, rest = first.split(" ", 1)
    assert timestamp.endswith("Z")
    assert rest == (
        r"INFO    mediaserver.ingest: published by x\n2026 ERROR forged \x1b[2J room=demo bytes=7"
    )
    assert "ERROR   mediaserver.ingest: a bug" in second
    assert traceback[-1] == "ValueError: ours"


def test_json_lines_are_one_object_each() -> None:
    published, bug = (json.loads(line) for line in lines("info", "json"))
    assert published.pop("ts").endswith("Z")
    assert published == {
        "level": "info",
        "logger": "mediaserver.ingest",
        "message": "published by x\n2026 ERROR forged \x1b[2J",
        "room": "demo",
        "bytes": 7,
    }
    assert bug["exception"].endswith("ValueError: ours")


def test_the_level_is_the_least_that_is_logged() -> None:
    assert len(lines("debug", "json")) == 3
    assert len(lines("error", "json")) == 1
