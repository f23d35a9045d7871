"""Refusals of rooms, keys and tokens; the family and its members are those of commerce."""

from __future__ import annotations

from commerce.errors import AlreadyExists, Invalid, NotFound, Refusal, Stale

__all__ = [
    "AlreadyExists",
    "Invalid",
    "Refusal",
    "RoomNotFound",
    "RoomRestricted",
    "Stale",
    "Unauthorized",
    "WrongRoom",
]


class Unauthorized(Refusal):
    """No key or token, or none that is good here."""

    status = 401
    code = "unauthorized"
    title = "Key or token missing or wrong"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"WWW-Authenticate": "Bearer"})


class WrongRoom(Refusal):
    status = 403
    code = "wrong_room"
    title = "Token is for another room"


class RoomRestricted(Refusal):
    status = 403
    code = "room_restricted"
    title = "Room is restricted"


class RoomNotFound(NotFound):
    code = "room_not_found"
    title = "No such room"
