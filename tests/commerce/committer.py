"""A program that commits from eight tasks until it is killed, naming each acknowledged commit.

`python committer.py FILE ROUND`: each commit writes an item, counts it, indexes it and tells it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from commerce.store import SqliteStore

TASKS = 8


async def commit_for_ever(store: SqliteStore, name: str) -> None:
    number = 0
    while True:
        number += 1
        key = f"{name}.{number}"
        await store.commit(
            key,
            writes={key: b"x" * 200},
            adds={"count": (1, 0)},
            index={("all", key): key},
            events=[("told", key.encode())],
        )
        os.write(1, f"{key}\n".encode())


async def main() -> None:
    store = await SqliteStore.open(Path(sys.argv[1]))
    await asyncio.gather(*(commit_for_ever(store, f"{sys.argv[2]}.{n}") for n in range(TASKS)))


asyncio.run(main())
