"""`hawker backup`, `restore` and `move-store` as they are typed: words, exit codes, key files."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from commerce.store import SqliteStore
from mediaserver.__main__ import main


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory with a shop."""
    data = tmp_path / "data"
    store = await SqliteStore.open(data / "hawker.db")
    await store.commit("one", writes={"order/1": b"x"}, events=[("shop", b"y")])
    await store.close()
    (data / "contact-key").write_bytes(b"k" * 32)
    return data


def hawker(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hawker", *map(str, words)])
    return main()


def into(directory: Path) -> tuple[str, str]:
    return "--set", f"data.dir={directory}"


def test_a_backup_with_keys_makes_a_shop_elsewhere(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = tmp_path / "backup", tmp_path / "other"
    assert hawker(monkeypatch, "backup", "--to", file, "--with-keys", *into(data)) == 0
    assert "1 records, 0 index places, 1 events" in capsys.readouterr().err
    assert hawker(monkeypatch, "restore", file, *into(other)) == 0
    assert (other / "contact-key").read_bytes() == b"k" * 32
    assert stat.S_IMODE((other / "contact-key").stat().st_mode) == 0o600
    assert "NO KEY" not in capsys.readouterr().err


def test_a_backup_without_keys_says_so_on_both_sides(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hawker(monkeypatch, "backup", "--to", tmp_path / "backup", *into(data)) == 0
    assert "WITHOUT KEYS: " in capsys.readouterr().err
    assert hawker(monkeypatch, "restore", tmp_path / "backup", *into(tmp_path / "other")) == 0
    assert "NO KEY: put the contact-key" in capsys.readouterr().err


def test_a_shop_is_overwritten_only_when_told_to(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "backup"
    assert hawker(monkeypatch, "backup", "--to", file, *into(data)) == 0
    capsys.readouterr()
    assert hawker(monkeypatch, "restore", file, *into(data)) == 1
    assert "is not empty; --force" in capsys.readouterr().err
    assert hawker(monkeypatch, "restore", file, "--force", *into(data)) == 0
    assert (data / "hawker.db.old").exists()


def test_another_key_is_not_overwritten_unasked(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = tmp_path / "backup", tmp_path / "other"
    hawker(monkeypatch, "backup", "--to", file, "--with-keys", *into(data))
    other.mkdir()
    (other / "contact-key").write_bytes(b"o" * 32)
    assert hawker(monkeypatch, "restore", file, *into(other)) == 1
    assert "another key than the backup's" in capsys.readouterr().err
    assert not (other / "hawker.db").exists()
    assert hawker(monkeypatch, "restore", file, "--force", *into(other)) == 0
    assert (other / "contact-key.old").read_bytes() == b"o" * 32


def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").write_bytes(b"not a backup")
    for words, said in (
        (("backup", "--to", tmp_path / "b", *into(tmp_path / "none")), "there is no store at"),
        (("restore", tmp_path / "notes", *into(tmp_path / "new")), "not a backup of hawker"),
        (("restore", tmp_path / "gone", *into(tmp_path / "new")), "No such file"),
        (("move-store", "--from", "sqlite:x", "--to", "mysql://h"), "a store is sqlite:PATH or"),
    ):
        assert hawker(monkeypatch, *words) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert not (tmp_path / "b").exists()


def test_a_moved_shop_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = f"sqlite:{data / 'hawker.db'}", f"sqlite:{tmp_path / 'there.db'}"
    assert hawker(monkeypatch, "move-store", "--from", here, "--to", there) == 0
    assert f"now put store.url = '{there}'" in capsys.readouterr().err
    assert hawker(monkeypatch, "backup", "--to", tmp_path / "b", *into(data)) == 1
    assert "this shop has moved to" in capsys.readouterr().err
