"""SDP as lines: the session part and one section for each m-line (RFC 8866 §5)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mediaserver.errors import ProtocolError

MAX_SDP_BYTES = 64 * 1024  # browsers offer 6 to 12 KiB
MAX_LINES = 4096  # browsers offer 150 to 400
MAX_MEDIAS = 16
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search


class Section:
    """The lines of the session part, or of one m-line: attributes by name, in order."""

    __slots__ = ("attributes", "media")

    def __init__(self, media: str) -> None:
        self.media = media
        self.attributes: dict[str, list[str]] = {}

    def all(self, name: str) -> list[str]:
        return self.attributes.get(name, [])

    def first(self, name: str) -> str:
        values = self.attributes.get(name)
        return values[0] if values else ""


def split_lines(text: str | bytes) -> list[str]:
    if len(text) > MAX_SDP_BYTES:
        raise ProtocolError("SDP too large")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("SDP is not UTF-8") from error
    if _CONTROL(text):
        raise ProtocolError("SDP with control characters")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > MAX_LINES:
        raise ProtocolError("SDP with too many lines")
    return [line for line in lines if line]


def split_sections(lines: Iterable[str]) -> tuple[Section, list[Section]]:
    session = section = Section("")
    sections: list[Section] = []
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            section.attributes.setdefault(name.strip(), []).append(value.strip())
        elif line.startswith("m="):
            if len(sections) == MAX_MEDIAS:
                raise ProtocolError("SDP with too many m-lines")
            section = Section(line[2:])
            sections.append(section)
    return session, sections


def parse_number(text: str, limit: int) -> int | None:
    # int() alone would take signs, underscores, blanks, other scripts' digits and endless ones.
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if number <= limit else None
