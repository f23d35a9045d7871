"""Log lines on stderr: text for people or one JSON object a line for machines, the same content.

Keyword facts go into `extra=`. Control characters in a message are escaped, so that nothing a peer
sends can forge a line or reach a terminal raw.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from aiohttp.http_exceptions import HttpProcessingError

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, style: Literal["text", "json"]) -> None:
    """Send every logger's lines of at least `level` (`debug` to `error`) to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("aiohttp.server").addFilter(_one_line_for_junk)


def _one_line_for_junk(record: logging.LogRecord) -> bool:
    """Bytes that are no HTTP are the peer's error: a line about it, and no traceback of ours."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg = f"{record.getMessage()}: {type(error).__name__}"
        record.args, record.exc_info = (), None
    return True


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {name}={_escape(str(value))}" for name, value in _extra(record).items())
        line = f"{_timestamp(record)} {record.levelname:<7} {record.name}: "
        line += _escape(record.getMessage()) + facts
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _escape(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
