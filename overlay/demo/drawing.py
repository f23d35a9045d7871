"""The pictures, drawn by a process of its own: what drawing takes is given back when it is done.

`python -m overlay.demo.drawing cup scarf` writes PNGs to stdout, each behind its length.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

LENGTH_BYTES = 4


@asynccontextmanager
async def drawn(names: Sequence[str]) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """Gives a function for the next of the pictures; it is drawn while the last one is used.

    That raises EOFError when the drawing has failed.
    """
    if not names:
        yield _none_left
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, *names, stdin=DEVNULL, stdout=PIPE
    )
    pipe = process.stdout
    assert pipe is not None

    async def next_picture() -> bytes:
        size = int.from_bytes(await pipe.readexactly(LENGTH_BYTES), "big")
        return await pipe.readexactly(size)

    try:
        yield next_picture
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _none_left() -> bytes:
    raise EOFError("no picture was asked for")


def main(names: Sequence[str]) -> int:
    from overlay.demo import pictures  # with numpy and the codecs, which the show need not load

    for name in names:
        png = pictures.png(name)
        sys.stdout.buffer.write(len(png).to_bytes(LENGTH_BYTES, "big") + png)
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
