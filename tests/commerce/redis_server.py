"""Real redis-server processes: each in its own directory, on a free port, ended by its process."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

DEBIAN = Path("/etc/debian_version")
START_S = 10.0


def require() -> None:
    """Redis is a package of Debian that the set-up installs: elsewhere it may be missing."""
    if shutil.which("redis-server") is None:
        if DEBIAN.exists():
            pytest.fail("redis-server is not installed: .ci/setup system")
        pytest.skip("no redis-server")


def free_port() -> int:
    """A port that is free, as is its Cluster bus 10,000 above."""
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if port > 55_000:
                continue
            try:
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port


class RedisServer:
    """One server, appendfsync always; `kill` is kill -9, `start` again finds what was kept."""

    def __init__(self, directory: Path, **settings: str) -> None:
        require()
        self.directory = directory
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self.settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(directory),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "logfile": "redis.log",
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Ready when this returns."""
        options = [word for name, value in self.settings.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            ["redis-server", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_S
        while self._answer() != b"+PONG\r\n":
            assert self._process.poll() is None, (self.directory / "redis.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _answer(self) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64)
        except OSError:
            return b""

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, *command: str) -> str:
        """One command's answer, as redis-cli prints it."""
        words = ["redis-cli", "-p", str(self.port), *command]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
