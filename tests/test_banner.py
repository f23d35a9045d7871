"""What the demo prints for people: everything can be copied, and the code can be scanned."""

from __future__ import annotations

import io
from dataclasses import replace

import segno
from rich.console import Console

from mediaserver.banner import QUIET_ZONE, Banner, qr_code, show

BANNER = Banner(
    watch_url="http://192.168.1.5:8080/watch/demo",
    studio_url="http://localhost:8080/studio/demo",
    https_studio_url="https://192.168.1.5:8443/studio/demo",
    rtmp_server="rtmp://192.168.1.5:1935/live",
    stream_key="key_" + "x" * 60,
    admin_token="token_" + "y" * 60,
    admin_token_file="data/admin_token",
)


def printed(banner: Banner) -> str:
    console = Console(file=io.StringIO(), width=40, highlight=False)
    show(banner, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_every_value_stands_whole_on_its_line_however_narrow_the_terminal() -> None:
    lines = [line.strip() for line in printed(BANNER).splitlines()]
    assert f"Watch        {BANNER.watch_url}" in lines
    assert f"Stream Key {BANNER.stream_key}" in lines
    assert f"Admin token  {BANNER.admin_token}" in lines
    assert any(BANNER.rtmp_server in line for line in lines)


def test_what_there_is_not_is_not_printed() -> None:
    text = printed(replace(BANNER, https_studio_url=None, admin_token=None, admin_token_file=None))
    assert "Phone" not in text
    assert "█" not in text
    assert "dmin" not in text


def test_the_code_in_the_terminal_is_the_code_of_the_url() -> None:
    url = "https://192.168.1.5:8443/studio/demo"
    rows: list[list[int]] = []
    for line in qr_code(url).splitlines():
        rows.append([char in " ▄" for char in line])  # the upper module is dark
        rows.append([char in " ▀" for char in line])
    matrix = [list(map(bool, row)) for row in segno.make_qr(url).matrix_iter(border=QUIET_ZONE)]
    assert rows[: len(matrix)] == matrix
    assert not any(any(row) for row in rows[len(matrix) :])
