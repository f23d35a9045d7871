"""Pictures over HTTP: forms in, JPEG out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import ClientResponse, FormData, web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from commerce.images import SOURCE_BYTES_MAX, Images
from mediaserver.api.auth import CALLERS
from mediaserver.api.images import BadForm, ImagesApi, file_of
from mediaserver.api.problem import install
from tests.api.shop_house import House, bearer, open_house, problem
from tests.commerce.test_images import picture

TYPE = "multipart/form-data; boundary=xx"
HEAD = b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
FORM = HEAD + b"a picture\r\n--xx--\r\n"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


async def upload(house: House, data: bytes, name: str = "file", **more: str) -> ClientResponse:
    form = FormData(more)
    form.add_field(name, BytesIO(data), filename='杯 ".png', content_type="image/png")
    return await house.client.post("/v1/images", data=form, headers=house.staff["host"])


async def test_a_picture_comes_back_as_jpeg_that_may_be_kept_for_a_year(house: House) -> None:
    response = await upload(house, picture("png", 8, 6))
    made = await response.json()
    assert response.status == 201
    assert response.headers["Location"] == made["url"] == f"/v1/images/{made['id']}"
    served = await house.client.get(made["url"])
    assert (await served.read()).startswith(b"\xff\xd8\xff")
    assert served.content_type == "image/jpeg"
    assert served.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert served.headers["Content-Security-Policy"] == "default-src 'none'"
    assert served.headers["X-Content-Type-Options"] == "nosniff"
    known = {"If-None-Match": served.headers["ETag"]}
    again = await house.client.get(made["url"], headers=known)
    assert (again.status, await again.read()) == (304, b"")
    other = await house.client.get(made["url"], headers={"If-None-Match": '"other"'})
    assert other.status == 200
    body = {
        "title": "Cup",
        "image": made["id"],
        "skus": [{"price": {"amount": 1, "currency": "CNY"}}],
    }
    assert (await house.made("/v1/products", body, house.admin))["image"] == made["id"]


async def test_what_is_no_picture_is_refused(house: House) -> None:
    text = await upload(house, b"<svg onload=alert(1)>")
    assert await problem(text) == (415, "picture_type")
    broken = await upload(house, picture("png", 8, 6)[:60])
    assert await problem(broken) == (415, "picture_broken")
    large = await upload(house, b"\xff\xd8\xff" + bytes(SOURCE_BYTES_MAX))
    assert await problem(large) == (413, "picture_too_large")


async def test_a_form_has_one_part_the_file(house: House) -> None:
    assert await problem(await upload(house, b"x", "picture")) == (400, "bad_form")
    assert await problem(await upload(house, b"x", title="Cup")) == (400, "bad_form")
    bare = await house.client.post("/v1/images", data=b"x", headers=house.admin)
    assert await problem(bare) == (415, "unsupported_media_type")
    headers = house.admin | {"Content-Type": "multipart/form-data"}
    unbound = await house.client.post("/v1/images", data=FORM, headers=headers)
    assert await problem(unbound) == (400, "bad_form")


async def test_a_form_that_does_not_come_is_given_up(house: House) -> None:
    app = web.Application()
    install(app)
    app[CALLERS] = house.callers
    app.add_routes(ImagesApi(Images(house.store), upload_s=0.05).routes())
    never = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield HEAD
        await never.wait()

    async with TestClient(TestServer(app)) as client:
        headers = house.admin | {"Content-Type": TYPE}
        response = await client.post("/v1/images", data=slowly(), headers=headers)
        assert await problem(response) == (408, "too_slow")


async def test_only_who_may_write_products_uploads(house: House) -> None:
    headers = {"Content-Type": TYPE}
    for caller, status in (
        ({}, 401),
        (bearer(house.stream_key), 401),
        (house.viewer(), 403),
        (house.staff["finance"], 403),
    ):
        response = await house.client.post("/v1/images", data=FORM, headers=headers | caller)
        assert response.status == status


@pytest.mark.parametrize("id", ["img_00000000000000000000000000000000", "x", "..%2Fx", "%00"])
async def test_a_picture_that_is_not_there_is_404(house: House, id: str) -> None:
    assert await problem(await house.client.get(f"/v1/images/{id}")) == (404, "image_not_found")


def test_a_form_is_read_whole_and_nothing_else_is() -> None:
    assert file_of(TYPE, FORM) == b"a picture"
    assert file_of('multipart/form-data; boundary="xx"', FORM[:-2]) == b"a picture"
    for length in range(len(FORM) - 2):
        with pytest.raises(BadForm):
            file_of(TYPE, FORM[:length])
    for wrong in (FORM + b"x", b"x" + FORM, FORM + FORM, FORM.replace(b'"file"', b'"x"')):
        with pytest.raises(BadForm):
            file_of(TYPE, wrong)


@given(st.binary(max_size=200), st.text(max_size=40), st.binary(max_size=100))
def test_no_form_is_too_strange(form: bytes, type: str, head: bytes) -> None:
    for content_type, data in ((type, form), (TYPE, b"--xx\r\n" + head + b"\r\n\r\n\r\n--xx--")):
        try:
            assert isinstance(file_of(content_type, data), bytes)
        except BadForm:
            continue
