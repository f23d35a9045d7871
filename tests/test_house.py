"""The files around the code keep their promises: pins, licence, set-up, container."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from config import Config

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mediaserver", "commerce", "overlay", "config", "benchmarks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OPTIONAL = {"commerce/payments/stripe_provider.py": "stripe"}  # imported only where it is chosen


def requirement(line: str) -> str:
    """A requirement's name, normalised (PEP 503)."""
    name = re.match(r"[\w.-]+", line)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_what_our_private_seams_stand_on_is_pinned_exactly() -> None:
    pinned = {requirement(line) for line in PROJECT["dependencies"] if "==" in line}
    assert pinned == {"aiortc", "aioice", "av", "pylibsrtp"}


def test_every_dependency_has_a_lower_and_an_upper_bound_or_a_pin() -> None:
    for line in [*PROJECT["dependencies"], *EXTRAS["stripe"], *EXTRAS["test"]]:
        assert "==" in line or ">=" in line, line
        # OpenSSL's security fixes come as new major versions of these two.
        open_end = requirement(line) in ("cryptography", "pyopenssl")
        assert "==" in line or "<" in line or open_end, line


def test_every_imported_distribution_is_a_declared_dependency() -> None:
    needed = {requirement(line) for line in PROJECT["dependencies"]}
    providers = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "node_modules" in path.parts:
                continue
            extra = OPTIONAL.get(str(path.relative_to(ROOT)), "")
            declared = needed | {requirement(line) for line in EXTRAS.get(extra, ())}
            for name in imported(path.read_text("utf-8")):
                if name in sys.stdlib_module_names or name in PACKAGES:
                    continue
                distributions = {requirement(each) for each in providers.get(name, [name])}
                assert distributions & declared, f"{path} imports {name}"


def imported(source: str) -> set[str]:
    """Top-level names that a source imports from elsewhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_every_folder_of_modules_is_a_package_and_so_is_installed() -> None:
    for package in PACKAGES:
        folders = {path.parent for path in (ROOT / package).rglob("*.py")}
        for folder in folders:
            inside = "node_modules" not in folder.parts
            assert not inside or (folder / "__init__.py").exists(), folder


def test_the_web_library_is_pinned_by_version_and_integrity_and_by_no_address() -> None:
    wanted = json.loads((ROOT / "overlay/web/package.json").read_text())["dependencies"]
    text = (ROOT / "overlay/web/package-lock.json").read_text()
    locked = json.loads(text)["packages"]
    assert "://" not in text
    assert set(locked) == {"", *(f"node_modules/{name}" for name in wanted)}
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert locked[f"node_modules/{name}"]["version"] == version
        assert locked[f"node_modules/{name}"]["integrity"].startswith("sha512-")


def test_the_installed_web_library_is_the_pinned_one(hls_js: Path) -> None:
    wanted = json.loads((ROOT / "overlay/web/package.json").read_text())["dependencies"]["hls.js"]
    installed = json.loads((hls_js.parents[1] / "package.json").read_text())
    assert installed["version"] == wanted


def test_the_licence_is_apache_2_and_the_notice_tells_of_the_gpl_in_the_av_wheel() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    notice = (ROOT / "NOTICE").read_text()
    assert all(word in notice for word in ("av", "x264", "x265", "GNU General Public License"))


def test_ci_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    assert re.search(r"^exec make .*\btest$", script.read_text(), re.MULTILINE)
    steps = (ROOT / "Makefile").read_text().partition("\ntest:")[2].partition("\n\n")[0]
    assert all(step in steps for step in ("ruff check", "ruff format --check", "mypy", "pytest"))


def test_a_missing_interpreter_is_told_by_name(tmp_path: Path) -> None:
    done = setup("venv", PYTHON="no-such-python", VENV=str(tmp_path / "venv"))
    assert done.returncode == 1
    assert done.stderr == "set-up: PYTHON=no-such-python is not a Python 3.11 or newer\n"


def test_a_machine_without_a_recent_python_is_told_what_it_has(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" || exit 1\n')
    old.chmod(0o755)
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    done = setup("venv", PATH=str(tmp_path), PYTHON="", VENV=str(tmp_path / "venv"))
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed and there is Python 3.9.2" in done.stderr


def setup(step: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / ".ci/setup"), step],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_container_exposes_the_default_ports_keeps_its_data_and_is_not_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    final = text.rpartition("\nFROM ")[2]
    exposed = re.search(r"^EXPOSE (.+)$", final, re.MULTILINE)
    assert exposed
    config = Config()
    assert set(exposed[1].split()) == {
        f"{config.http.port}/tcp",
        f"{config.http.https_port}/tcp",
        f"{config.rtmp.port}/tcp",
        f"{config.rtmps.port}/tcp",
        f"{config.webrtc.port}/udp",
        f"{config.webrtc.port}/tcp",
        f"{config.srt.port}/udp",
    }
    assert "\nUSER hawker\n" in final
    assert "HAWKER_DATA__DIR=/data" in final
    assert "\nVOLUME /data\n" in final
    assert f"http://127.0.0.1:{config.http.port}/healthz" in final


@pytest.mark.parametrize("name", ["pyproject.toml", "Makefile", "Dockerfile", ".ci/setup"])
def test_nothing_in_the_set_up_names_a_host_of_packages(name: str) -> None:
    addresses = re.findall(r"https?://[^\s'\")]+", (ROOT / name).read_text("utf-8"))
    assert all("127.0.0.1" in address for address in addresses)
