"""Silent AAC-LC frames (ISO/IEC 14496-3 §4.4.2.1, raw_data_block), for where a publisher sends no audio.

A player stops when one of its renditions does: a phone that mutes by sending nothing must not stop
the picture. The same frames are the silent core of HE-AAC.
"""

from __future__ import annotations

from mediaserver.errors import ProtocolError
from mediaserver.media import Track
from mediaserver.protocol.aac import AudioSpecificConfig

# No scale factor bands (max_sfb 0), so everything but the element's id and ID_END is zero bits:
# single_channel_element 3 + 4 + 8 + 11 + 3 bits; channel_pair_element with a common window 8 + 11 + 2
# bits and twice 8 + 3.
_FRAMES = {
    1: (0b111).to_bytes(4, "big"),
    2: (0x21 << 40 | 0b111_00).to_bytes(6, "big"),
}


def silent_frame(track: Track) -> bytes | None:
    """One frame of silence for an AAC track, None for channel layouts other than mono and stereo."""
    if track.codec != "aac":
        return None
    try:
        return _FRAMES.get(AudioSpecificConfig.parse(track.config).channels)
    except ProtocolError:
        return None
