"""What all tests share: the programs they run, skipped by name where the machine lacks one."""

from __future__ import annotations

import shutil
from pathlib import Path

import imageio_ffmpeg
import pytest
from hypothesis import settings

CHROMIUM = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ROOT = Path(__file__).resolve().parent.parent

# A loaded machine is slow, not wrong; and a run can be repeated.
settings.register_profile("hawker", deadline=None, derandomize=True)
settings.load_profile("hawker")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome."""
    for command in CHROMIUM:
        if path := shutil.which(command):
            return path
    pytest.skip("Chromium is not installed")


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """The path of the system's ffmpeg, else of the one that a wheel brings."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()


@pytest.fixture(scope="session")
def whip_ffmpeg() -> str:
    """The path of an ffmpeg that has the whip muxer."""
    return imageio_ffmpeg.get_ffmpeg_exe()


@pytest.fixture(scope="session")
def hls_js() -> Path:
    """The path of hls.js as the set-up installs it."""
    path = ROOT / "overlay/web/node_modules/hls.js/dist/hls.min.js"
    if not path.exists():
        pytest.skip("hls.js is not installed: make setup")
    return path
