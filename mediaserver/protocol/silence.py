"""Silent frames of AAC-LC and Opus, for where a publisher sends no audio.

AAC is raw_data_block of ISO/IEC 14496-3 §4.4.2.1, Opus a packet of RFC 6716 §3.1. A player stops when
one of its tracks does: a phone that mutes by sending nothing must not stop the picture. The AAC frames
are the silent core of HE-AAC too.
"""

from __future__ import annotations

from mediaserver.errors import ProtocolError
from mediaserver.media import Track
from mediaserver.protocol.aac import AudioSpecificConfig

# No scale factor bands (max_sfb 0), so everything but the element's id and ID_END is zero bits:
# single_channel_element 3 + 4 + 8 + 11 + 3 bits; channel_pair_element with a common window 8 + 11 + 2
# bits and twice 8 + 3.
_AAC = {
    1: (0b111).to_bytes(4, "big"),
    2: (0x21 << 40 | 0b111_00).to_bytes(6, "big"),
}
# TOC: CELT, full band, 20 ms, one frame; then what says that every band is silent.
_OPUS = {1: b"\xf8\xff\xfe", 2: b"\xfc\xff\xfe"}


def silent_frame(track: Track) -> bytes | None:
    """One frame of silence: 20 ms of Opus, a frame of AAC; None where neither mono nor stereo."""
    if track.codec == "opus":
        return _OPUS.get(track.channels)
    if track.codec != "aac":
        return None
    try:
        return _AAC.get(AudioSpecificConfig.parse(track.config).channels)
    except ProtocolError:
        return None
