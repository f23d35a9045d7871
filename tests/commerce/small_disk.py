"""A program whose files may not grow past a limit: commits until refused, then with the limit lifted.

`python small_disk.py FILE`: prints one JSON object of what was acknowledged and what was refused.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

from commerce.errors import StoreUnavailable
from commerce.store import SqliteStore

LIMIT_BYTES = 400_000


async def main() -> None:
    store = await SqliteStore.open(Path(sys.argv[1]))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    acknowledged = []
    refused = None
    for number in range(200):
        try:
            await store.commit(f"{number}", writes={f"k{number}": b"x" * 10_000})
        except StoreUnavailable as error:
            refused = {"key": f"k{number}", "code": error.code, "status": error.status}
            break
        acknowledged.append(f"k{number}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await store.commit("after", writes={"after": b"x"})
    acknowledged.append("after")
    await store.close()
    print(json.dumps({"acknowledged": acknowledged, "refused": refused}))


asyncio.run(main())
