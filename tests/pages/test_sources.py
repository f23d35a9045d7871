"""The pages' sources: words in both languages, nothing inline, nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.pages.pages import (
    HTML,
    LANGUAGES,
    MODULES,
    PAGES,
    Elements,
    imports,
    loaded_with,
    page_module,
    place,
    quoted,
    strings,
)

MARKERS = ("data-t", "data-t-label", "data-t-title", "data-t-placeholder")
# Keys put together from a state or a code, by their heads; which codes there are the players say.
FAMILIES = (
    "veil_",
    "connecting",
    "waiting",
    "playing_",
    "reconnecting",
    "refused",
    "publish_",
    "problem_",
    "limited_",
)


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_a_module_parses(module: Path, node: str) -> None:
    command = [node, "--input-type=module", "--check", "-"]
    run = subprocess.run(command, input=module.read_bytes(), capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr.decode()


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_a_module_imports_only_names_that_its_neighbours_export(module: Path) -> None:
    source = module.read_text("utf-8")
    found = imports(module)
    assert len(found) == len(re.findall(r"^import\b", source, re.MULTILINE))
    assert not re.search(r"\bimport\(", source)
    for names, neighbour in found:
        exported = re.findall(
            r"^export (?:async )?(?:class|function|const) (\w+)",
            neighbour.read_text("utf-8"),
            re.MULTILINE,
        )
        assert set(names.split(", ")) <= set(exported), neighbour


def test_a_module_lives_with_the_only_pages_that_load_it_and_else_at_the_top() -> None:
    families: dict[str, set[str]] = {place(module): set() for module in MODULES}
    folders = set()
    for page in HTML:
        script = page_module(page)
        folder = place(script).partition("/")[0]
        folders.add(folder)
        for module in loaded_with(script):
            families[place(module)].add(folder)
    for path, loading in families.items():
        folder = path.partition("/")[0]
        assert loading == {folder} if folder in folders else len(loading) > 1, path


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_a_module_makes_no_html_from_text_and_needs_no_secure_context(module: Path) -> None:
    source = module.read_text("utf-8")
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "eval(",
        "new Function",
        'setAttribute("style"',
        "randomUUID",
        "crypto.subtle",
    ):
        assert forbidden not in source


@pytest.mark.parametrize("path", [*HTML, *MODULES, *PAGES.glob("css/*.css")], ids=lambda p: p.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    source = path.read_text("utf-8")
    assert not re.search(r"""(?:href|src)=["']?(?:https?:)?//""", source)
    assert not re.search(r"(?:@import|url\(|from\s+[\"']https?:)", source)


@pytest.mark.parametrize("page", HTML, ids=lambda path: path.name)
def test_a_page_has_nothing_inline(page: Path) -> None:
    elements = Elements(page.read_text("utf-8"))
    assert elements.inline == ""
    attributes = {name for _, attrs in elements.tags for name in attrs}
    assert "style" not in attributes
    assert not {name for name in attributes if name.startswith("on")}


@pytest.mark.parametrize("page", HTML, ids=lambda path: path.name)
def test_ids_are_unique_and_the_ones_referred_to_exist(page: Path) -> None:
    elements = Elements(page.read_text("utf-8"))
    ids = [attrs["id"] for _, attrs in elements.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert elements.values("for", "aria-labelledby", "aria-describedby", "data-copy") <= set(ids)


@pytest.mark.parametrize("page", HTML, ids=lambda path: path.name)
def test_every_icon_is_drawn(page: Path) -> None:
    drawn = set(re.findall(r'<symbol id="([\w-]+)"', (PAGES / "icons.svg").read_text("utf-8")))
    sources = [page, *MODULES]
    named = re.findall(r"icons\.svg#([\w-]+)", "".join(each.read_text("utf-8") for each in sources))
    assert set(named) - {"sound-"} <= drawn


def test_both_languages_say_everything_with_the_same_blanks(node: str) -> None:
    words = strings(node)
    assert tuple(words) == LANGUAGES
    english, chinese = words["en"], words["zh"]
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key
        assert bool(text) == bool(chinese[key]), key
        assert text == "" or "zerolatency" in text or text != chinese[key], key


def test_every_key_that_is_asked_for_has_words(node: str) -> None:
    known = strings(node)["en"].keys()
    for page in HTML:
        asked = Elements(page.read_text("utf-8")).values(*MARKERS)
        assert asked <= known, page.name
    for module in MODULES:
        source = module.read_text("utf-8")
        asked = set(re.findall(r'\bt\("(\w+)"', source))
        asked |= {
            key
            for choice in re.findall(r'\bt\([^"`()]*\? "(\w+)" : "(\w+)"', source)
            for key in choice
        }
        assert asked <= known, place(module)


def test_no_words_are_left_that_nobody_asks_for(node: str) -> None:
    asked = {key for page in HTML for key in Elements(page.read_text("utf-8")).values(*MARKERS)}
    for module in MODULES:
        if module.name != "strings.js":
            asked |= quoted(module.read_text("utf-8"))
    for key in strings(node)["en"]:
        assert key in asked or key.startswith(FAMILIES), key


def test_every_end_of_a_session_has_words_on_the_watch_page(node: str) -> None:
    known = strings(node)["en"].keys()
    player = (PAGES / "js/watch/player/player.js").read_text("utf-8")
    rows = re.findall(r'^  (\w+): \{ state: "(\w+)"', player, re.MULTILINE)
    assert len(rows) > 15
    for code, state in rows:
        assert {f"{state}_{code}", state} & known, code
    healing = re.findall(r"MAY_HEAL = new Set\(\[(.+?)\]\)", player)
    for code in re.findall(r"\w+", healing[0]):
        assert f"playing_{code}" in known
