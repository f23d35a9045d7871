"""The pages served alone, and what their sources say."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from mediaserver.api import problem
from mediaserver.api.pages import Pages

PAGES = Path(__file__).resolve().parents[2] / "overlay/pages"
MODULES = sorted(PAGES.glob("js/**/*.js"))
HTML = sorted(PAGES.glob("*.html"))
LANGUAGES = ("en", "zh")

# A module's import of its neighbours: the names, and the neighbour's path from the module's folder.
IMPORT = re.compile(
    r'^import \{ (.+?) \} from "((?:\.|\.\.(?:/\.\.)*)/[\w/]+\.js)";$', re.MULTILINE
)

Client = TestClient[web.Request, web.Application]


async def _exists(room: str) -> bool:
    return room == "show"


@asynccontextmanager
async def serving(
    hls_js: Path = Path("not/installed.js"), https_origin: str | None = "https://{}:8443"
) -> AsyncIterator[Client]:
    """A server of the pages alone: no room is live, and nothing else of the API is there."""
    pages = Pages(
        PAGES,
        hls_js,
        room_exists=_exists,
        rtmp_server=lambda host: f"rtmp://{host}:1935/live",
        srt_server=lambda host: f"srt://{host}:8890",
        https_origin=lambda host: https_origin and https_origin.format(host),
    )
    app = web.Application()
    problem.install(app)
    app.add_routes(pages.routes())
    async with TestClient(TestServer(app)) as client:
        yield client


class Elements(HTMLParser):
    """All start tags of a page with their attributes, and the text inside of `script` and `style`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style"):
            self.inline += data.strip()

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def values(self, *names: str) -> set[str]:
        """What attributes of these names hold."""
        return {attrs[name] or "" for _, attrs in self.tags for name in names if name in attrs}


def evaluate(node: str, program: str) -> Any:
    """The JSON that an ES module prints; `PAGES` in it is the folder's URL."""
    source = program.replace("PAGES", PAGES.as_uri())
    run = subprocess.run(
        [node, "--input-type=module", "-e", source], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def place(module: Path) -> str:
    """Where a module is in the folder of modules, with forward slashes."""
    return module.relative_to(PAGES / "js").as_posix()


def imports(module: Path) -> list[tuple[str, Path]]:
    """The names that a module imports, as it lists them, and the module it has them from."""
    found = IMPORT.findall(module.read_text("utf-8"))
    return [(names, (module.parent / path).resolve()) for names, path in found]


def page_module(page: Path) -> Path:
    """The module that a page loads by itself; the others come with it."""
    (src,) = (src for src in Elements(page.read_text("utf-8")).values("src") if src.endswith(".js"))
    return PAGES / src.removeprefix("/static/")


def loaded_with(module: Path) -> set[Path]:
    """A module and all that it imports, and they import."""
    loaded: set[Path] = set()
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one not in loaded:
            loaded.add(one)
            waiting += [neighbour for _, neighbour in imports(one)]
    return loaded


def strings(node: str) -> dict[str, dict[str, str]]:
    """The pages' words by language and key."""
    found = evaluate(
        node,
        'import { strings } from "PAGES/js/strings/strings.js"; console.log(JSON.stringify(strings))',
    )
    assert isinstance(found, dict)
    return found


def quoted(source: str) -> set[str]:
    """The strings and the heads and tails of templates in a JavaScript source, roughly."""
    return set(re.findall(r"""["'`}]([A-Za-z_]\w*)["'`$]""", source))
