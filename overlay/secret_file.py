"""Secrets made at first start and kept in files of mode 600."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("hawker.auth")

SECRET_BYTES = 32


def random_secret() -> str:
    """43 URL-safe characters of 256 random bits."""
    return secrets.token_urlsafe(SECRET_BYTES)


def load_or_create_secret(path: Path, make: Callable[[], str] = random_secret) -> str:
    """The secret in the file, made if there is none.

    The file appears whole or not at all, and of two processes that start at once both get the one
    that came first. A file that others may read is warned about and closed to them. Raises OSError,
    and ValueError for an empty file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _create(path, make())
    if path.stat().st_mode & 0o077:
        log.warning("%s could be read by others: now mode 600; consider a new secret", path)
        path.chmod(0o600)
    secret = path.read_text(encoding="utf-8").strip()
    if not secret:
        raise ValueError(f"{path} is empty: delete it to have a new secret made")
    return secret


def _create(path: Path, secret: str) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            log.info("%s was just made by another process", path)
    finally:
        os.unlink(draft)
