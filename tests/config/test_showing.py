"""A configuration in print: whole, readable again, and without its secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import Config, load, to_toml

SETTINGS = [
    'webrtc.public_addresses=["203.0.113.7"]',
    "hls.segment_ms=1000",
    'data.dir="/srv/店 \\"x\\"\\u007f"',
    "log.format=json",
    "demo.enabled=true",
]


@pytest.mark.parametrize("settings", [[], SETTINGS])
def test_what_is_shown_loads_back_to_the_same(tmp_path: Path, settings: list[str]) -> None:
    config = load(environ={}, settings=settings)
    file = tmp_path / "shown.toml"
    file.write_text(to_toml(config), "utf-8")
    assert load(file, environ={}) == config


def test_secrets_are_masked_wherever_a_config_is_printed() -> None:
    environ = {"HAWKER_AUTH__ADMIN_TOKEN": "hunter2", "HAWKER_AUTH__VIEWER_SECRET": "hunter3"}
    config = load(environ=environ)
    assert 'admin_token = "***"\nviewer_secret = "***"\n' in to_toml(config)
    for text in (to_toml(config), str(config), repr(config), config.model_dump_json()):
        assert "hunter" not in text


def test_a_secret_that_is_not_set_is_shown_empty() -> None:
    assert 'admin_token = ""\n' in to_toml(Config())
