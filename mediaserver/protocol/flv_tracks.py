"""The tracks inside FLV, by codec: from what tags hold to the form that `Packet` promises.

Each has `configure(record)` for its sequence header and `frame(body, start)` for the coded data from
`start` on; frames before the configuration are dropped. What encoders leave undone is mended here:

* a sequence header that never comes, or is empty: parameter sets among the NAL units will do.
* NAL units behind start codes instead of lengths, in a sequence header or a frame.
* AV1 whose sequence header stands in the configuration alone: key frames get it.

`AvcTrack.frame` is a hot path: a frame that needs no change is one slice of the tag.
"""

from __future__ import annotations

import struct
from typing import Protocol

from mediaserver.errors import ProtocolError
from mediaserver.media import Track
from mediaserver.protocol import av1, h264, h265, vp8, vp9

_START_CODE = b"\0\0\0\1"
_length4 = struct.Struct(">I").unpack_from
_SPS_ID_AT = 4  # after the NAL header, profile, constraints and level (H.264 §7.3.2.1.1)
_PPS_ID_AT = 1  # after the NAL header (§7.3.2.2)
_MAX_ID_ZEROS = 8  # an id is below 256
_AVC_DROPPED = frozenset({h264.NAL_AUD, h264.NAL_FILLER, h264.NAL_SPS, h264.NAL_PPS})
_HEVC_SETS = (h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS)
_HEVC_DROPPED = frozenset({*_HEVC_SETS, h265.NAL_AUD, h265.NAL_FILLER})
_AV1_DROPPED = frozenset({av1.OBU_TEMPORAL_DELIMITER, av1.OBU_PADDING, av1.OBU_TILE_LIST})

Coded = tuple[bool, bytes]  # whether decoding can begin here, and the payload of a Packet


class VideoTrack(Protocol):
    track: Track | None

    def configure(self, record: bytes) -> None:
        """Take a sequence header; raises ProtocolError."""

    def frame(self, body: bytes, start: int = 0) -> Coded | None:
        """The access unit from `start` on, None if there is none to hand on; raises ProtocolError."""


class AvcTrack:
    """H.264, lengths or start codes before its NAL units."""

    def __init__(self) -> None:
        self.track: Track | None = None
        self._length_size = 4
        self._sps: tuple[bytes, ...] = ()
        self._pps: tuple[bytes, ...] = ()

    def configure(self, record: bytes) -> None:
        if record.startswith(_START_CODE):
            self._take_parameter_sets(h264.split_annex_b(record))
        elif len(record) > 6 and record[0] == 1 and not record[5] & 0x1F:  # no SPS in it
            self._length_size = (record[4] & 3) + 1
        elif record:
            config = h264.AvcConfig.parse(record)
            self._length_size = config.length_size
            self._set(config.sps, config.pps)

    def frame(self, body: bytes, start: int = 0) -> Coded | None:
        position, end, keyframe = start, len(body), False
        if self.track is not None and self._length_size == 4:
            for _ in range(h264.MAX_NALS):
                if position + 4 >= end:
                    break
                kind = body[position + 4] & 0x1F
                length = _length4(body, position)[0]
                if kind in _AVC_DROPPED or not length:
                    break
                if kind == h264.NAL_IDR:
                    keyframe = True
                position += 4 + length
            if position == end > start:
                return keyframe, body[start:]
        return self._sorted_out(body[start:])

    def _sorted_out(self, data: bytes) -> Coded | None:
        if data.startswith(_START_CODE):
            nals: list[h264.Nal] = list(h264.split_annex_b(data))
        else:
            nals = h264.split_length_prefixed(data, self._length_size)
        self._take_parameter_sets(nals)
        kept = [nal for nal in nals if nal[0] & 0x1F not in _AVC_DROPPED]
        if self.track is None or not kept:
            return None
        keyframe = any(nal[0] & 0x1F == h264.NAL_IDR for nal in kept)
        return keyframe, h264.join_length_prefixed(kept)

    def _take_parameter_sets(self, nals: list[h264.Nal] | list[bytes]) -> None:
        sps, pps = self._sps, self._pps
        for nal in nals:
            if nal[0] & 0x1F == h264.NAL_SPS:
                sps = _with_set(sps, bytes(nal), _SPS_ID_AT)
            elif nal[0] & 0x1F == h264.NAL_PPS:
                pps = _with_set(pps, bytes(nal), _PPS_ID_AT)
        if sps and pps:
            self._set(sps, pps)

    def _set(self, sps: tuple[bytes, ...], pps: tuple[bytes, ...]) -> None:
        if (sps, pps) != (self._sps, self._pps):
            self.track = h264.video_track(sps, pps)
            self._sps, self._pps = sps, pps


