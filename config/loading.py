"""From a file, the environment and `--set` to one `Config`: default < file < environment < --set.

Values in the environment and in `--set` are read as TOML where the key wants a number, a boolean or
a list, and taken as they stand where it wants text, so that a token of digits needs no quotes.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from config.schema import Config, Section
from config.showing import LOGIN, MASK

PREFIX = "HAWKER_"
SHOWN_CHARACTERS = 80  # of a refused value

TOP = ""  # the section of the keys that stand above all sections
SECTIONS: Mapping[str, Mapping[str, FieldInfo]] = {
    name: field.annotation.model_fields
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
FIELDS: Mapping[str, Mapping[str, FieldInfo]] = {
    TOP: {name: each for name, each in Config.model_fields.items() if name not in SECTIONS},
    **SECTIONS,
}


class ConfigError(Exception):
    """A setting that cannot be used, in one line: where it was given, key, value, what is allowed."""


@dataclass(frozen=True, slots=True)
class _Given:
    source: str
    section: str
    key: str
    value: object


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
) -> Config:
    """The effective configuration; raises ConfigError.

    `environ` is the process's own when None; `settings` are `section.key=value`, or `key=value` for
    one above all sections; the later wins.
    """
    environ = os.environ if environ is None else environ
    given = {
        (each.section, each.key): each
        for source in (_from_file(file), _from_environment(environ), _from_settings(settings))
        for each in source
    }
    values: dict[str, dict[str, object]] = {TOP: {}}
    for each in given.values():
        values.setdefault(each.section, {})[each.key] = each.value
    top = values.pop(TOP)
    try:
        return Config.model_validate({**values, **top})
    except ValidationError as error:
        raise _refusal(error, given) from None


def _from_file(file: Path | None) -> Iterator[_Given]:
    if file is None:
        return
    source = str(file)
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}: allowed is a readable TOML file") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{source}: {error}: allowed is TOML in UTF-8") from None
    for section, table in document.items():
        if not isinstance(table, dict):
            _field(source, TOP, section)
            yield _Given(source, TOP, section, table)
            continue
        for key, value in table.items():
            _field(source, section, key)
            yield _Given(source, section, key, value)


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name in sorted(environ):
        section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
        if not separator and section in FIELDS[TOP]:
            section, key = TOP, section
        if name.startswith(PREFIX) and key:
            yield _given_text(f"environment {name}", section, key, environ[name])


def _from_settings(settings: Sequence[str]) -> Iterator[_Given]:
    for setting in settings:
        name, _, text = setting.partition("=")
        section, _, key = name.strip().rpartition(".")
        yield _given_text("--set", section, key, text.strip())


def _given_text(source: str, section: str, key: str, text: str) -> _Given:
    field = _field(source, section, key)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # not TOML, or a number of too many digits
        value = text
    if _wants_text(field) and not isinstance(value, str):
        value = text
    return _Given(source, section, key, value)


def _field(source: str, section: str, key: str) -> FieldInfo:
    try:
        return FIELDS[section][key]
    except KeyError:
        raise _unknown(source, _name(section, key)) from None


def _unknown(source: str, name: str) -> ConfigError:
    section = name.partition(".")[0]
    known = [_name(section, key) for section, fields in FIELDS.items() for key in fields]
    nearest = difflib.get_close_matches(name, known, n=1)
    if nearest:
        hint = f"did you mean {nearest[0]}?"
    elif section in SECTIONS:
        hint = f"allowed in [{section}] are {', '.join(SECTIONS[section])}"
    else:
        hint = f"allowed sections are {', '.join(SECTIONS)}"
    return ConfigError(f"{source}: {_printable(name)}: no such key; {hint}")


def _refusal(error: ValidationError, given: Mapping[tuple[str, str], _Given]) -> ConfigError:
    first = error.errors(include_url=False)[0]
    where = [str(each) for each in first["loc"]]
    reason = first.get("ctx", {}).get("error")
    if len(where) == 1 and where[0] not in FIELDS[TOP]:  # of a whole section
        return ConfigError(f"[{where[0]}]: {reason}")
    section, key = (TOP, where[0]) if where[0] in FIELDS[TOP] else (where[0], where[1])
    field = FIELDS[section][key]
    each = given.get((section, key), _Given("default", section, key, field.default))
    allowed = str(reason) if isinstance(reason, ValueError) else _allowed(field)
    value = MASK if field.annotation is SecretStr else each.value
    shown = _printable(json.dumps(value, ensure_ascii=False, default=str))
    shown = LOGIN.sub(f"//{MASK}@", shown)
    name = _name(section, key)
    return ConfigError(f"{each.source}: {name} = {shown}: allowed is {allowed}")


def _name(section: str, key: str) -> str:
    return f"{section}.{key}".strip(".")


def _wants_text(field: FieldInfo) -> bool:
    return field.annotation not in (int, float, bool) and get_origin(field.annotation) is not tuple


def _allowed(field: FieldInfo) -> str:
    """What a field takes, in words."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "a list of texts in quotes"
    if annotation is bool:
        return "true or false"
    if annotation not in (int, float):
        return "a text in quotes, not empty" if field.metadata else "a text in quotes"
    noun = "an integer" if annotation is int else "a number"
    low = next(bound.ge for bound in field.metadata if hasattr(bound, "ge"))
    high = next((bound.le for bound in field.metadata if hasattr(bound, "le")), None)
    return f"{noun} of {low} or more" if high is None else f"{noun} from {low} to {high}"


def _printable(text: str) -> str:
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
