"""VP9 frames: VP9 Bitstream & Decoding Process Specification v0.7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol.bits import BitReader
from mediaserver.protocol.vpcc import SUBSAMPLING_420, UNSPECIFIED, VpConfig

MAX_SUPERFRAME_FRAMES = 8  # three bits count them (Annex B)
HEADER_BYTES = 32  # of an uncompressed header up to the size, with room
_SYNC_CODE = 0x498342
_RGB = 7
_SUBSAMPLING_422, _SUBSAMPLING_444 = 2, 3
# color_space (§7.2.2) as primaries, transfer and matrix of ISO/IEC 23091-4
_COLOURS = {1: (5, 6, 6), 2: (1, 1, 1), 3: (6, 6, 6), 4: (7, 7, 7), 5: (9, 14, 9), _RGB: (1, 13, 0)}
# Level (ten times) by its largest luma samples per second and per picture (Annex A).
_LEVELS = (
    (10, 829_440, 36_864),
    (11, 2_764_800, 73_728),
    (20, 4_608_000, 122_880),
    (21, 9_216_000, 245_760),
    (30, 20_736_000, 552_960),
    (31, 36_864_000, 983_040),
    (40, 83_558_400, 2_228_224),
    (41, 160_432_128, 2_228_224),
    (50, 311_951_360, 8_912_896),
    (51, 588_251_136, 8_912_896),
    (52, 1_176_502_272, 8_912_896),
    (60, 1_176_502_272, 35_651_584),
    (61, 2_353_004_544, 35_651_584),
)
_HIGHEST_LEVEL = 62
_FRAME_RATE = 30  # the bitstream tells no frame rate


@dataclass(frozen=True, slots=True)
class Keyframe:
    """What the uncompressed header of a keyframe says (§6.2); the size is in pixels."""

    profile: int
    width: int
    height: int
    bit_depth: int
    chroma_subsampling: int  # as in VpConfig
    color_space: int
    full_range: bool


def parse_keyframe(frame: bytes) -> Keyframe | None:
    """The header of a frame (the first of a superframe), None if it is no keyframe.

    Raises ProtocolError for what is no VP9.
    """
    bits = BitReader(frame[:HEADER_BYTES])
    if bits.u(2) != 2:
        raise ProtocolError("a VP9 frame without its marker")
    profile = bits.u(1) | bits.u(1) << 1
    if profile == 3 and bits.u(1):
        raise ProtocolError("VP9 of a reserved profile")
    if bits.flag() or bits.flag():  # show_existing_frame, frame_type
        return None
    bits.u(2)  # show_frame, error_resilient_mode
    if bits.u(24) != _SYNC_CODE:
        raise ProtocolError("a VP9 keyframe without its sync code")
    bit_depth = 8
    if profile >= 2:
        bit_depth = 12 if bits.flag() else 10
    color_space = bits.u(3)
    full_range, subsampling = _parse_range_and_subsampling(bits, profile, color_space)
    width, height = bits.u(16) + 1, bits.u(16) + 1
    return Keyframe(profile, width, height, bit_depth, subsampling, color_space, full_range)


def _parse_range_and_subsampling(
    bits: BitReader, profile: int, color_space: int
) -> tuple[bool, int]:
    if color_space == _RGB:
        if not profile & 1:
            raise ProtocolError("VP9 with RGB in a profile without 4:4:4")
        bits.u(1)
        return True, _SUBSAMPLING_444
    full_range = bits.flag()
    if not profile & 1:
        return full_range, SUBSAMPLING_420
    halved_x, _halved_y = bits.flag(), bits.flag()
    bits.u(1)
    return full_range, _SUBSAMPLING_422 if halved_x else _SUBSAMPLING_444


def video_track(keyframe: Keyframe, size: tuple[int, int] | None = None) -> Track:
    """The Track that begins here; `size` where the topmost spatial layer has another."""
    width, height = size or (keyframe.width, keyframe.height)
    config = VpConfig(
        keyframe.profile,
        level_of(width, height),
        keyframe.bit_depth,
        keyframe.chroma_subsampling,
        keyframe.full_range,
        *_COLOURS.get(keyframe.color_space, (UNSPECIFIED,) * 3),
    )
    return Track("video", "vp9", VIDEO_CLOCK_RATE, config.serialize(), width, height)


def level_of(width: int, height: int) -> int:
    """Ten times the level for pictures of this size, at _FRAME_RATE."""
    samples = width * height
    for level, rate, picture in _LEVELS:
        if samples <= picture and samples * _FRAME_RATE <= rate:
            return level
    return _HIGHEST_LEVEL


def split_superframe(data: bytes) -> list[bytes]:
    """The frames of a superframe (Annex B), without its index; one frame alone as it is."""
    marker = data[-1] if data else 0
    if marker & 0xE0 != 0xC0:
        return [data]
    count, length = (marker & 7) + 1, (marker >> 3 & 3) + 1
    start = len(data) - count * length - 2
    if start < 0 or data[start] != marker:
        return [data]
    frames, offset = [], 0
    for index in range(count):
        place = start + 1 + index * length
        end = offset + int.from_bytes(data[place : place + length], "little")
        if end > start:
            raise ProtocolError("a VP9 superframe whose sizes don't add up")
        if end > offset:
            frames.append(data[offset:end])
        offset = end
    return frames


def join_superframe(frames: Sequence[bytes]) -> bytes:
    """One frame as it is, several as a superframe (Annex B); raises ProtocolError for too many."""
    if len(frames) <= 1:
        return b"".join(frames)
    if len(frames) > MAX_SUPERFRAME_FRAMES:
        raise ProtocolError(f"more than {MAX_SUPERFRAME_FRAMES} frames in a VP9 superframe")
    length = (max(map(len, frames)).bit_length() + 7) // 8
    marker = bytes((0xC0 | (length - 1) << 3 | (len(frames) - 1),))
    sizes = [len(frame).to_bytes(length, "little") for frame in frames]
    return b"".join((*frames, marker, *sizes, marker))
