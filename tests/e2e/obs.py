"""OBS Studio without a screen: an untouched profile, one scene with a file that plays, and its stream.

Encoding is what OBS sets by itself (simple mode: x264, veryfast, keyframes where the encoder likes);
only the picture is small, so that a machine without a graphics card draws it in time.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import program

NAME = "table"
WIDTH, HEIGHT = 480, 270
DISPLAY_S = 20.0
DEBIAN = Path("/etc/debian_version")

GLOBAL = f"""[General]
FirstRun=true
LastVersion=486539266
Pre19Defaults=false
Pre21Defaults=false
Pre23Defaults=false
Pre24.1Defaults=false
EnableAutoUpdates=false
ConfirmOnExit=false
[Basic]
Profile={NAME}
ProfileDir={NAME}
SceneCollection={NAME}
SceneCollectionFile={NAME}
ConfigOnNewProfile=false
[BasicWindow]
SysTrayEnabled=true
SysTrayMinimizeToTray=true
SysTrayWhenStarted=true
WarnBeforeStartingStream=false
WarnBeforeStoppingStream=false
[OBSWebSocket]
FirstLoad=false
ServerEnabled=false
"""

PROFILE = f"""[General]
Name={NAME}
[Video]
BaseCX={WIDTH}
BaseCY={HEIGHT}
OutputCX={WIDTH}
OutputCY={HEIGHT}
FPSType=0
FPSCommon=30
[Output]
Mode=Simple
[SimpleOutput]
VBitrate=1500
"""


def require() -> None:
    """Skip by name where there is no OBS; on Debian, which the set-up installs it on, fail."""
    missing = [name for name in ("obs", "Xvfb") if shutil.which(name) is None]
    if not missing:
        return
    said = f"{' and '.join(missing)} not installed: .ci/setup system"
    if DEBIAN.exists():
        pytest.fail(said)
    pytest.skip(said)


@asynccontextmanager
async def streaming(home: Path, film: Path, server: str, key: str) -> AsyncIterator[None]:
    """OBS, sending `film` over and over to `server` with a stream key ("" where the address has it)."""
    _configure(home / ".config" / "obs-studio", film, server, key)
    (home / "run").mkdir(mode=0o700)
    async with _display() as display:
        environment = os.environ | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "DISPLAY": display,
            "QT_QPA_PLATFORM": "xcb",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "GALLIUM_DRIVER": "llvmpipe",
            "LP_NUM_THREADS": "1",
        }
        quiet = ["--multi", "--minimize-to-tray", "--disable-updater", "--disable-shutdown-check"]
        chosen = ["--profile", NAME, "--collection", NAME, "--startstreaming"]
        async with program(
            "obs", *quiet, "--disable-missing-files-check", *chosen, environment=environment
        ):
            yield


@asynccontextmanager
async def _display() -> AsyncIterator[str]:
    """An X server of its own; it says which number it took."""
    process = await asyncio.create_subprocess_exec(
        *("Xvfb", "-displayfd", "1", "-screen", "0", "1280x720x24", "+extension", "GLX"),
        *("-nolisten", "tcp"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        number = await asyncio.wait_for(process.stdout.readline(), DISPLAY_S)
        yield f":{int(number)}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _configure(folder: Path, film: Path, server: str, key: str) -> None:
    service = {"server": server, "key": key, "use_auth": False}
    files = {
        "global.ini": GLOBAL,
        f"basic/profiles/{NAME}/basic.ini": PROFILE,
        f"basic/profiles/{NAME}/service.json": json.dumps(
            {"type": "rtmp_custom", "settings": service}
        ),
        f"basic/scenes/{NAME}.json": json.dumps(_scene(film)),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _scene(film: Path) -> dict[str, Any]:
    origin, whole = {"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 1.0}
    item = {"id": 1, "name": "film", "visible": True, "pos": origin, "scale": whole}
    item |= {"rot": 0.0, "align": 5, "bounds_type": 0, "bounds": origin}
    playing = {"local_file": str(film), "is_local_file": True, "looping": True, "hw_decode": False}
    scene = {"id_counter": 1, "custom_size": False, "items": [item]}
    sources = [
        {"id": "scene", "versioned_id": "scene", "name": "Scene", "mixers": 0, "settings": scene},
        {
            "id": "ffmpeg_source",
            "versioned_id": "ffmpeg_source",
            "name": "film",
            "mixers": 255,
            "settings": playing,
        },
    ]
    return {
        "name": NAME,
        "current_scene": "Scene",
        "current_program_scene": "Scene",
        "scene_order": [{"name": "Scene"}],
        "current_transition": "Cut",
        "transitions": [],
        "sources": sources,
    }
