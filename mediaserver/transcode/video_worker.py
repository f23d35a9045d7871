"""The process of the ladder: `python -m mediaserver.transcode.video_worker SOCKET SETTINGS`.

It reads pictures through the relay like any other reader and publishes renditions like any other
publisher; apart from the audio bridge's, so that sound never waits for pictures. SETTINGS is JSON:
`{"rungs": [{"height", "bitrate_kbps", "fps", "preset"}…], "always": …, "threads": …}`. It ends when the
relay's socket closes, so it never outlives the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mediaserver import child
from mediaserver.hub.relay import RelayClient
from mediaserver.transcode import encoders
from mediaserver.transcode.ladder import Rung
from mediaserver.transcode.stream_ladder import StreamLadder, Workshop

log = logging.getLogger("hawker.transcode")

NICENESS = 5  # behind the process that sends, and behind sound


async def serve(path: Path, workshop: Workshop) -> None:
    """Make renditions of every stream of the relay at `path` until it closes; raises OSError."""
    client = await RelayClient.connect(path)
    ladders: dict[str, tuple[StreamLadder, asyncio.Task[None]]] = {}
    async for change in client.watch():
        if "/" in change.stream:
            continue
        if change.change == "removed":
            if known := ladders.pop(change.stream, None):
                known[1].cancel()
        elif change.change == "online":
            known = ladders.get(change.stream)
            if known is not None and not known[1].done():
                known[0].look_again()
                continue
            # a connection for each: what waits for one ladder holds up no other
            own = await RelayClient.connect(path)
            ladder = StreamLadder(own, change.stream, workshop)
            ladders[change.stream] = ladder, asyncio.create_task(_run(ladder, own, change.stream))
    await client.closed()


async def _run(ladder: StreamLadder, client: RelayClient, stream: str) -> None:
    """A bug in one stream's ladder is told and costs that stream its renditions, not the others."""
    try:
        await ladder.run()
    except Exception:
        log.exception("stream %s: its ladder failed", stream)
    finally:
        await client.close()


def workshop(settings: dict[str, Any]) -> Workshop:
    """Choose the encoder, and as many threads as there are cores."""
    kind = encoders.choose()
    log.info("pictures are encoded by %s", kind.name)
    cores = os.cpu_count() or 1
    return Workshop(
        rungs=tuple(Rung(**rung) for rung in settings["rungs"]),
        always=settings["always"],
        threads=settings["threads"],
        kind=kind,
        streams=ThreadPoolExecutor(cores, "stream"),
        encoders=ThreadPoolExecutor(cores, "encoder"),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mediaserver.transcode.video_worker")
    parser.add_argument("socket", type=Path, help="where the relay listens")
    parser.add_argument("settings", type=json.loads, help="the ladder as JSON")
    arguments = parser.parse_args()
    child.begin(NICENESS)
    try:
        asyncio.run(serve(arguments.socket, workshop(arguments.settings)))
    except OSError as error:
        log.error("cannot reach the relay: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
