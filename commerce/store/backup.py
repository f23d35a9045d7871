"""Backups: one file, the same for every store, that later versions can read.

A stream of msgpack objects: a map that says what it is (`hawker` "backup", `v` 1, `records` the format
of the values, `number` of the last commit, `at_ms` UTC, `rows` about how many), each row as an array
(`portable`), `["key", name, bytes]` for each file of keys that is kept with it, and at last a map with
`counts`, `digest` (of the rows, in any order) and `sha256` of all bytes before that map. Members and
kinds may be added under the same `v` only where a reader may pass over them.

The file is of mode 600, has its name only when it is whole, and is read to its end and checked before
the first row of it is used.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgpack

from commerce.store.migrations import check_known, records_format
from commerce.store.portable import (
    PortableError,
    Progress,
    Row,
    Source,
    Tally,
    converted,
    pack_row,
    pages,
)

FORMAT = 1
OBJECT_BYTES_MAX = 64 << 20  # of one row; a picture is the largest, at some MB
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """A whole backup: checked. A `Source`."""

    path: Path
    number: int
    records: int
    at_ms: int
    tally: Tally
    keys: Mapping[str, bytes]

    def expected(self) -> int:
        return self.tally.rows

    def rows(self) -> Iterator[Row]:
        """Every row as it was backed up."""
        with self.path.open("rb") as file:
            for each, _ in _objects(file):
                if isinstance(each, list) and each[0] in self.tally.counts:
                    yield tuple(each)


def write_backup(
    source: Source, path: Path, at_ms: int, progress: Progress, keys: Mapping[str, bytes]
) -> Tally:
    """Write the file, or leave what was there; raises OSError."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            tally = _write(file, source, at_ms, progress, keys)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return tally


def _write(
    file: IO[bytes], source: Source, at_ms: int, progress: Progress, keys: Mapping[str, bytes]
) -> Tally:
    hashed, tally, expected = hashlib.sha256(), Tally(), source.expected()

    def put(packed: bytes) -> None:
        hashed.update(packed)
        file.write(packed)

    header = {"hawker": "backup", "v": FORMAT, "records": records_format()}
    put(msgpack.packb({**header, "number": source.number, "at_ms": at_ms, "rows": expected}))
    for page in pages(converted(source.rows(), source.records)):
        put(b"".join(map(pack_row, page)))
        tally.add(page)
        progress(tally.rows, max(expected, tally.rows))
    for name, key in keys.items():
        put(msgpack.packb(["key", name, key]))
    file.write(msgpack.packb({**tally.to_map(), "sha256": hashed.digest()}))
    return tally


def read_backup(path: Path) -> Backup:
    """Read all of the file and check it; raises PortableError or OSError."""
    tally, keys, end = Tally(), {}, None
    with path.open("rb") as file:
        objects = _objects(file)
        header = _header(path, objects)
        for each, before in objects:
            if end is not None:
                raise PortableError(f"{path} goes on after its end: it is damaged")
            if isinstance(each, dict):
                end = (each, before)
            elif each[0] == "key":
                keys[each[1]] = each[2]
            elif each[0] in tally.counts:
                tally.add([tuple(each)])
        if end is None:
            raise PortableError(f"{path} ends too early: it is not whole")
        trailer, before = end
        if trailer.get("sha256") != _digest(file, before):
            raise PortableError(f"{path} is damaged: its checksum does not fit")
    known = {"counts": trailer["counts"], "digest": trailer["digest"]}
    if known != tally.to_map():
        raise PortableError(f"{path} is damaged: its rows do not add up")
    return Backup(path, header["number"], header["records"], header["at_ms"], tally, keys)


def _header(path: Path, objects: Iterator[tuple[Any, int]]) -> dict[str, Any]:
    header = next(objects, (None, 0))[0]
    if not isinstance(header, dict) or header.get("hawker") != "backup":
        raise PortableError(f"{path} is not a backup of hawker")
    check_known("backup", header["v"], FORMAT)
    check_known("records", header["records"], records_format())
    return header


def _objects(file: IO[bytes]) -> Iterator[tuple[Any, int]]:
    """Each object, and how many bytes stand before it."""
    file.seek(0)
    unpacker = msgpack.Unpacker(file, max_buffer_size=OBJECT_BYTES_MAX)
    before = 0
    try:
        for each in unpacker:
            if not isinstance(each, dict | list) or not each:
                raise PortableError(f"{file.name} is damaged, or not a backup of hawker")
            yield each, before
            before = unpacker.tell()
    except (ValueError, msgpack.UnpackException) as error:
        raise PortableError(f"{file.name} is damaged, or not a backup of hawker") from error
    if before != os.fstat(file.fileno()).st_size:
        raise PortableError(f"{file.name} ends too early: it is not whole")


def _digest(file: IO[bytes], size: int) -> bytes:
    hashed = hashlib.sha256()
    file.seek(0)
    while size > 0 and (piece := file.read(min(READ_BYTES, size))):
        hashed.update(piece)
        size -= len(piece)
    return hashed.digest()
