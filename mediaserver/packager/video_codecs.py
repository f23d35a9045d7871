"""How fragmented MP4 and HLS carry each video codec; VP8 has no place in HLS.

H.264 and H.265: ISO/IEC 14496-15; VP9: VP Codec ISO Media File Format Binding; AV1: AV1 Codec ISO
Media File Format Binding. Parameter sets are in the sample entry alone, so `avc1` and `hvc1`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mediaserver.protocol import av1, h264, h265, vpcc


@dataclass(frozen=True, slots=True)
class VideoCodec:
    """`sample_entry` and `config_box` are four-character types; a config box begins with `head`.

    `name` makes the CODECS string of a Track's configuration, and raises ProtocolError.
    """

    sample_entry: bytes
    config_box: bytes
    name: Callable[[bytes], str]
    head: bytes = b""


VIDEO_CODECS: Mapping[str, VideoCodec] = {
    "h264": VideoCodec(b"avc1", b"avcC", h264.codec_string),
    "h265": VideoCodec(b"hvc1", b"hvcC", h265.codec_string),
    "vp9": VideoCodec(b"vp09", b"vpcC", vpcc.codec_string, head=b"\1\0\0\0"),  # version, flags
    "av1": VideoCodec(b"av01", b"av1C", av1.codec_string),
}
