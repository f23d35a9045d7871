"""Fragmented MP4, ISO/IEC 14496-12 (ISO BMFF) with 14496-14 (AAC); video_codecs names the others.

One track a file, as CMAF (ISO/IEC 23000-19) and HLS renditions want it: `init_segment` is what EXT-X-MAP
names, `fragment` is one moof with its mdat; a segment is one fragment or several.

There are no edit lists: a Packet's pts already has the codec delay taken out, so tfdt is the decode
time as it is. tfdt is unsigned while media time may begin a little below zero (priming, a track that
runs ahead): media time 0 is written as ORIGIN_S in every track.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from mediaserver.media import Track
from mediaserver.packager.video_codecs import VIDEO_CODECS

ORIGIN_S = 10  # far more than any priming or interleaving
TRACK_ID = 1

_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_UNDETERMINED = 0x55C4  # ISO 639-2 "und" in three times five bits (§8.4.2.3)

# tfhd, trun and sample flags: §8.8.7, §8.8.8, §8.8.3.1.
_DEFAULT_BASE_IS_MOOF = 0x020000
_DATA_OFFSET, _DURATION, _SIZE, _FLAGS, _COMPOSITION = 0x1, 0x100, 0x200, 0x400, 0x800
_SYNC_SAMPLE = 0x02000000  # depends on no other
_DEPENDENT_SAMPLE = 0x01010000  # depends on others, is not a sync sample


@dataclass(slots=True)
class Sample:
    """One access unit or audio frame; `dts`, `duration` and `composition` (pts - dts) in track ticks."""

    dts: int
    duration: int
    composition: int
    keyframe: bool
    payload: bytes


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of this four-character type (§4.2)."""
    return (8 + sum(map(len, parts))).to_bytes(4, "big") + kind + b"".join(parts)


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """A box that carries a version and 24 bits of flags."""
    return box(kind, (version << 24 | flags).to_bytes(4, "big"), *parts)


def init_segment(track: Track) -> bytes:
    """ftyp and moov of a track; `track.config` must be in its ISO BMFF form (see Track)."""
    video = track.kind == "video"
    mvhd = full_box(
        b"mvhd",
        0,
        0,
        struct.pack(">IIIIIH10x", 0, 0, 1000, 0, 0x10000, 0x100),
        _MATRIX,
        struct.pack(">24xI", TRACK_ID + 1),
    )
    tkhd = full_box(
        b"tkhd",
        0,
        3,  # enabled, in movie
        struct.pack(">IIIII8xhhHxx", 0, 0, TRACK_ID, 0, 0, 0, 0, 0 if video else 0x100),
        _MATRIX,
        struct.pack(">II", track.width << 16, track.height << 16),
    )
    mdhd = full_box(
        b"mdhd", 0, 0, struct.pack(">IIIIHxx", 0, 0, track.clock_rate, 0, _UNDETERMINED)
    )
    handler, name = (b"vide", b"video\0") if video else (b"soun", b"audio\0")
    hdlr = full_box(b"hdlr", 0, 0, bytes(4), handler, bytes(12), name)
    header = full_box(b"vmhd", 0, 1, bytes(8)) if video else full_box(b"smhd", 0, 0, bytes(4))
    dinf = box(b"dinf", full_box(b"dref", 0, 0, b"\0\0\0\1", full_box(b"url ", 0, 1)))
    stbl = box(
        b"stbl",
        full_box(b"stsd", 0, 0, b"\0\0\0\1", _video_entry(track) if video else _mp4a(track)),
        full_box(b"stts", 0, 0, bytes(4)),
        full_box(b"stsc", 0, 0, bytes(4)),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, bytes(4)),
    )
    mdia = box(b"mdia", mdhd, hdlr, box(b"minf", header, dinf, stbl))
    trex = full_box(b"trex", 0, 0, struct.pack(">IIIII", TRACK_ID, 1, 0, 0, 0))
    moov = box(b"moov", mvhd, box(b"trak", tkhd, mdia), box(b"mvex", trex))
    return box(b"ftyp", b"iso6", bytes(4), b"iso6", b"cmfc", b"mp41") + moov


