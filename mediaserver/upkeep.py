"""Backup, restore and move of the shop's store, for whoever runs it: words, progress, key files.

What a backup holds of buyers' contacts and addresses is encrypted, and worth nothing without the key
files of `data.dir`: they are in it only when asked for, and it says so when they are not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from commerce.ids import utc_ms
from commerce.store.backup import read_backup, write_backup
from commerce.store.migrations import Moved, TooNew
from commerce.store.portable import Place, PortableError, Tally, copy, move
from commerce.store.portable import Progress as OnProgress
from commerce.store.redis_rows import RedisPlace
from commerce.store.sqlite_rows import SqlitePlace
from config import Config
from mediaserver.lifecycle import StartError

KEY_FILES = ("contact-key", "restream-key", "webhook-key", "viewer-secret")
SQLITE = "sqlite:"


def backup(config: Config, to: Path, *, with_keys: bool) -> None:
    """Write a backup while the server runs; raises StartError."""
    keys = _keys(config.data.dir) if with_keys else {}
    with _in_words(), place(config.store.url).reading() as source, _bar("backup") as progress:
        tally = write_backup(source, to, utc_ms(), progress, keys)
    size = to.stat().st_size
    _say(f"{to}: {_counted(tally)}, {size:,} bytes, up to commit {source.number:,}")
    if with_keys:
        _say(f"it holds {', '.join(keys)}: whoever has this file can read names and addresses")
    else:
        _say(
            f"WITHOUT KEYS: names and addresses in it cannot be read without {config.data.dir}/"
            f"{KEY_FILES[0]}. Keep that file too, elsewhere, or back up --with-keys."
        )


def restore(config: Config, file: Path, *, force: bool) -> None:
    """Put a backup in the place of the store; raises StartError, and then nothing was changed."""
    with _in_words():
        kept = read_backup(file)
        target = place(config.store.url)
        if not force and not target.is_empty():
            raise PortableError(f"{target} is not empty; --force puts the backup in its place")
        keys = {name: kept.keys[name] for name in KEY_FILES if name in kept.keys}
        _check_keys(config.data.dir, keys, force=force)
        with target.replacing() as sink, _bar("restore") as progress:
            tally = copy(kept, sink, progress)
        _put_keys(config.data.dir, keys)
    _say(f"{target}: {_counted(tally)}, up to commit {kept.number:,}")
    if not (config.data.dir / KEY_FILES[0]).exists():
        _say(
            f"NO KEY: put the {KEY_FILES[0]} of that shop into {config.data.dir} before the server "
            "starts, or names and addresses can never be read again"
        )


def move_store(origin: str, target: str) -> None:
    """Move the shop from one store to another; raises StartError, and then it has not moved."""
    with _in_words(), _bar("move") as progress:
        tally = move(place(origin), place(target), progress)
    _say(f"moved {_counted(tally)}, read back and compared")
    _say(f"now put store.url = '{place(target)}' into the configuration; the old store is refused")


def place(url: str) -> Place:
    """The store of a URL as in `store.url`; raises PortableError."""
    if url.startswith(SQLITE) and url != SQLITE:
        return SqlitePlace(Path(url.removeprefix(SQLITE)))
    try:
        return RedisPlace(url)
    except ValueError as error:
        raise PortableError(f"a store is sqlite:PATH or {error}") from error


def _keys(directory: Path) -> Mapping[str, bytes]:
    files = {name: directory / name for name in KEY_FILES}
    return {name: file.read_bytes() for name, file in files.items() if file.exists()}


def _check_keys(directory: Path, keys: Mapping[str, bytes], *, force: bool) -> None:
    for name, key in keys.items():
        file = directory / name
        if not force and file.exists() and file.read_bytes() != key:
            raise PortableError(f"{file} is another key than the backup's; --force replaces it")


def _put_keys(directory: Path, keys: Mapping[str, bytes]) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, key in keys.items():
        file, new = directory / name, directory / f"{name}.new"
        if file.exists() and file.read_bytes() == key:
            continue
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(key)
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            os.replace(file, directory / f"{file.name}.old")
        os.replace(new, file)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except (PortableError, TooNew, Moved, OSError) as error:
        raise StartError(str(error)) from error


@contextmanager
def _bar(what: str) -> Iterator[OnProgress]:
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, expected: bar.update(task, completed=done, total=expected)


def _counted(tally: Tally) -> str:
    names = {"item": "records", "place": "index places", "event": "events"}
    return ", ".join(f"{tally.counts[kind]:,} {name}" for kind, name in names.items())


def _say(text: str) -> None:
    typer.echo(text, err=True)
