"""Rooms, their ingest and their viewers' tokens, as requests bring them and answers show them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from mediaserver.api.strict import Strict

TTL_MAX_S = 30 * 24 * 3600
VIEWER_TTL_S = 12 * 3600

RoomAccess = Literal["public", "restricted", "rehearsal"]  # which is for staff alone
Role = Literal["viewer", "host", "operator", "moderator", "finance", "engineer"]


class NewRoom(Strict):
    id: str | None = None
    title: str
    access: RoomAccess = "public"


class RoomPatch(Strict):
    title: str | None = None
    access: RoomAccess | None = None


class NewViewerToken(Strict):
    room: str
    sub: str | None = None
    role: Role = "viewer"
    name: str | None = None
    tier: str | None = None
    segment: str | None = None
    ttl_s: Annotated[int, Field(ge=1, le=TTL_MAX_S)] = VIEWER_TTL_S


class NewGuestToken(Strict):
    token: str | None = None


class RoomDocument(BaseModel):
    """The times are told to who may look inside."""

    id: str
    title: str
    access: RoomAccess
    live: bool
    viewers: int
    created_at: str | None = None
    updated_at: str | None = None


class NewRoomDocument(RoomDocument):
    stream_key: str = Field(description="told this once")


class RoomsPage(BaseModel):
    items: list[RoomDocument]
    next: str | None


class StreamKeyDocument(BaseModel):
    room: str
    stream_key: str = Field(description="told this once")


class NoticeDocument(BaseModel):
    code: str
    severity: str
    text: dict[str, str] = Field(description="by language: `en`, `zh`")
    fix: dict[str, str]


class QualityDocument(BaseModel):
    """Rates over the last 5 s; `frames` of this publisher, `outages` and `away_s` of the stream."""

    frame_rate: float
    keyframe_interval_s: float
    video_bps: int
    audio_bps: int
    loudness_lufs: float | None = Field(
        description="by EBU R128 over the last minute; null before 10 s of AAC or Opus"
    )
    loudness_now_lufs: float | None = Field(description="of the last 3 s")
    av_drift_ms: int = Field(description="of sound against picture since the publisher began")
    clock_jumps: int
    frames: int
    outages: int = Field(description="how often nobody published")
    away_s: float = Field(description="how long nobody published")


class IngestDocument(BaseModel):
    room: str
    live: bool
    input: str | None = Field(description="`main`, `backup` or `slate`: what is on the air")
    protocol: str | None
    codecs: dict[str, str] = Field(description="of `video` and `audio`")
    resolution: str | None
    frame_rate: float | None
    bitrate_bps: int
    quality: QualityDocument | None
    notices: list[NoticeDocument]


class TokenDocument(BaseModel):
    token: str
    sub: str
    expires_at: str
