"""Whole servers that send one stream to WebRTC viewers, each in processes of its own, and their cost.

A peer is started with nobody watching and the stream running; viewers join as its `Way` says.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from benchmarks.loads import Load

STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Way:
    """How a viewer gets in: by WHEP at `url`, or by Janus's own API; `data` asks for channels."""

    protocol: Literal["whep", "janus"]
    url: str
    data: bool


@dataclass(frozen=True, slots=True)
class Running:
    """A server on the air; `feed` is told the frame rate and answers what it published so far."""

    pid: int
    way: Way
    feed: Load


class Peer(Protocol):
    """A server to compare; `packages` are Debian's."""

    title: str
    packages: Sequence[str]

    def missing(self) -> str:
        """What is not installed, in words; empty when all is there."""

    def version(self) -> str: ...

    def prepare(self, folder: Path) -> None:
        """Once before all runs: build it. `folder` stays until the last has ended."""

    def running(self, folder: Path) -> AbstractContextManager[Running]:
        """Started, with the stream on the air."""


class NotStarted(Exception):
    """A peer that is installed and does not come up."""


@contextlib.contextmanager
def started(
    command: Sequence[str], output: IO[bytes] | int, errors: IO[bytes], **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is terminated at the end."""
    inherited = {**os.environ, **environment}
    process = subprocess.Popen(command, stdout=output, stderr=errors, env=inherited)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def package_version(name: str) -> str:
    """Of an installed Debian package; empty elsewhere."""
    if shutil.which("dpkg-query") is None:
        return ""
    asked = ["dpkg-query", "--show", "--showformat=${Version}", name]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout
