"""VPCodecConfigurationRecord: VP Codec ISO Media File Format Binding v1.0 §2.2, for VP8 and VP9.

It is what `vpcC` holds behind its version and flags.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mediaserver.errors import ProtocolError

_RECORD = struct.Struct(">BBBBBBH")
UNSPECIFIED = 2  # colour of ISO/IEC 23091-4
SUBSAMPLING_420 = 1  # 4:2:0 with luma at (0, 0): the usual siting of encoders; 0 is vertical


@dataclass(frozen=True, slots=True)
class VpConfig:
    """`level` is ten times the level (0: not known), `bit_depth` in bits, colours as ISO 23091-4."""

    profile: int
    level: int
    bit_depth: int = 8
    chroma_subsampling: int = SUBSAMPLING_420
    full_range: bool = False
    colour_primaries: int = UNSPECIFIED
    transfer_characteristics: int = UNSPECIFIED
    matrix_coefficients: int = UNSPECIFIED

    @classmethod
    def parse(cls, record: bytes) -> VpConfig:
        """Parse a record; raises ProtocolError."""
        if len(record) < _RECORD.size:
            raise ProtocolError("a VPCodecConfigurationRecord is cut off")
        profile, level, packed, primaries, transfer, matrix, _ = _RECORD.unpack_from(record)
        return cls(
            profile,
            level,
            packed >> 4,
            packed >> 1 & 7,
            packed & 1 == 1,
            primaries,
            transfer,
            matrix,
        )

    def serialize(self) -> bytes:
        """The record, without initialization data, which neither VP8 nor VP9 has."""
        packed = self.bit_depth << 4 | self.chroma_subsampling << 1 | self.full_range
        return _RECORD.pack(
            self.profile,
            self.level,
            packed,
            self.colour_primaries,
            self.transfer_characteristics,
            self.matrix_coefficients,
            0,
        )


def codec_string(record: bytes) -> str:
    """The name of VP9 in CODECS, like "vp09.00.31.08" (§2.4); raises ProtocolError."""
    config = VpConfig.parse(record)
    return f"vp09.{config.profile:02}.{config.level:02}.{config.bit_depth:02}"
