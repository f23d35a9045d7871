"""A server process from start to exit, as its operator sees it: exit code, output, and how soon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from mediaserver import lifecycle

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 30  # of a loaded machine; what is waited for comes at once

Launch: TypeAlias = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Run the program with a behaviour and a port; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(behaviour: str, port: int = 0) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/lifecycle_program.py"), behaviour, str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ready(process: subprocess.Popen[str]) -> int:
    """Wait until it is; returns the port."""
    assert line(process) == "starting"
    word, port = line(process).split()
    assert word == "ready"
    return int(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_with_0(launch: Launch, number: int) -> None:
    process = launch("well")
    with socket.create_connection(("127.0.0.1", ready(process)), PATIENCE_S) as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output, errors) == (0, "drained\n", "")


def test_a_signal_during_the_start_drains_and_exits_with_0(launch: Launch) -> None:
    process = launch("endless start")
    assert line(process) == "starting"
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output, errors) == (0, "drained\n", "")


def test_a_drain_that_does_not_end_is_cut_off(launch: Launch) -> None:
    process = launch("endless drain")
    ready(process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "the drain took more than 0.5 s" in errors


@pytest.mark.parametrize("behaviour", ["stuck loop", "stuck thread"])
def test_a_process_that_hangs_is_ended_and_says_where(launch: Launch, behaviour: str) -> None:
    process = launch(behaviour)
    ready(process)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "Timeout" in errors
    assert "lifecycle_program.py" in errors or "threading.py" in errors
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("behaviour", ["endless drain", "stuck loop"])
def test_a_second_signal_ends_it_at_once(launch: Launch, behaviour: str) -> None:
    process = launch(behaviour)
    ready(process)
    process.send_signal(signal.SIGINT)
    if behaviour == "stuck loop":
        assert line(process) == "stuck"
    else:
        wait_for_default_action(process.pid)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGINT


def wait_for_default_action(pid: int) -> None:
    """Until SIGINT is no longer caught: the first one has been seen."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("no /proc on this system")
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        caught = next(each for each in status.read_text().splitlines() if each.startswith("SigCgt"))
        if not int(caught.split()[1], 16) & 1 << (signal.SIGINT - 1):
            return
    pytest.fail("the first signal was not seen")


@pytest.mark.parametrize(
    ("behaviour", "printed"), [("well", "starting\ndrained\n"), ("endless drain", "starting\n")]
)
def test_a_port_that_is_taken_is_told_with_the_key_to_change(
    launch: Launch, behaviour: str, printed: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = launch(behaviour, port)
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert output == printed
    assert errors.endswith(
        f"http.port: cannot listen on 127.0.0.1:{port}: the port is taken;"
        " set http.port to another, or to 0 for a free one\n"
    )


def test_an_address_of_another_machine_is_told_with_the_key_to_change() -> None:
    with (
        pytest.raises(lifecycle.StartError, match="no such address; set rtmp.host"),
        lifecycle.binding("rtmp.port", "203.0.113.7", 0),
        socket.socket() as ours,
    ):
        ours.bind(("203.0.113.7", 0))


def test_a_host_name_that_does_not_resolve_is_told_with_the_key_to_change() -> None:
    with (
        pytest.raises(lifecycle.StartError, match=r"not known; see http\.host"),
        lifecycle.binding("http.https_port", "host.invalid", 0),
    ):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