def _video_entry(track: Track) -> bytes:
    """VisualSampleEntry (§12.1.3) with the decoder configuration."""
    codec = VIDEO_CODECS[track.codec]
    return box(
        codec.sample_entry,
        struct.pack(">6xH16xHH", 1, track.width, track.height),
        struct.pack(">IIIH32xHh", 0x480000, 0x480000, 0, 1, 24, -1),
        box(codec.config_box, codec.head, track.config),
    )


def _mp4a(track: Track) -> bytes:
    """AudioSampleEntry (§12.2.3) with esds; the rate is 16.16 bits, 0 where it does not fit."""
    rate = track.clock_rate << 16 if track.clock_rate < 1 << 16 else 0
    return box(
        b"mp4a",
        struct.pack(">6xH8xHH4xI", 1, track.channels, 16, rate),
        full_box(b"esds", 0, 0, _es_descriptor(track.config)),
    )


def _es_descriptor(config: bytes) -> bytes:
    """ES_Descriptor for AAC (ISO/IEC 14496-1 §7.2.6.5): MPEG-4 audio 0x40 in an audio stream."""
    decoder = _descriptor(4, struct.pack(">BBxHII", 0x40, 0x15, 0, 0, 0), _descriptor(5, config))
    return _descriptor(3, struct.pack(">HB", TRACK_ID, 0), decoder, _descriptor(6, b"\x02"))


def _descriptor(tag: int, *parts: bytes) -> bytes:
    """A tag, its size in four groups of seven bits, and the body (ISO/IEC 14496-1 §8.3.3)."""
    size = sum(map(len, parts))
    groups = [(size >> shift) & 0x7F for shift in (21, 14, 7, 0)]
    return bytes((tag, *(group | 0x80 for group in groups[:3]), groups[3])) + b"".join(parts)


def fragment(track: Track, sequence: int, samples: Sequence[Sample]) -> bytes:
    """moof and mdat of samples in decoding order, at least one.

    `sequence` counts the fragments of a rendition. Raises struct.error if a number does not fit its
    field, which takes a sample of more than 13 hours.
    """
    fields: list[int] = []
    if track.kind == "video":
        flags = _DATA_OFFSET | _DURATION | _SIZE | _FLAGS | _COMPOSITION
        form = "IIIi"
        for sample in samples:
            sync = _SYNC_SAMPLE if sample.keyframe else _DEPENDENT_SAMPLE
            fields += (sample.duration, len(sample.payload), sync, sample.composition)
    else:
        flags = _DATA_OFFSET | _DURATION | _SIZE
        form = "II"
        for sample in samples:
            fields += (sample.duration, len(sample.payload))
    table = struct.pack(">" + form * len(samples), *fields)
    base = samples[0].dts + ORIGIN_S * track.clock_rate
    mfhd = full_box(b"mfhd", 0, 0, sequence.to_bytes(4, "big"))
    tfhd = full_box(
        b"tfhd",
        0,
        _DEFAULT_BASE_IS_MOOF | 0x20,  # default-sample-flags-present
        struct.pack(">II", TRACK_ID, _SYNC_SAMPLE),
    )
    tfdt = full_box(b"tfdt", 1, 0, base.to_bytes(8, "big"))
    # Headers of moof, traf and trun (with count and offset), then the header of mdat.
    offset = 8 + len(mfhd) + 8 + len(tfhd) + len(tfdt) + 20 + len(table) + 8
    trun = full_box(b"trun", 1, flags, struct.pack(">Ii", len(samples), offset), table)
    moof = box(b"moof", mfhd, box(b"traf", tfhd, tfdt, trun))
    return b"".join(
        (
            moof,
            (8 + sum(len(sample.payload) for sample in samples)).to_bytes(4, "big"),
            b"mdat",
            *(sample.payload for sample in samples),
        )
    )
