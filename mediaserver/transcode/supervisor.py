"""The server's side of the transcode processes; imports no codec."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mediaserver.child import ChildProcess


class TranscodeWorker(ChildProcess):
    """Runs `mediaserver.transcode.worker` on the relay's socket; start the RelayServer first."""

    def __init__(self, relay_path: Path) -> None:
        super().__init__(
            "transcode", [sys.executable, "-m", "mediaserver.transcode.worker", str(relay_path)]
        )


class LadderWorker(ChildProcess):
    """Runs `mediaserver.transcode.video_worker` on the relay's socket."""

    def __init__(
        self,
        relay_path: Path,
        rungs: Sequence[dict[str, Any]],
        *,
        always: bool = False,
        threads: int = 0,
    ) -> None:
        """`rungs` have the fields of `ladder.Rung`; `threads` 0: as many as a picture's size wants."""
        settings = json.dumps({"rungs": list(rungs), "always": always, "threads": threads})
        module = "mediaserver.transcode.video_worker"
        super().__init__("ladder", [sys.executable, "-m", module, str(relay_path), settings])
