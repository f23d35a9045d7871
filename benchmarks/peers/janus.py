"""Janus from Debian with its streaming plugin and one event loop; its settings are in janus/."""

from __future__ import annotations

import contextlib
import shutil
import socket
import string
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.loads import Load
from benchmarks.peers import NotStarted, Running, Way, package_version, started
from benchmarks.peers.feeds import feed_rtp
from benchmarks.picture import FRAMES_PER_S

SETTINGS = Path(__file__).parent / "janus"
LOOPBACK = "127.0.0.1"
ELSEWHERE = "192.0.2.1", 9  # a documentation address (RFC 5737): nothing is sent there
READY_S = 15.0
POLL_S = 0.05


class Janus:
    title = "Janus"
    packages: Sequence[str] = ("janus",)

    def missing(self) -> str:
        if shutil.which("janus") is None:
            return "no janus"
        return (
            "" if _has_address() else "Janus ignores loopback and the machine has no other address"
        )

    def version(self) -> str:
        return package_version("janus")

    def prepare(self, folder: Path) -> None: ...

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        http_port, rtp_port = _free_port(socket.SOCK_STREAM), _free_port(socket.SOCK_DGRAM)
        settings, log = folder / "janus", folder / "janus.log"
        _write_settings(settings, http_port, rtp_port)
        with (
            log.open("wb") as output,
            started(["janus", "-F", str(settings)], output, output) as process,
        ):
            url = f"http://{LOOPBACK}:{http_port}/janus"
            _wait(url, process, log)
            with Load(feed_rtp, (LOOPBACK, rtp_port)) as feed:
                feed.ask(str(FRAMES_PER_S))
                yield Running(process.pid, Way("janus", url, data=False), feed)


def _write_settings(folder: Path, http_port: int, rtp_port: int) -> None:
    folder.mkdir(exist_ok=True)
    values = {"folder": str(folder), "http_port": http_port, "rtp_port": rtp_port}
    for template in SETTINGS.glob("*.jcfg"):
        text = string.Template(template.read_text("utf-8")).substitute(values)
        (folder / template.name).write_text(text, "utf-8")


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{url}/info", timeout=READY_S):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(POLL_S)
    raise NotStarted(f"janus: {log.read_text('utf-8', 'replace')}")


def _free_port(kind: socket.SocketKind) -> int:
    """One that the kernel has just given and taken back: Janus cannot be asked for its own."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((LOOPBACK, 0))
        port: int = sock.getsockname()[1]
        return port


def _has_address() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(ELSEWHERE)
        except OSError:
            return False
        return not str(sock.getsockname()[0]).startswith("127.")
