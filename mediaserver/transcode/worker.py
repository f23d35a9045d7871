"""The transcode process: `python -m mediaserver.transcode.worker SOCKET`, started by TranscodeWorker.

It reads streams through the relay like any other reader and publishes renditions like any other
publisher: `show/opus` for a stream with AAC, `show/aac` for one with Opus. It ends when the relay's
socket closes, so it never outlives the server.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import av

from mediaserver import child
from mediaserver.errors import ProtocolError
from mediaserver.hub import StreamEnded
from mediaserver.hub.relay import RelayClient, RelayPublication
from mediaserver.media import Packet, Track
from mediaserver.transcode.audio_bridge import TARGETS, AudioBridge

log = logging.getLogger("hawker.transcode")

NICENESS = 5  # behind the process that sends; sound must still come in time


class StreamBridge:
    """One stream's sound in the other codec, through every change of its track."""

    def __init__(self, client: RelayClient, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._track: Track | None = None
        self._bridge: AudioBridge | None = None
        self._suffix = ""
        self._rendition: RelayPublication | None = None
        self._last_pts: int | None = None

    async def run(self) -> None:
        """Until the stream is removed."""
        subscription = self._client.subscribe(self._stream, from_keyframe=False, kinds=["audio"])
        try:
            while True:
                for packet in await subscription.read():
                    await self._take(packet)
        except StreamEnded:
            self._report()
        finally:
            subscription.close()
            if self._rendition is not None:
                self._rendition.close()

    async def _take(self, packet: Packet) -> None:
        if packet.track != self._track:
            self._change(packet.track)
        if self._bridge is None or self._rendition is None:
            return
        for converted in self._bridge.convert(packet):
            # A new bridge primes its encoder anew: what overlaps with the last is left out.
            if self._last_pts is None or converted.pts > self._last_pts:
                self._last_pts = converted.pts
                await self._rendition.write(converted)
        for name, value in self._bridge.meter.readings().items():
            self._rendition.measured(name, value)

    def _change(self, track: Track) -> None:
        self._report()
        self._track, self._bridge = track, None
        try:
            self._bridge = AudioBridge(track)
        except (av.FFmpegError, ProtocolError, ValueError) as error:
            log.warning("stream %s: no bridge for its %s: %s", self._stream, track.codec, error)
            return
        suffix = TARGETS[track.codec].codec
        log.info("stream %s: bridging %s to %s", self._stream, track.codec, suffix)
        if suffix != self._suffix:
            if self._rendition is not None:
                self._rendition.close()
            self._suffix, self._last_pts = suffix, None
            self._rendition = self._client.publish(self._stream, suffix)

    def _report(self) -> None:
        if self._bridge is not None:
            log.info(
                "stream %s: bridge ended, %d corrupt packets, %d resynchronisations",
                self._stream,
                self._bridge.corrupt,
                self._bridge.resyncs,
            )


async def serve(path: Path) -> None:
    """Bridge every stream of the relay at `path` until it closes; raises OSError."""
    client = await RelayClient.connect(path)
    bridges: dict[str, asyncio.Task[None]] = {}
    async for change in client.watch():
        if "/" in change.stream:
            continue
        if change.change == "removed":
            bridges.pop(change.stream, None)
        elif change.change == "online":
            task = bridges.get(change.stream)
            if task is None or task.done():
                bridges[change.stream] = asyncio.create_task(_bridge(client, change.stream))
    await client.closed()


async def _bridge(client: RelayClient, stream: str) -> None:
    """A bug in one stream's bridge is told and costs that stream its sound, not the others theirs."""
    try:
        await StreamBridge(client, stream).run()
    except Exception:
        log.exception("stream %s: its bridge failed", stream)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mediaserver.transcode.worker")
    parser.add_argument("socket", type=Path, help="where the relay listens")
    path: Path = parser.parse_args().socket
    child.begin(NICENESS)
    try:
        asyncio.run(serve(path))
    except OSError as error:
        log.error("cannot reach the relay: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
