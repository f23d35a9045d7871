"""Imports point one way: every module of ours is read, and a backward arrow fails here.

A room of `mediaserver` may import the rooms of the layers above it in the list, and itself; rooms
that share a layer do not know each other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mediaserver", "commerce", "overlay", "config", "benchmarks")

LAYERS = (
    {"media", "errors", "access"},
    {"protocol"},
    {"hub", "rtc", "child", "collector"},
    {"ingest", "transcode", "packager"},
    {"egress"},
    {"api"},
    {"banner", "doctor", "lifecycle", "logs"},  # what starts and stops the server
    {"shop", "upkeep"},
    {"app"},
    {"__main__"},
)
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
# They alone join mediaserver to the other packages; the API speaks of commerce in its own words.
COMPOSITION = {"doctor", "shop", "upkeep", "app", "__main__"}

# What of ours a package may import besides itself.
ALLOWED = {
    "commerce": set(),
    "config": set(),
    "overlay": {"commerce", "mediaserver.media"},
    "benchmarks": set(PACKAGES),
}
# Protocol code is bytes in, events or bytes out: no socket, task, clock or log line.
SHELL = {
    "aiohttp",
    "asyncio",
    "concurrent",
    "logging",
    "multiprocessing",
    "select",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "uvloop",
}


def backward(module: str, source: str, *, package: bool = False) -> list[str]:
    """The arrows of a module's source that it must not have; `package`: it is an `__init__.py`."""
    return [
        f"{module} imports {imported}"
        for imported in imports(module, source, package=package)
        if not allowed(module, imported)
    ]


def imports(module: str, source: str, *, package: bool) -> Iterator[str]:
    """Dotted names that a source imports, wherever in it; a name taken from a module comes with it."""
    home = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=origin, names=names, level=level):
                above = home[: len(home) - level + 1] if level else []
                start = ".".join([*above, *([origin] if origin else [])])
                yield from (f"{start}.{name.name}" for name in names)


def allowed(module: str, imported: str) -> bool:
    source, target = module.split("."), imported.split(".")
    room = source[1] if len(source) > 1 else ""
    if room == "protocol" and target[0] in SHELL:
        return False
    if target[0] not in PACKAGES:
        return target[0] != "tests"
    if source[0] != "mediaserver":
        mine = {source[0]} | ALLOWED[source[0]]
        return target[0] in mine or ".".join(target[:2]) in mine
    if target[0] != "mediaserver":
        return room in COMPOSITION or (room == "api" and target[0] == "commerce")
    if len(target) < 2 or target[1] not in LAYER or room not in LAYER:
        return False  # a new room first finds its place in the order
    return target[1] == room or LAYER[target[1]] < LAYER[room]


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "node_modules" not in path.parts:
                parts = path.relative_to(ROOT).with_suffix("").parts
                found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


@pytest.mark.parametrize(
    ("module", "path"), [pytest.param(*each, id=each[0]) for each in modules()]
)
def test_imports_point_one_way(module: str, path: Path) -> None:
    package = path.name == "__init__.py"
    assert backward(module, path.read_text("utf-8"), package=package) == []


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {path.stem for path in (ROOT / "mediaserver").glob("*.py")}
    rooms |= {path.parent.name for path in (ROOT / "mediaserver").glob("*/__init__.py")}
    assert rooms - {"__init__"} <= set(LAYER)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mediaserver.hub.stream", "from mediaserver.api import routes"),
        ("mediaserver.hub.stream", "import mediaserver.rtc.transport"),
        ("mediaserver.rtc.transport", "from mediaserver import hub"),
        ("mediaserver.ingest.rtmp", "from ..egress import whep"),
        ("mediaserver.ingest.rtmp", "from mediaserver.packager import fmp4"),
        ("mediaserver.media", "from mediaserver.errors import PeerError"),
        ("mediaserver.api.routes", "from overlay.cards import Cards"),
        ("mediaserver.egress.whep", "import commerce.orders"),
        ("mediaserver.api.routes", "from config import Config"),
        ("mediaserver.lifecycle", "from mediaserver.app import App"),
        ("mediaserver.egress.whep", "def late():\n    from mediaserver.app import App"),
        ("mediaserver.egress.whep", "import mediaserver"),
        ("mediaserver.egress.whep", "from mediaserver.newroom import thing"),
        ("mediaserver.protocol.rtp", "import asyncio"),
        ("mediaserver.protocol.rtp", "from time import monotonic"),
        ("mediaserver.protocol.rtmp.chunk_stream", "import socket"),
        ("mediaserver.protocol.rtmp.chunk_stream", "from logging import getLogger"),
        ("mediaserver.protocol.rtp", "from mediaserver.hub import Hub"),
        ("commerce.orders", "from overlay import rooms"),
        ("commerce.orders", "from mediaserver.media import Packet"),
        ("overlay.rooms", "from mediaserver.errors import NotFound"),
        ("overlay.rooms", "from config import Config"),
        ("config.schema", "import mediaserver.media"),
        ("commerce.orders", "from tests.conftest import ROOT"),
        (
            "mediaserver.ingest.whip",
            "if TYPE_CHECKING:\n    from mediaserver.egress.whep import Whep",
        ),
    ],
)
def test_a_backward_arrow_is_caught(module: str, source: str) -> None:
    assert len(backward(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mediaserver.hub.stream", "from mediaserver.media import Packet\nimport asyncio"),
        ("mediaserver.hub.stream", "from . import timeline\nfrom .timeline import Timeline"),
        ("mediaserver.protocol.rtp", "import struct\nfrom mediaserver.errors import ProtocolError"),
        ("mediaserver.api.orders", "from commerce.orders import Order"),
        ("mediaserver.app", "import commerce.store\nfrom overlay import rooms\nimport config"),
        ("overlay.events", "from mediaserver.media import Track\nfrom commerce.store import Store"),
        ("benchmarks.fanout", "from mediaserver.rtc.sender import Sender\nimport time"),
    ],
)
def test_a_forward_arrow_is_not(module: str, source: str) -> None:
    assert backward(module, source) == []


def test_a_relative_import_of_a_package_starts_at_itself() -> None:
    source = "from .stream import Stream\nfrom ..rtc import transport"
    assert backward("mediaserver.hub", source, package=True) == [
        "mediaserver.hub imports mediaserver.rtc.transport"
    ]
