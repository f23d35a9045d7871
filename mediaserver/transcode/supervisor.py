"""The server's side of the transcode process; imports no codec."""

from __future__ import annotations

import sys
from pathlib import Path

from mediaserver.child import ChildProcess


class TranscodeWorker(ChildProcess):
    """Runs `mediaserver.transcode.worker` on the relay's socket; start the RelayServer first."""

    def __init__(self, relay_path: Path) -> None:
        super().__init__(
            "transcode", [sys.executable, "-m", "mediaserver.transcode.worker", str(relay_path)]
        )
