"""A reader of ISO BMFF boxes, independent of the writer it checks."""

from __future__ import annotations

from dataclasses import dataclass, field

CONTAINERS = {
    b"moov": 0,
    b"trak": 0,
    b"mdia": 0,
    b"minf": 0,
    b"dinf": 0,
    b"stbl": 0,
    b"mvex": 0,
    b"moof": 0,
    b"traf": 0,
    b"dref": 8,
    b"stsd": 8,
    b"avc1": 78,
    b"hvc1": 78,
    b"vp09": 78,
    b"av01": 78,
    b"mp4a": 28,
}  # and how many bytes of fields stand before their children


@dataclass
class Box:
    kind: str
    start: int
    body: bytes
    children: list[Box] = field(default_factory=list)

    def find(self, path: str) -> Box:
        """The one box at a path like "traf/tfdt"."""
        here = self
        for kind in path.split("/"):
            (here,) = [child for child in here.children if child.kind == kind]
        return here

    def tree(self) -> object:
        return (
            (self.kind, [child.tree() for child in self.children]) if self.children else self.kind
        )


def read_boxes(data: bytes, start: int = 0) -> list[Box]:
    """Boxes that fill `data` exactly."""
    boxes, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        assert 8 <= size <= len(data) - at, f"a box of {size} bytes at {start + at}"
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + size]
        box = Box(kind.decode("latin-1"), start + at, body)
        if kind in CONTAINERS:
            skip = CONTAINERS[kind]
            box.children = read_boxes(body[skip:], start + at + 8 + skip)
        boxes.append(box)
        at += size
    return boxes


@dataclass
class ReadSample:
    dts: int
    duration: int
    composition: int
    sync: bool
    payload: bytes


def read_samples(segment: bytes) -> list[ReadSample]:
    """The samples of a segment of one track, where trun says they are; dts as tfdt has it."""
    samples: list[ReadSample] = []
    for moof in read_boxes(segment):
        if moof.kind != "moof":
            assert moof.kind == "mdat"
            continue
        tfhd = moof.find("traf/tfhd").body
        assert int.from_bytes(tfhd[:4], "big") == 0x020020
        default_flags = int.from_bytes(tfhd[8:12], "big")
        tfdt, trun = moof.find("traf/tfdt").body, moof.find("traf/trun").body
        assert (tfdt[0], trun[0]) == (1, 1)
        dts = int.from_bytes(tfdt[4:12], "big")
        flags, count = int.from_bytes(trun[1:4], "big"), int.from_bytes(trun[4:8], "big")
        position = moof.start + int.from_bytes(trun[8:12], "big", signed=True)
        fields = iter([trun[at : at + 4] for at in range(12, len(trun), 4)])
        for _ in range(count):
            assert flags & 0x301 == 0x301
            duration, size = (int.from_bytes(next(fields), "big") for _ in range(2))
            said = int.from_bytes(next(fields), "big") if flags & 0x400 else default_flags
            shift = int.from_bytes(next(fields), "big", signed=True) if flags & 0x800 else 0
            payload = segment[position : position + size]
            assert len(payload) == size
            samples.append(ReadSample(dts, duration, shift, not said & 0x10000, payload))
            dts += duration
            position += size
        assert next(fields, None) is None
    return samples
