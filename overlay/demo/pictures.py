"""The pictures of the shop's products, drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from overlay.demo import drawings_home, drawings_tea
from overlay.demo.canvas import Canvas

PICTURES: Mapping[str, Callable[[], Canvas]] = {
    draw.__name__: draw
    for draw in (
        drawings_tea.cup,
        drawings_tea.teapot,
        drawings_tea.tin,
        drawings_tea.lantern,
        drawings_tea.candle,
        drawings_home.scarf,
        drawings_home.tote,
        drawings_home.socks,
        drawings_home.cushion,
        drawings_home.succulent,
    )
}


def png(name: str) -> bytes:
    """The picture of this name as a PNG; takes a few tenths of a second. Raises KeyError."""
    return PICTURES[name]().png()
