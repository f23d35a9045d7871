"""Pion v3 in a program of ours (pion/main.go), built from Debian's packages, with one processor."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.loads import Load
from benchmarks.peers import NotStarted, Running, Way, package_version, started
from benchmarks.peers.feeds import feed_rtp
from benchmarks.picture import FRAMES_PER_S

SOURCE = Path(__file__).parent / "pion"
LIBRARIES = Path("/usr/share/gocode")  # where Debian's packages of Go put their sources
NAME = "pionfan"
BUILD_S = 300.0


class Pion:
    title = "Pion v3"
    packages: Sequence[str] = ("golang-go", "golang-github-pion-webrtc.v3-dev")

    def missing(self) -> str:
        if shutil.which("go") is None:
            return "no Go compiler"
        found = (LIBRARIES / "src/github.com/pion/webrtc").exists()
        return "" if found else "Pion's sources are not installed"

    def version(self) -> str:
        go = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
        return f"{package_version(self.packages[-1])}, {' '.join(go.split()[2:3])}"

    def prepare(self, folder: Path) -> None:
        build(SOURCE, NAME, folder)

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        command, log = [str(folder / NAME)], folder / f"{NAME}.log"
        with (
            log.open("wb") as errors,
            started(command, subprocess.PIPE, errors, GOMAXPROCS="1") as process,
        ):
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise NotStarted(f"{NAME}: {log.read_text('utf-8', 'replace')}")
            ready = json.loads(line)
            host, _, port = ready["rtp"].rpartition(":")
            with Load(feed_rtp, (host, int(port))) as feed:
                feed.ask(str(FRAMES_PER_S))
                yield Running(process.pid, Way("whep", f"{ready['http']}/whep", data=False), feed)


def build(source: Path, name: str, folder: Path) -> None:
    """Make the program `folder/name`. Offline; the go.mod is there for the /v3 in import paths."""
    shutil.copytree(source, folder / "src" / name)
    settings = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{folder}:{LIBRARIES}"}
    built = subprocess.run(
        ["go", "build", "-o", str(folder / name), name],
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        env={**os.environ, **settings},
        check=False,
    )
    if built.returncode:
        raise NotStarted(f"go build: {built.stderr}")
