"""A real server in a process of its own, `hawker serve` on loopback, and its figures."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cores import only

READY_S = 60.0
STOP_S = 12.0
LIVE_S = 15.0
POLL_S = 0.05
LOOPBACK = "127.0.0.1"
SETTINGS = (
    *(f"{part}.host={LOOPBACK}" for part in ("http", "rtmp", "webrtc", "srt")),
    *(f"{part}.port=0" for part in ("http", "rtmp", "webrtc", "srt")),
    "http.https_port=-1",
    "rtmps.port=-1",
    "slate.enabled=false",  # what is counted is what publishers send
    "log.level=warning",
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where it answers; `log` is the file that its stderr goes to."""

    pid: int
    url: str
    rtmp: str
    log: Path
    admin_token: str

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A call with the admin token; raises urllib.error.HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        request.add_header("Authorization", f"Bearer {self.admin_token}")
        with urllib.request.urlopen(request, timeout=READY_S) as reply:
            return json.load(reply)

    def metrics(self) -> dict[str, float]:
        """All figures of /metrics, summed over their labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=READY_S) as reply:
            lines = reply.read().decode().splitlines()
        figures: dict[str, float] = {}
        for line in lines:
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                name = name.partition("{")[0]
                figures[name] = figures.get(name, 0.0) + float(value)
        return figures

    def waited_s(self) -> float:
        """For how long its loop's thread could run and had no core; 0 where the kernel tells not."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text("ascii")
        except OSError:
            return 0.0
        return int(text.split()[1]) / 1e9

    def wait_until_live(self, room: str) -> None:
        """Raises TimeoutError."""
        until = time.monotonic() + LIVE_S
        while not self.api("GET", f"/v1/rooms/{room}")["live"]:
            if time.monotonic() > until:
                raise TimeoutError(f"room {room} does not go on the air; see {self.log}")
            time.sleep(POLL_S)


@contextlib.contextmanager
def serving(
    *settings: str, program: Sequence[str] = ("-m", "mediaserver"), core: int | None = None
) -> Iterator[Server]:
    """A server with these settings (`section.key=value`) and a data directory of its own.

    `program` is what Python runs; `core`, where given, is the only one that the server may use.
    """
    with tempfile.TemporaryDirectory(prefix="hawker-bench-") as directory:
        log = Path(directory) / "log"
        token = secrets.token_urlsafe(24)
        given = [*SETTINGS, f"data.dir={directory}/data", *settings]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HAWKER_")}
        with log.open("wb") as stderr, only(core):
            process = subprocess.Popen(
                [sys.executable, *program, "serve"]
                + [part for each in given for part in ("--set", each)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # the kernel weighs it apart from the load, as any service
                env={**inherited, "HAWKER_AUTH__ADMIN_TOKEN": token},
            )
        try:
            yield _ready(process, log, token)
        finally:
            _stop(process)


def _ready(process: subprocess.Popen[bytes], log: Path, token: str) -> Server:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ConnectionError(log.read_text("utf-8", "replace"))
    ready = json.loads(line)
    return Server(process.pid, ready["http"], ready["rtmp"], log, token)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