class HevcTrack:
    """H.265; parameter sets within a frame replace those of their kind."""

    def __init__(self) -> None:
        self.track: Track | None = None
        self._length_size = 4
        self._sets: dict[int, tuple[bytes, ...]] = {}  # by NAL unit type

    def configure(self, record: bytes) -> None:
        if record.startswith(_START_CODE):
            self._take_parameter_sets(h264.split_annex_b(record))
        elif len(record) > 22 and record[0] == 1 and not record[22]:  # no parameter sets in it
            self._length_size = (record[21] & 3) + 1
        elif record:
            config = h265.HevcConfig.parse(record)
            self._length_size = config.length_size
            self._set(dict(zip(_HEVC_SETS, (config.vps, config.sps, config.pps), strict=True)))

    def frame(self, body: bytes, start: int = 0) -> Coded | None:
        data = body[start:]
        if data.startswith(_START_CODE):
            nals: list[h264.Nal] = list(h264.split_annex_b(data))
        else:
            nals = h264.split_length_prefixed(data, self._length_size)
        kinds = [h265.nal_type(nal) for nal in nals]
        if not _HEVC_DROPPED.isdisjoint(kinds):
            self._take_parameter_sets([bytes(nal) for nal in nals])
            nals = [nal for nal, kind in zip(nals, kinds, strict=True) if kind not in _HEVC_DROPPED]
        if self.track is None or not nals:
            return None
        return any(map(h265.is_irap, kinds)), h264.join_length_prefixed(nals)

    def _take_parameter_sets(self, nals: list[bytes]) -> None:
        sets = dict(self._sets)
        for kind in _HEVC_SETS:
            found = [nal for nal in nals if h265.nal_type(nal) == kind]
            if found:
                sets[kind] = tuple(dict.fromkeys(found))
        if len(sets) == len(_HEVC_SETS):
            self._set(sets)

    def _set(self, sets: dict[int, tuple[bytes, ...]]) -> None:
        if sets != self._sets:
            self.track = h265.video_track(*(sets[kind] for kind in _HEVC_SETS))
            self._sets = sets


class Av1Track:
    """AV1: temporal units of OBUs (AV1 in ISOBMFF §2.4)."""

    def __init__(self) -> None:
        self.track: Track | None = None
        self._sequence_header = b""

    def configure(self, record: bytes) -> None:
        if len(record) > 4:
            for obu in av1.Av1Config.parse(record).obus:
                if av1.obu_type(obu) == av1.OBU_SEQUENCE_HEADER:
                    self._set(obu)

    def frame(self, body: bytes, start: int = 0) -> Coded | None:
        obus = [
            obu
            for obu in av1.split_temporal_unit(body[start:])
            if av1.obu_type(obu) not in _AV1_DROPPED
        ]
        headers = [obu for obu in obus if av1.obu_type(obu) == av1.OBU_SEQUENCE_HEADER]
        if headers:
            self._set(headers[0])
        if self.track is None or not obus:
            return None
        keyframe = any(map(av1.is_key_frame, obus))
        if keyframe and not headers:
            obus.insert(0, self._sequence_header)
        return keyframe, b"".join(obus)

    def _set(self, sequence_header: bytes) -> None:
        if sequence_header != self._sequence_header:
            self.track = av1.video_track(sequence_header)
            self._sequence_header = sequence_header


class Vp9Track:
    """VP9: frames tell all that their configuration does."""

    def __init__(self) -> None:
        self.track: Track | None = None
        self._header: vp9.Keyframe | None = None

    def configure(self, record: bytes) -> None: ...

    def frame(self, body: bytes, start: int = 0) -> Coded | None:
        data = body[start:]
        header = vp9.parse_keyframe(data)
        if header is not None and header != self._header:
            self.track = vp9.video_track(header)
            self._header = header
        return None if self.track is None else (header is not None, data)


class Vp8Track:
    """VP8: frames tell all that their configuration does."""

    def __init__(self) -> None:
        self.track: Track | None = None

    def configure(self, record: bytes) -> None: ...

    def frame(self, body: bytes, start: int = 0) -> Coded | None:
        data = body[start:]
        keyframe = vp8.is_keyframe(data)
        if keyframe:
            track = vp8.video_track(data)
            if track != self.track:
                self.track = track
        return None if self.track is None else (keyframe, data)


VIDEO_TRACKS: dict[bytes, type[VideoTrack]] = {
    b"avc1": AvcTrack,
    b"hvc1": HevcTrack,
    b"av01": Av1Track,
    b"vp09": Vp9Track,
    b"vp08": Vp8Track,
}


def _with_set(sets: tuple[bytes, ...], new: bytes, id_at: int) -> tuple[bytes, ...]:
    if new in sets:
        return sets
    by_id = {_parameter_set_id(each, id_at): each for each in sets}
    by_id[_parameter_set_id(new, id_at)] = new
    return tuple(by_id.values())


def _parameter_set_id(nal: bytes, id_at: int) -> int:
    bits = int.from_bytes(nal[id_at : id_at + 4].ljust(4, b"\x00"), "big")
    zeros = 32 - bits.bit_length()
    if zeros > _MAX_ID_ZEROS:
        raise ProtocolError("a parameter set with an id out of range")
    return (bits >> (31 - 2 * zeros)) - 1
