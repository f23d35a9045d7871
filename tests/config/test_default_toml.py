"""default.toml and the schema say the same, and every key is explained."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from config import Config, load
from config.loading import FIELDS
from config.schema import Section

DEFAULT = Path(__file__).resolve().parents[2] / "config/default.toml"
KEYS = [(section, key) for section, fields in FIELDS.items() for key in fields]


def values(config: Config) -> dict[str, object]:
    """A config as plain sections of TOML values, and what stands above them."""
    return {
        name: {key: plain(value) for key, value in each} if isinstance(each, Section) else each
        for name, each in config
    }


def plain(value: object) -> object:
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, Section):
        return value.model_dump(exclude_defaults=True)
    if isinstance(value, Path):
        return str(value)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def test_default_toml_holds_exactly_the_keys_and_defaults_of_the_schema() -> None:
    assert tomllib.loads(DEFAULT.read_text("utf-8")) == values(Config())


def test_default_toml_is_a_config_file_that_changes_nothing() -> None:
    assert load(DEFAULT, environ={}) == load(environ={}) == Config()


@pytest.mark.parametrize(("section", "key"), KEYS, ids=[".".join(each).strip(".") for each in KEYS])
def test_every_key_has_a_comment_of_its_own_above_it(section: str, key: str) -> None:
    text = f"\n[]\n{DEFAULT.read_text('utf-8')}"
    table = text.partition(f"\n[{section}]\n")[2].partition("\n[")[0]
    above, found, _ = f"\n{table}".partition(f"\n{key} = ")
    comment = above.rsplit("\n", 1)[1]
    assert found
    assert re.fullmatch(r"# \S.{10,}\.", comment), f"what does {section}.{key} do?"
