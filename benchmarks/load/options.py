"""The command line of `hawker load`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from benchmarks.load.share import Plan

ADMIN_TOKEN = "HAWKER_ADMIN_TOKEN"
SPREAD_S = (
    5.0  # but longer where more than JOINS_PER_S would come; a short run joins in its first part
)
JOINS_PER_S = 50.0
JOINING_SHARE = 0.4  # of the seconds, at most
ROOM_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"hawker load: {message} (hawker load --help explains)\n")


def parse(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Plan:
    """SystemExit with 2 and one line when it is wrong."""
    parser = _parser()
    given = parser.parse_args(argv)
    publishers = given.publishers if given.publishers is not None else int(given.room is None)
    people = given.viewers + given.hls_viewers + given.buyers + given.chatters
    if not people and not publishers:
        parser.error("nobody is asked for")
    return Plan(
        url=given.url,
        room=given.room,
        publishers=publishers,
        viewers=given.viewers,
        hls_viewers=given.hls_viewers,
        buyers=given.buyers,
        chatters=given.chatters,
        seconds=given.seconds,
        spread_s=_spread_s(given.seconds, people),
        loss=given.loss / 100,
        seed=given.seed,
        processes=given.processes,
        rtmp=given.rtmp,
        admin_token=_token(parser, given.admin_token_file, environment),
        json=given.json,
        plot=given.plot,
    )


def _spread_s(seconds: float, people: int) -> float:
    """In which all join."""
    return min(max(SPREAD_S, people / JOINS_PER_S), seconds * JOINING_SHARE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("hawker load", description="Load a running node with real sessions.")
    add, people = parser.add_argument, _number(int, 0, 100_000)
    add("--url", type=_url, required=True, help="of the node, http://host:port")
    add("--admin-token-file", type=Path, metavar="FILE", help=f"or environment {ADMIN_TOKEN}")
    add("--room", type=_room, help="to be in; without it, rooms are made, one a publisher")
    add("--rtmp", metavar="URL", help="where to publish to; default: as the node says")
    add("--publishers", type=people, metavar="N", help="by RTMP; default 1, 0 with --room")
    add("--viewers", type=people, default=10, metavar="N", help="by WHEP; default %(default)s")
    add("--hls-viewers", type=people, default=0, metavar="N", help="default %(default)s")
    add("--buyers", type=people, default=0, metavar="N", help="an order a second each; %(default)s")
    add("--chatters", type=people, default=0, metavar="N", help="a line in 2 s each; %(default)s")
    seconds = _number(float, 1, 86_400)
    add("--seconds", type=seconds, default=30.0, metavar="S", help="%(default)s, joins included")
    loss = _number(float, 0, 90)
    add(
        "--loss",
        type=loss,
        default=0.0,
        metavar="PERCENT",
        help="of all datagrams, each way, by a relay",
    )
    add("--seed", type=int, default=1, metavar="N", help="of the loss and the buyers; %(default)s")
    cores, processes = os.cpu_count() or 1, _number(int, 1, 256)
    add("--processes", type=processes, default=cores, metavar="N", help="default: a core each")
    add("--json", type=_writable, metavar="FILE", help="save all that was measured")
    add("--plot", type=_writable, metavar="FILE.svg", help="save its course as a picture")
    return parser


def _token(
    parser: argparse.ArgumentParser, file: Path | None, environment: Mapping[str, str]
) -> str | None:
    if file is None:
        return environment.get(ADMIN_TOKEN) or None
    try:
        return file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"--admin-token-file: {error}")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise argparse.ArgumentTypeError(f"{text!r} is not http://host:port")
    return text.rstrip("/")


def _room(text: str) -> str:
    if not text or not ROOM_CHARS.issuperset(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no room")
    return text


def _writable(text: str) -> Path:
    """Known before the run that it can be saved after it."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"cannot write to {text}")
    return path


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {most}")
        return value

    return number
