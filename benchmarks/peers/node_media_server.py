"""node-media-server, pinned in node_media_server/package-lock.json and fetched by npm."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers import NotStarted, started
from benchmarks.ports import LOOPBACK, free_port, wait_for_port

PINNED = Path(__file__).parent / "node_media_server"
INSTALL_S = 180.0
PROGRAM = "node_modules/node-media-server/bin/app.js"


def missing() -> str:
    """What is not installed, in words; empty when all is there."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "no Node.js, or no npm"
    return ""


def prepare(folder: Path) -> None:
    """Install it in the folder; raises NotStarted."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PINNED / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotStarted("npm ci takes too long") from None
    if done.returncode:
        raise NotStarted(f"npm ci: {done.stderr[-2000:]}")


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[int, int]]:
    """Process and port of one on loopback, without its admin page; raises NotStarted."""
    port = free_port()
    config, log = folder / "config.json", folder / "node.log"
    auth = {"play": False, "publish": False, "secret": ""}
    settings = {
        "bind": LOOPBACK,
        "notify": {"url": ""},
        "store": {"path": str(folder / "data"), "maxHistory": 100},
        "auth": {**auth, "jwt": {"secret": "", "algorithm": "HS256", "users": []}},
        "rtmp": {"port": port},
        "http": {"port": free_port()},
        "record": {"auto": False, "path": str(folder / "record")},
    }
    config.write_text(json.dumps(settings), "utf-8")
    command = ["node", str(folder / PROGRAM), "-c", str(config), "--no-admin"]
    with log.open("wb") as errors, started(command, errors, errors) as process:
        wait_for_port(port, process, log)
        yield process.pid, port
