"""The compiled sender is built for one user, and nothing is loaded that another could have put there."""

from __future__ import annotations

import ctypes
import logging
import os
import runpy
import stat
from pathlib import Path

import pytest

from mediaserver.rtc import compiled
from mediaserver.rtc.compiled import Unavailable
from tests.rtc.compilers import built

SOMEBODY = 65_534


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hawker"


@pytest.fixture
def library(home: Path) -> Path:
    """What was built there."""
    built(home)
    (path,) = home.iterdir()
    return path


def test_it_is_built_for_this_user_alone_and_then_chosen(
    library: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(library.stat().st_mode) == 0o700
    with caplog.at_level(logging.INFO, "hawker.rtc"):
        assert compiled.chosen() is not None
    assert [each.message.partition(",")[0] for each in caplog.records] == [
        "the sender is the compiled one"
    ]


def test_without_it_the_log_says_how_to_have_it(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hawker.rtc"):
        assert compiled.chosen() is None
    (record,) = caplog.records
    assert record.message.startswith("the sender is Python's own: ")
    assert compiled.COMMAND in record.message or "Linux" in record.message


def test_another_version_of_the_source_does_not_load_it(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "compiled.c"
    source.write_bytes(compiled.SOURCES[0].read_bytes() + b"\n")
    monkeypatch.setattr(compiled, "SOURCES", [source, *compiled.SOURCES[1:]])
    with pytest.raises(Unavailable, match="not built"):
        compiled.load()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o750, 0o701])
def test_a_directory_that_others_may_enter_is_refused(library: Path, mode: int) -> None:
    library.parent.chmod(mode)
    with pytest.raises(Unavailable, match="mode 700"):
        compiled.load()
    with pytest.raises(Unavailable, match="mode 700"):
        compiled.build()


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_library_that_others_may_write_is_refused(library: Path, mode: int) -> None:
    library.chmod(mode)
    with pytest.raises(Unavailable, match="alone"):
        compiled.load()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["directory", "library"])
def test_what_is_somebody_elses_is_refused(library: Path, what: str) -> None:
    os.chown(library.parent if what == "directory" else library, SOMEBODY, SOMEBODY)
    with pytest.raises(Unavailable):
        compiled.load()


def test_links_are_refused(library: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.so"
    library.rename(elsewhere)
    library.symlink_to(elsewhere)
    with pytest.raises(Unavailable, match="alone"):
        compiled.load()
    library.parent.rename(tmp_path / "real")
    library.parent.symlink_to(tmp_path / "real")
    with pytest.raises(Unavailable, match="mode 700"):
        compiled.load()


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="it is for Linux")
def test_a_file_that_is_no_library_leaves_the_sender_to_python(home: Path) -> None:
    home.mkdir(mode=0o700)
    library = compiled._path(home)
    library.write_bytes(b"no library")
    library.chmod(0o700)
    with pytest.raises(Unavailable):
        compiled.load()
    assert compiled.chosen() is None


def test_the_systems_libcrypto_does_as_well(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        ctypes.CDLL(compiled.SYSTEM_LIBCRYPTO)
    except OSError:
        pytest.skip(f"no {compiled.SYSTEM_LIBCRYPTO}")
    monkeypatch.setattr(compiled, "libcryptos", lambda: iter([compiled.SYSTEM_LIBCRYPTO]))
    assert compiled.load().libcrypto == compiled.SYSTEM_LIBCRYPTO


def test_a_libcrypto_without_its_functions_is_passed_over(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "libcryptos", lambda: iter(["/nowhere.so", "libc.so.6"]))
    with pytest.raises(Unavailable, match=r"/nowhere.so .*; libc.so.6 "):
        compiled.load()


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="it is for Linux")
def test_without_a_compiler_it_says_so(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no C compiler"):
        compiled.build()
    assert compiled.main() == 1
    assert "no C compiler" in capsys.readouterr().err
    assert not home.exists()


def test_what_the_compiler_says_is_told_and_nothing_is_left_behind(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "compiled.c"
    source.write_text("int broken(", "utf-8")
    monkeypatch.setattr(compiled, "SOURCES", [source, *compiled.SOURCES[1:]])
    with pytest.raises(Unavailable, match="error"):
        compiled.build()
    assert list(library.parent.iterdir()) == [library]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_command_builds_it(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library.unlink()
    with pytest.raises(SystemExit) as end:
        runpy.run_module("mediaserver.rtc.compiled", run_name="__main__")
    assert end.value.code == 0
    assert str(library) in capsys.readouterr().out
    assert compiled.chosen() is not None
