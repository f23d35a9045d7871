"""What requests are read as: nothing but the members that were thought of, each of its own type."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Unknown members are refused, for a misspelt one must not be lost; no text counts as a number."""

    model_config = ConfigDict(extra="forbid", strict=True)
