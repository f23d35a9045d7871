"""A `Config` as TOML text, secrets as `***`: what `hawker config` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from config.schema import Config, Section

MASK = "***"
LOGIN = re.compile(r"//[^/@\"]*@")  # of a URL


def to_toml(config: Config) -> str:
    """Every key of the configuration; `load` takes the text back, but for the secrets."""
    return "\n".join(_lines(config)) + "\n"


def _lines(config: Config) -> Iterator[str]:
    """Keys above all sections come first, as TOML wants it."""
    for name, values in config:
        if not isinstance(values, Section):
            yield f"{name} = {_value(values)}"
    for section, values in config:
        if isinstance(values, Section):
            yield from ("", f"[{section}]")
            for key, value in values:
                yield f"{key} = {_value(value)}"


def _value(value: object) -> str:
    match value:
        case SecretStr():
            return json.dumps(MASK if value.get_secret_value() else "")
        case bool() | int() | float():
            return json.dumps(value)
        case tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
        case Section():
            return f"{{ {', '.join(f'{key} = {_value(each)}' for key, each in value)} }}"
        case str() | Path():
            shown = LOGIN.sub(f"//{MASK}@", str(value))
            return json.dumps(shown, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise TypeError(f"no TOML for {type(value).__name__}")
