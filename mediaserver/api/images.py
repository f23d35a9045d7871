"""Product pictures over HTTP: one file of a form in (RFC 7578), a JPEG of our own making out.

A picture never changes under its id, so it may be kept for as long as a cache likes.
"""

from __future__ import annotations

from email.message import Message
from email.parser import BytesHeaderParser

from aiohttp import web

from commerce.errors import PictureTooLarge
from commerce.images import CONTENT_TYPE, SOURCE_BYTES_MAX, Images
from mediaserver.api.auth import require
from mediaserver.api.body import TooLarge, read_body
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.signalling import UnsupportedMediaType
from mediaserver.api.strict import Strict
from mediaserver.errors import PeerError

FORM = "multipart/form-data"
FIELD = "file"
FORM_BYTES = 8 << 10  # what a form puts around a file, with a long name of it
UPLOAD_S = 60.0  # 5 MiB over a phone's slow uplink
IMMUTABLE = "public, max-age=31536000, immutable"  # one year; RFC 9111 §5.2.2.1, RFC 8246


class BadForm(PeerError):
    code = "bad_form"
    title = "Form not understood"


class ImageDocument(Strict):
    id: str
    url: str


class ImagesApi:
    """Handlers of `/v1/images`; an upload may take `upload_s`."""

    def __init__(self, images: Images, *, upload_s: float = UPLOAD_S) -> None:
        self._images = images
        self._upload_s = upload_s

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/images", self._add),
            web.get("/v1/images/{image}", self._get),
        ]

    @operation(
        "Add a picture, the `file` of a form",
        "products",
        auth="products.write",
        body=FORM,
        reply=ImageDocument,
        status=201,
        errors={
            400: "bad_form",
            408: "too_slow",
            413: "picture_too_large",
            415: "picture_type picture_broken unsupported_media_type",
        },
        reply_headers=("Location",),
    )
    async def _add(self, request: web.Request) -> web.Response:
        await require(request, "products.write")
        id = await self._images.add(await self._file(request))
        url = f"/v1/images/{id}"
        headers = {**NO_STORE, "Location": url}
        return web.json_response({"id": id, "url": url}, status=201, headers=headers)

    @operation(
        "Read a picture",
        "products",
        reply=CONTENT_TYPE,
        errors={404: "image_not_found"},
        reply_headers=("ETag",),
    )
    async def _get(self, request: web.Request) -> web.Response:
        id = request.match_info["image"]
        picture = await self._images.get(id)
        headers = {
            "Cache-Control": IMMUTABLE,
            "ETag": f'"{id}"',
            "Content-Security-Policy": "default-src 'none'",
            "X-Content-Type-Options": "nosniff",
        }
        if any(tag.value in ("*", id) for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=picture, content_type=CONTENT_TYPE, headers=headers)

    async def _file(self, request: web.Request) -> bytes:
        if request.content_type != FORM:
            raise UnsupportedMediaType(f"send the picture as {FORM}")
        try:
            body = await read_body(request, SOURCE_BYTES_MAX + FORM_BYTES, within_s=self._upload_s)
        except TooLarge:
            raise PictureTooLarge(f"at most {SOURCE_BYTES_MAX} bytes") from None
        return file_of(request.headers["Content-Type"], body)


def file_of(content_type: str, form: bytes) -> bytes:
    """The content of a form's only part, `file`; raises BadForm for any other form."""
    boundary = _boundary(content_type)
    opening, _, rest = form.partition(b"\r\n")
    head, blank, rest = rest.partition(b"\r\n\r\n")
    content, closing, end = rest.partition(b"\r\n" + boundary)
    if opening != boundary or not blank or not closing or end not in (b"--", b"--\r\n"):
        raise BadForm(f"a form with one part is wanted, named {FIELD}")
    part = BytesHeaderParser().parsebytes(head[:FORM_BYTES])
    if (
        part.get_content_disposition() != "form-data"
        or part.get_param("name", header="content-disposition") != FIELD
    ):
        raise BadForm(f"the form's part is to be named {FIELD}")
    return content


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if not boundary or not boundary.isascii():
        raise BadForm("the form's type names no boundary")
    return b"--" + boundary.encode()
