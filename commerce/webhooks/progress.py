"""How far an endpoint's relay has come: `seq` in the stream, and since when all its tries failed."""

from __future__ import annotations

from dataclasses import dataclass

import msgpack


@dataclass(frozen=True, slots=True)
class Progress:
    """`failing_ms`: UTC of the first failure since the last success, 0 after one; `version` is the
    store's, and guards every commit of a relay, so that two of them never count the same."""

    seq: int
    failing_ms: int = 0
    version: int = 0

    def pack(self) -> bytes:
        return msgpack.packb({"seq": self.seq, "failing_ms": self.failing_ms})


def progress_key(endpoint: str) -> str:
    return f"webhook-progress/{endpoint}"


def unpack_progress(value: bytes | None, version: int) -> Progress | None:
    return None if value is None else Progress(**msgpack.unpackb(value), version=version)
