"""Product pictures: checked, decoded and encoded anew, kept under the hash of what came out.

What is served was encoded here, so nothing of what was sent (scripts, places, broken tails) is passed
on. JPEG, PNG and WebP are taken, as their first bytes say, up to SOURCE_BYTES_MAX and PIXELS_MAX; out
comes a JPEG of at most SIDE_MAX each way, turned as its EXIF says, transparency on white.

Pictures come from strangers and a decoder is a large target, so it runs in a process of its own with
limits on time, memory and processor, and a low priority: `python -m commerce.images`, picture in,
picture out.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame

from commerce.errors import NotFound, PictureRefused, PictureTooLarge
from commerce.ids import new_id, utc_ms
from commerce.products import IMAGE_ID
from commerce.store import Store

SOURCE_BYTES_MAX = 5 << 20
PIXELS_MAX = 40_000_000  # 40 megapixels, a phone's largest common picture
SIDE_MAX = 2048
REENCODE_S = 20.0
MEMORY_BYTES_MAX = 3 << 30  # address space; a 40 megapixel picture takes 0.5 GiB on the way
AT_ONCE = 2
CONTENT_TYPE = "image/jpeg"
REFUSED = 3  # exit codes of the child
TOO_LARGE = 4
ROOT = Path(__file__).resolve().parent.parent


def sniff(data: bytes) -> str | None:
    """The demuxer for these bytes, None for a type that is not taken."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg_pipe"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png_pipe"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp_pipe"
    return None


class Images:
    """The pictures in the store."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def add(self, data: bytes) -> str:
        """The id of the picture, the same for the same one; raises PictureRefused or its kin."""
        if len(data) > SOURCE_BYTES_MAX:
            raise PictureTooLarge(f"at most {SOURCE_BYTES_MAX} bytes")
        if sniff(data) is None:
            raise PictureRefused("a JPEG, PNG or WebP picture is wanted")
        async with self._slots:
            picture = await _reencode_apart(data)
        id = f"img_{hashlib.sha256(picture).hexdigest()[:32]}"
        await self._store.commit(new_id("cmt", self._now_ms()), writes={f"image/{id}": picture})
        return id

    async def get(self, id: str) -> bytes:
        """The JPEG, which never changes under its id; raises NotFound."""
        if IMAGE_ID.fullmatch(id):
            picture = (await self._store.load([f"image/{id}"]))[f"image/{id}"][0]
            if picture is not None:
                return picture
        raise NotFound("there is no such picture", code="image_not_found")


async def _reencode_apart(data: bytes) -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "commerce.images",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", "")},
    )
    try:
        picture, _ = await asyncio.wait_for(child.communicate(data), REENCODE_S)
    except TimeoutError:
        raise PictureRefused("the picture takes too long to decode") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode == TOO_LARGE:
        raise PictureTooLarge(f"at most {PIXELS_MAX} pixels")
    if child.returncode != 0:
        raise PictureRefused("the picture cannot be decoded", code="picture_broken")
    return picture


def reencode(data: bytes) -> bytes:
    """The picture as a JPEG within SIDE_MAX; raises PictureRefused or PictureTooLarge."""
    name = sniff(data)
    if name is None:
        raise PictureRefused("a JPEG, PNG or WebP picture is wanted")
    try:
        with av.open(io.BytesIO(data), "r", format=name) as container:
            stream = container.streams.video[0]
            if stream.width * stream.height > PIXELS_MAX:
                raise PictureTooLarge(f"at most {PIXELS_MAX} pixels")
            frame = next(iter(container.decode(stream)))
    except (av.error.FFmpegError, StopIteration, IndexError) as error:
        raise PictureRefused("the picture cannot be decoded", code="picture_broken") from error
    return _encode(_upright(_within(frame)))


def _within(frame: VideoFrame) -> VideoFrame:
    if frame.width * frame.height > PIXELS_MAX:
        raise PictureTooLarge(f"at most {PIXELS_MAX} pixels")
    scale = min(1.0, SIDE_MAX / max(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    return frame.reformat(width=width, height=height, format="rgba", interpolation="AREA")


def _upright(frame: VideoFrame) -> VideoFrame:
    pixels = frame.to_ndarray(format="rgba")
    opaque = pixels[..., 3:].astype(np.uint16)
    flat = (pixels[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255
    turned = np.rot90(flat.astype(np.uint8), frame.rotation // 90 % 4)
    return VideoFrame.from_ndarray(np.ascontiguousarray(turned), format="rgb24")


def _encode(frame: VideoFrame) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1)
    encoder.options = {"qmin": "3", "qmax": "3", "huffman": "optimal"}
    packets = [*encoder.encode(frame.reformat(format="yuvj420p")), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def main() -> int:
    """The child: a picture on stdin, a JPEG on stdout; exits REFUSED or TOO_LARGE."""
    import resource

    with suppress(ValueError):  # macOS sets no limit on address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (int(REENCODE_S), int(REENCODE_S)))
    os.nice(10)
    try:
        picture = reencode(sys.stdin.buffer.read(SOURCE_BYTES_MAX))
    except PictureTooLarge:
        return TOO_LARGE
    except PictureRefused:
        return REFUSED
    sys.stdout.buffer.write(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
