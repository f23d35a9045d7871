"""What a figure was measured on: processor, kernel, versions and how busy the machine was."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend

LIBRARIES = ("cryptography", "pylibsrtp", "uvloop", "aiortc", "av")


def describe(libraries: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Lines for the head of a table, by title."""
    versions = ", ".join(f"{each} {metadata.version(each)}" for each in libraries)
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": f"{versions}; {backend.openssl_version_text()} in cryptography",
        "load before": load,
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
