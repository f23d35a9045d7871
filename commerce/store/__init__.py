"""The store: one generic seam, kept by the embedded SQLite file or by Redis."""

from commerce.store.redis import RedisStore
from commerce.store.seam import (
    ABSENT,
    INDEX_END,
    BelowFloor,
    Commit,
    Conflict,
    Store,
    Versioned,
)
from commerce.store.sqlite import SqliteStore

__all__ = [
    "ABSENT",
    "INDEX_END",
    "BelowFloor",
    "Commit",
    "Conflict",
    "RedisStore",
    "SqliteStore",
    "Store",
    "Versioned",
]
