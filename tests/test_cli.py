"""The command line: what it answers, on which stream, with which exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import benchmarks
from mediaserver.__main__ import main

ROOT = Path(__file__).resolve().parent.parent


def hawker(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if "HAWKER_" not in name}
    return subprocess.run(
        [sys.executable, "-m", "mediaserver", *arguments],
        cwd=ROOT,
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "Missing command"),
        ("sreve", "Did you mean 'serve'?"),
        ("serve extra", "extra"),
        ("serve --port 80", "No such option: --port"),
        ("serve --config", "requires an argument"),
        ("serve --set http.port", "'http.port' is not SECTION.KEY=VALUE"),
        ("demo --set port=80", "'port=80' is not SECTION.KEY=VALUE"),
        ("bench", "a name is missing; --list shows them"),
        ("bench no-such-benchmark", "no benchmark 'no-such-benchmark'; --list shows them"),
    ],
)
def test_a_usage_error_exits_2_with_one_line(command: str, said: str) -> None:
    done = hawker(*command.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hawker: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "demo", "config"])
def test_a_bad_config_exits_1_with_one_line_naming_file_key_value_and_what_is_allowed(
    tmp_path: Path, command: str
) -> None:
    file = tmp_path / "hawker.toml"
    file.write_text("[http]\nport = 80800\n")
    done = hawker(command, "--config", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"hawker: {file}: http.port = 80800: allowed is an integer from 0 to 65535\n"
    )


def test_an_unknown_key_in_the_environment_exits_1() -> None:
    done = hawker("serve", HAWKER_HTTP__PROT="80")
    assert done.returncode == 1
    assert done.stderr == (
        "hawker: environment HAWKER_HTTP__PROT: http.prot: no such key; did you mean http.port?\n"
    )


def test_config_prints_the_effective_configuration_and_masks_secrets(tmp_path: Path) -> None:
    file = tmp_path / "hawker.toml"
    file.write_text('[http]\nport = 1\nhttps_port = 1\n[auth]\nadmin_token = "hunter2"\n')
    done = hawker("config", "--config", str(file), "--set", "http.port=3", HAWKER_HTTP__PORT="2")
    assert (done.returncode, done.stderr) == (0, "")
    shown = tomllib.loads(done.stdout)
    assert shown["http"]["port"] == 3
    assert shown["http"]["https_port"] == 1
    assert shown["auth"] == {"admin_token": "***", "viewer_secret": ""}


def test_help_names_every_command() -> None:
    done = hawker("--help")
    assert done.returncode == 0
    assert "Usage: hawker" in done.stdout
    assert all(command in done.stdout for command in ("serve", "demo", "config", "bench"))


def test_bench_lists_every_benchmark_with_its_summary() -> None:
    done = hawker("bench", "--list")
    assert done.returncode == 0
    listed = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert dict(listed) == benchmarks.available()


def test_a_benchmark_is_a_module_with_a_docstring_and_a_main(tmp_path: Path) -> None:
    (tmp_path / "fast.py").write_text('"""Is it fast?\n\nMore."""\ndef main(argv): ...\n')
    (tmp_path / "silent.py").write_text("def main(argv): ...\n")
    (tmp_path / "shared.py").write_text('"""Used by the others."""\ndef measure(): ...\n')
    assert benchmarks.available(tmp_path) == {"fast": "Is it fast?"}


def test_the_installed_command_is_the_same_program() -> None:
    (command,) = entry_points(group="console_scripts", name="hawker")
    assert command.load() is main
