"""What a person who started the demo needs, in the terminal: where to watch, how to go live.

The QR code leads a phone in the same network to the studio over https, without which a browser gives
no camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import segno
from rich.console import Console
from rich.text import Text

QUIET_ZONE = 2  # modules; the standard's four are for print, and a terminal is narrow
# Two rows of modules a line; a light module is a lit cell, as a terminal is usually dark.
_CELLS = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}


@dataclass(frozen=True, slots=True)
class Banner:
    """`admin_token` is None when it was set by the operator, or made at an earlier start."""

    watch_url: str
    studio_url: str
    https_studio_url: str | None  # on the LAN address; None when https is off
    rtmp_server: str
    stream_key: str
    admin_token: str | None
    admin_token_file: str | None  # where it is kept; None when it was set by the operator


def show(banner: Banner, console: Console) -> None:
    """Print the banner; no line is wrapped, so that every URL can be copied."""
    console.print()
    for label, value in _lines(banner):
        text = Text.assemble("  ", (f"{label:<13}", "bold cyan"), value)
        console.print(text, soft_wrap=True)
    if banner.https_studio_url is not None:
        console.print()
        console.print(Text(qr_code(banner.https_studio_url), "#ffffff on #000000"), soft_wrap=True)
    console.print(Text("  Ctrl-C stops.", "dim"))


def qr_code(text: str) -> str:
    """A QR code of the text in half-height block characters, without colours."""
    rows = [tuple(row) for row in segno.make_qr(text).matrix_iter(border=QUIET_ZONE)]
    if len(rows) % 2:
        rows.append((0,) * len(rows[0]))
    return "\n".join(
        "".join(_CELLS[upper, lower] for upper, lower in zip(top, bottom, strict=True))
        for top, bottom in zip(rows[::2], rows[1::2], strict=True)
    )


def _lines(banner: Banner) -> list[tuple[str, str]]:
    lines = [
        ("Watch", banner.watch_url),
        ("Host", banner.studio_url),
    ]
    if banner.https_studio_url is not None:
        lines.append(("Phone", f"{banner.https_studio_url} (accept our own certificate once)"))
    lines += [
        ("OBS", "Settings, Stream, Service: Custom…"),
        ("  Server", banner.rtmp_server),
        ("  Stream Key", banner.stream_key),
    ]
    if banner.admin_token is not None:
        lines.append(("Admin token", banner.admin_token))
    if banner.admin_token_file is not None:
        lines.append(("", f"(kept in {banner.admin_token_file})"))
    return lines
