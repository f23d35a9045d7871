"""The server's side of the synthetic host."""

from __future__ import annotations

import sys

from mediaserver.child import ChildProcess

KEY_VARIABLE = "HAWKER_STREAM_KEY"  # the environment, for an argument would show in ps


class DemoHost(ChildProcess):
    """Publishes the test pattern to `rtmp_url` (`rtmp://host:port/app`) with a stream key."""

    def __init__(self, rtmp_url: str, key: str) -> None:
        super().__init__(
            "demo host",
            [sys.executable, "-m", "mediaserver.ingest.testpattern", "--url", rtmp_url],
            {KEY_VARIABLE: key},
        )
