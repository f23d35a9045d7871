"""VP8 frames (RFC 6386)."""

from __future__ import annotations

from mediaserver.errors import ProtocolError
from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol.vpcc import VpConfig

KEYFRAME_HEADER_BYTES = 10
_START_CODE = b"\x9d\x01\x2a"


def is_keyframe(frame: bytes) -> bool:
    """Whether a frame needs no other (§9.1)."""
    return len(frame) > 0 and not frame[0] & 1


def keyframe_size(frame: bytes) -> tuple[int, int]:
    """Width and height of a keyframe, in pixels before upscaling (§9.1); raises ProtocolError."""
    if len(frame) < KEYFRAME_HEADER_BYTES or frame[3:6] != _START_CODE:
        raise ProtocolError("a VP8 keyframe without its start code")
    width = int.from_bytes(frame[6:8], "little") & 0x3FFF
    height = int.from_bytes(frame[8:10], "little") & 0x3FFF
    if not width or not height:
        raise ProtocolError(f"a VP8 picture of {width}x{height}")
    return width, height


def video_track(keyframe: bytes) -> Track:
    """The Track that begins with this keyframe; raises ProtocolError."""
    width, height = keyframe_size(keyframe)
    profile = keyframe[0] >> 1 & 7
    if profile > 3:
        raise ProtocolError(f"VP8 of version {profile}")
    config = VpConfig(profile, level=0).serialize()
    return Track("video", "vp8", VIDEO_CLOCK_RATE, config, width, height)
