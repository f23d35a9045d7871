"""Secrets made at first start: made once, private, whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overlay.secret_file import load_or_create_secret


def test_a_secret_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "viewer-secret"
    secret = load_or_create_secret(path)
    assert len(secret) == 43
    assert load_or_create_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["viewer-secret"]


def test_many_that_start_at_once_get_the_same_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(load_or_create_secret, [path] * 64))
    assert len(secrets) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


def test_a_secret_that_others_may_read_is_closed_to_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "secret"
    path.write_text("mounted with mode 644\n")
    path.chmod(0o644)
    assert load_or_create_secret(path) == "mounted with mode 644"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "mounted" not in caplog.text
    assert "mode 600" in caplog.text


def test_an_empty_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("\n")
    path.chmod(0o600)
    with pytest.raises(ValueError, match=r"secret is empty"):
        load_or_create_secret(path)
