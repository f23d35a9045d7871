"""What Enhanced RTMP a server tells that it takes (Veovera, E-RTMP v2, "NetConnection connect").

A client that names none of it in its connect is told none of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from mediaserver.protocol import amf0
from mediaserver.protocol.flv_tracks import VIDEO_TRACKS

CAN_DECODE, CAN_FORWARD = 1, 4  # FourCcInfoMask
MULTITRACK, MOD_EX = 2, 4  # CapsExMask

_VIDEO = tuple(each.decode() for each in VIDEO_TRACKS)
_AUDIO = "mp4a", "Opus"
_TAKEN = float(CAN_DECODE | CAN_FORWARD)
_ASKING = frozenset({"fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"})


def answer(connect: Mapping[str, amf0.Value]) -> dict[str, amf0.Value]:
    """The properties for the answer to a connect with this command object."""
    if _ASKING.isdisjoint(connect):
        return {}
    return {
        "fourCcList": [*_VIDEO, *_AUDIO],
        "videoFourCcInfoMap": dict.fromkeys(_VIDEO, _TAKEN),
        "audioFourCcInfoMap": dict.fromkeys(_AUDIO, _TAKEN),
        "capsEx": float(MULTITRACK | MOD_EX),
    }
