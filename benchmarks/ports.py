"""Ports of peers that cannot pick a free one themselves."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from benchmarks.peers import NotStarted

READY_S = 30.0
POLL_S = 0.05
LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port of TCP on loopback that nobody has now."""
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        port: int = sock.getsockname()[1]
    return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once it takes connections; raises NotStarted with what the process has said."""
    until = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except OSError:
            time.sleep(POLL_S)
        else:
            return
    raise NotStarted(log.read_text("utf-8", "replace")[-2000:])
