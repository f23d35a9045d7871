from __future__ import annotations

import io
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest

from commerce.errors import NotFound, PictureRefused, PictureTooLarge
from commerce.images import SIDE_MAX, SOURCE_BYTES_MAX, Images, reencode
from tests.commerce.shop import Shop

ENCODERS = {"mjpeg": "yuvj420p", "png": "rgba", "libwebp": "yuv420p"}


def picture(codec: str, width: int, height: int, *, alpha: int = 255) -> bytes:
    """Red above, green below."""
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[: height // 2, :, 0] = pixels[height // 2 :, :, 1] = 255
    pixels[..., 3] = alpha
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, ENCODERS[codec]
    encoder.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=ENCODERS[codec])
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def decoded(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data), "r", format="jpeg_pipe") as container:
        return next(iter(container.decode(video=0))).to_ndarray(format="rgb24").astype(int)


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_picture_is_encoded_anew_as_jpeg(codec: str) -> None:
    source = picture(codec, 120, 80)
    pixels = decoded(reencode(source + b"<script>"))
    assert pixels.shape == (80, 120, 3)
    assert np.abs(pixels[10, 60] - (255, 0, 0)).max() < 40
    assert np.abs(pixels[70, 60] - (0, 255, 0)).max() < 40
    assert b"<script>" not in reencode(source + b"<script>")


def test_a_large_picture_is_scaled_to_fit() -> None:
    assert decoded(reencode(picture("png", 4096, 1024))).shape == (512, SIDE_MAX, 3)


def test_what_is_transparent_becomes_white() -> None:
    assert decoded(reencode(picture("png", 64, 64, alpha=0))).min() > 245


def exif(orientation: int) -> bytes:
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0])
    body = b"Exif\0\0" + tiff + b"\0\0\0\0"
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    ("orientation", "red"), [(1, "top"), (3, "bottom"), (6, "right"), (8, "left")]
)
def test_a_phones_picture_is_turned_as_it_was_held(orientation: int, red: str) -> None:
    source = picture("mjpeg", 120, 80)
    pixels = decoded(reencode(source[:2] + exif(orientation) + source[2:]))
    height, width = pixels.shape[:2]
    assert (width, height) == ((120, 80) if orientation in (1, 3) else (80, 120))
    places = {
        "top": pixels[8, width // 2],
        "bottom": pixels[-8, width // 2],
        "left": pixels[height // 2, 8],
        "right": pixels[height // 2, -8],
    }
    assert max(places, key=lambda place: places[place][0] - places[place][1]) == red


@pytest.mark.parametrize("data", [b"", b"GIF89a" + b"\0" * 100, b"<svg/>", b"RIFF1234WAVE"])
async def test_other_types_are_refused(shop: Shop, data: bytes) -> None:
    with pytest.raises(PictureRefused) as refusal:
        await Images(shop.store).add(data)
    assert (refusal.value.status, refusal.value.code) == (415, "picture_type")


async def test_too_many_bytes_are_refused(shop: Shop) -> None:
    with pytest.raises(PictureTooLarge):
        await Images(shop.store).add(b"\xff\xd8\xff" + bytes(SOURCE_BYTES_MAX))


async def test_a_picture_is_kept_under_the_hash_of_what_is_served(shop: Shop) -> None:
    images = Images(shop.store)
    source = picture("png", 64, 48)
    id = await images.add(source)
    assert id.startswith("img_")
    assert await images.add(source) == id
    assert decoded(await images.get(id)).shape == (48, 64, 3)
    product = await shop.product()
    patched = await shop.catalogue.patch(
        product.id, if_version=product.version, by="host", image=id
    )
    assert patched.image == id
    with pytest.raises(NotFound):
        await images.get("img_" + "0" * 32)


async def test_a_broken_picture_is_refused(shop: Shop) -> None:
    images = Images(shop.store)
    with pytest.raises(PictureRefused) as refusal:
        await images.add(b"\x89PNG\r\n\x1a\n" + b"\x07" * 200)
    assert refusal.value.code == "picture_broken"


async def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(shop: Shop) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        )

    header = (8_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    pixels = zlib.compress(bytes(8_000 * 3 + 1))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
    with pytest.raises(PictureTooLarge) as refusal:
        await Images(shop.store).add(bomb + chunk(b"IEND", b""))
    assert (refusal.value.status, refusal.value.code) == (413, "picture_too_large")
