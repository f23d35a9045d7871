"""nginx with its RTMP module, Debian's packages, one worker."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.peers import started
from benchmarks.ports import free_port, wait_for_port

CONFIG = Path(__file__).parent / "nginx_rtmp/nginx.conf"
PACKAGES: Sequence[str] = ("nginx", "libnginx-mod-rtmp")
MODULE = "lib/nginx/modules/ngx_rtmp_module.so"  # beside the sbin that holds nginx


def missing() -> str:
    """What is not installed, in words; empty when all is there."""
    nginx = _nginx()
    if nginx is None:
        return "no nginx"
    return "" if _module(nginx).exists() else "nginx's RTMP module is not installed"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[int, int]]:
    """Process and port of one on loopback; raises NotStarted."""
    nginx, port = _nginx(), free_port()
    assert nginx is not None
    text = CONFIG.read_text("utf-8").replace("@PORT@", str(port))
    config = folder / "nginx.conf"
    config.write_text(f"load_module {_module(nginx)};\n{text}", "utf-8")
    log = folder / "nginx.log"
    with (
        log.open("wb") as errors,
        started([str(nginx), "-p", str(folder), "-c", str(config)], errors, errors) as process,
    ):
        wait_for_port(port, process, log)
        yield process.pid, port


def _nginx() -> Path | None:
    found = shutil.which("nginx")
    return Path(found) if found else None


def _module(nginx: Path) -> Path:
    return nginx.parents[1] / MODULE
