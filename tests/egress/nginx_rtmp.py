"""nginx with its RTMP module (Debian's packages) as another platform, which keeps what it gets."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

MODULE = "lib/nginx/modules/ngx_rtmp_module.so"  # beside the sbin that holds nginx
TRIES, TRY_S = 200, 0.05
CONFIG = """load_module {module};
daemon off;
master_process off;
worker_processes 1;
{user}
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
rtmp {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        application live {{
            live on;
            record all;
            record_path {folder};
            record_unique on;
        }}
    }}
}}
"""


def installed() -> tuple[Path, Path]:
    """The program and its module; on Debian, where `make test` installs them, both are there."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    module = Path(nginx).parents[1] / MODULE if nginx else Path()
    if nginx is None or not module.is_file():
        if Path("/etc/debian_version").exists() and os.geteuid() == 0:
            pytest.fail("nginx and libnginx-mod-rtmp are not installed: run .ci/setup system")
        pytest.skip("no nginx with its RTMP module (Debian: nginx, libnginx-mod-rtmp)")
    return Path(nginx), module


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def platform(folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """One that records into `folder`; it is killed at the end, if it is still there."""
    nginx, module = installed()
    folder.mkdir(exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(module=module, user=user, port=port, folder=folder), "utf-8")
    process = await asyncio.create_subprocess_exec(
        nginx, "-p", folder, "-c", config, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _listening(port)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listening(port: int) -> None:
    for _ in range(TRIES):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(TRY_S)
        else:
            writer.close()
            return
    raise AssertionError("nginx did not begin to listen")


def recorded(folder: Path, key: str) -> list[list[tuple[int, int, bytes]]]:
    """(type, timestamp in ms, body) of every tag, for each connection with this key, in order.

    A tag that is not there to its end is left out: its writer was killed.
    """
    files = sorted(folder.glob(f"{key}-*.flv"), key=lambda file: file.stat().st_mtime_ns)
    return [list(_tags(file.read_bytes())) for file in files]


def _tags(data: bytes) -> list[tuple[int, int, bytes]]:
    """The tags of a file (Video File Format 10.1 §E.3, §E.4.1)."""
    position, tags = 13, []
    while position + 11 <= len(data):
        size = int.from_bytes(data[position + 1 : position + 4], "big")
        timestamp = int.from_bytes(
            data[position + 7 : position + 8] + data[position + 4 : position + 7], "big"
        )
        body = data[position + 11 : position + 11 + size]
        if len(body) == size:
            tags.append((data[position], timestamp, body))
        position += 15 + size
    return tags
