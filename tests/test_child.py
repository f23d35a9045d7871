"""Child processes, real ones: started, logged for, restarted, ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediaserver import child
from mediaserver.child import ChildProcess

WAIT_S = 20


@pytest.fixture
async def lines() -> AsyncIterator[asyncio.Queue[tuple[str, str]]]:
    """Level and text of what is logged, as it is logged."""
    queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            queue.put_nowait((record.levelname, record.getMessage()))

    handler = Handler()
    logger = logging.getLogger("hawker.child")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield queue
    logger.removeHandler(handler)
    logger.setLevel(level)


async def line(lines: asyncio.Queue[tuple[str, str]]) -> tuple[str, str]:
    return await asyncio.wait_for(lines.get(), WAIT_S)


def python(code: str, environment: dict[str, str] | None = None) -> ChildProcess:
    return ChildProcess("worker", [sys.executable, "-c", code], environment)


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_what_a_child_logs_becomes_the_parents_lines(
    lines: asyncio.Queue[tuple[str, str]],
) -> None:
    process = python(
        "import logging, sys, time\n"
        "from mediaserver import child\n"
        "child.begin(1)\n"
        "logging.info('begun')\n"
        "logging.error('something happened')\n"
        "print('raw words', file=sys.stderr)\n"
        "sys.stderr.write('x' * 10000 + '\\nend\\n')\n"
        "time.sleep(60)\n"
    )
    await process.start()
    assert await line(lines) == ("INFO", "worker: begun")
    assert await line(lines) == ("ERROR", "worker: something happened")
    assert await line(lines) == ("WARNING", "worker: raw words")
    _, long = await line(lines)
    assert len(long) < 5000
    while (await line(lines))[1] != "worker: end":
        pass
    await process.stop()


async def test_a_stopped_child_is_gone_and_not_restarted(
    lines: asyncio.Queue[tuple[str, str]],
) -> None:
    process = python("import time, logging\nlogging.warning('up')\ntime.sleep(60)")
    await process.start()
    await line(lines)
    pid = process.pid
    assert pid is not None
    assert not ended(pid)
    await process.stop()
    await process.stop()
    assert ended(pid)
    assert process.pid is None
    assert process.restarts == 0


async def test_a_child_that_does_not_listen_is_killed_within_two_seconds(
    lines: asyncio.Queue[tuple[str, str]],
) -> None:
    process = python(
        "import signal, time, logging\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "logging.warning('deaf')\n"
        "time.sleep(60)\n"
    )
    await process.start()
    await line(lines)
    pid = process.pid
    assert pid is not None
    async with asyncio.timeout(2):
        await process.stop()
    assert ended(pid)


async def test_a_child_that_ends_is_started_again_ever_more_slowly(
    lines: asyncio.Queue[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "RESTART_MIN_S", 0.01)
    monkeypatch.setattr(child, "RESTART_MAX_S", 0.03)
    process = python("raise SystemExit(3)")
    await process.start()
    for pause in ("0.01", "0.02", "0.03", "0.03"):
        assert await line(lines) == ("WARNING", "worker: ended with status 3")
        assert await line(lines) == ("INFO", f"worker: restarts in {pause} s")
    assert process.restarts == 3
    await process.stop()


async def test_a_child_that_cannot_be_started_again_is_tried_again(
    lines: asyncio.Queue[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(child, "RESTART_MIN_S", 0.01)
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nrm "$0"\n')
    program.chmod(0o700)
    process = ChildProcess("worker", [str(program)])
    await process.start()
    assert (await line(lines))[1] == "worker: ended with status 0"
    for _ in range(2):
        assert (await line(lines))[1].startswith("worker: restarts in")
        assert (await line(lines))[1].startswith("worker: cannot be started")
    await process.stop()


async def test_a_killed_child_is_started_again(
    lines: asyncio.Queue[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "RESTART_MIN_S", 0.01)
    process = python("import time, logging\nlogging.warning('up')\ntime.sleep(60)")
    await process.start()
    await line(lines)
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert (await line(lines))[1] == "worker: ended with status -9"
    assert (await line(lines))[1].startswith("worker: restarts in")
    await line(lines)
    assert process.pid not in (None, first)
    await process.stop()


async def test_a_child_gets_the_secrets_it_is_given_and_no_other(
    lines: asyncio.Queue[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAWKER_AUTH__ADMIN_TOKEN", "secret")
    monkeypatch.setenv("OTHER", "kept")
    process = python(
        "import os, logging, time\n"
        "e = os.environ\n"
        "logging.warning('%s %s %s', e.get('HAWKER_AUTH__ADMIN_TOKEN'), e['GIVEN'], e['OTHER'])\n"
        "time.sleep(60)\n",
        {"GIVEN": "key"},
    )
    await process.start()
    text = (await line(lines))[1]
    assert text.endswith("None key kept")
    await process.stop()


async def test_ctrl_c_reaches_the_parent_alone(lines: asyncio.Queue[tuple[str, str]]) -> None:
    process = python("import time, logging\nlogging.warning('up')\ntime.sleep(60)")
    await process.start()
    await line(lines)
    assert process.pid is not None
    assert os.getsid(process.pid) != os.getsid(0)
    await process.stop()


async def test_a_program_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        await ChildProcess("worker", ["/nonexistent/program"]).start()


def test_only_a_child_whose_parent_is_gone_is_orphaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAWKER_PARENT_PID", raising=False)
    assert not child.orphaned()
    monkeypatch.setenv("HAWKER_PARENT_PID", str(os.getppid()))
    assert not child.orphaned()
    monkeypatch.setenv("HAWKER_PARENT_PID", str(os.getpid()))
    assert child.orphaned()


async def test_a_child_that_hangs_is_killed_and_started_again(
    lines: asyncio.Queue[tuple[str, str]],
) -> None:
    process = python("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()")
    await process.start()
    process.kill()
    assert await line(lines) == ("WARNING", "worker: ended with status -9")
    assert "restarts in" in (await line(lines))[1]
    await process.stop()
    process.kill()  # nothing is there any more
