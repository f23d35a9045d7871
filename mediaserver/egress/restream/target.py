"""Where a room's stream is sent besides."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """`rendition` is the suffix of the one to send, empty for what the publisher sends.

    `enhanced`: the server takes Enhanced RTMP, even where it does not say so. `key` is a secret.
    """

    id: str
    url: str
    key: str = field(repr=False)
    rendition: str = ""
    enhanced: bool = False
