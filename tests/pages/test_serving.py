"""The pages over HTTP: validators, policies, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import request
from yarl import URL

from tests.pages.pages import HTML, PAGES, Elements, serving

PATHS = {"/": "lobby.html", "/watch/show": "watch.html", "/studio/show": "studio.html"}


def directives(policy: str) -> dict[str, set[str]]:
    """A Content-Security-Policy by directive."""
    parsed = [directive.split() for directive in policy.split(";")]
    return {name: set(sources) for name, *sources in parsed}


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_may_run_only_what_this_server_serves(path: str) -> None:
    async with serving() as client:
        reply = await client.get(path)
        assert reply.status == 200
        assert reply.content_type == "text/html" and reply.charset == "utf-8"
        assert await reply.text() == (PAGES / PATHS[path]).read_text("utf-8")
        policy = directives(reply.headers["Content-Security-Policy"])
        assert policy["default-src"] == {"'self'"}
        assert policy.keys() & {"script-src", "style-src", "script-src-elem"} == set()
        assert policy["media-src"] == policy["worker-src"] == {"'self'", "blob:"}
        assert policy["object-src"] == policy["base-uri"] == {"'none'"}
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("path", "allowed"), [("/", False), ("/watch/show", False), ("/studio/show", True)]
)
async def test_only_the_studio_may_use_the_camera(path: str, allowed: bool) -> None:
    async with serving() as client:
        policy = (await client.get(path)).headers["Permissions-Policy"]
        for feature in ("camera", "microphone"):
            assert f"{feature}={'(self)' if allowed else '()'}" in policy


@pytest.mark.parametrize("page", ["watch", "studio"])
async def test_the_page_of_a_room_that_does_not_exist_comes_with_404(page: str) -> None:
    async with serving() as client:
        reply = await client.get(f"/{page}/nowhere")
        assert reply.status == 404
        assert await reply.text() == (PAGES / f"{page}.html").read_text("utf-8")


async def test_what_a_browser_has_already_is_not_sent_again() -> None:
    async with serving() as client:
        first = await client.get("/static/js/watch/player/player.js")
        tag = first.headers["ETag"]
        assert first.headers["Cache-Control"] == "no-cache"
        assert first.headers["Vary"] == "Accept-Encoding"
        for held in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            again = await client.get(
                "/static/js/watch/player/player.js", headers={"If-None-Match": held}
            )
            assert (again.status, await again.read()) == (304, b"")
            assert again.headers["ETag"] == tag
        for stale in ('"other"', "no tag at all"):
            again = await client.get(
                "/static/js/watch/player/player.js", headers={"If-None-Match": stale}
            )
            assert again.status == 200


async def test_a_file_comes_plain_to_a_client_that_can_not_unzip_it() -> None:
    async with serving() as client:
        url = client.make_url("/static/js/watch/player/player.js")
        tags = set()
        for encoding in ("identity", "gzip"):
            async with request("GET", url, headers={"Accept-Encoding": encoding}) as reply:
                assert reply.headers.get("Content-Encoding", "identity") == encoding
                assert await reply.read() == (PAGES / "js/watch/player/player.js").read_bytes()
                tags.add(reply.headers["ETag"])
        assert len(tags) == 2


@pytest.mark.parametrize(
    ("suffix", "content_type"),
    [
        ("css/base.css", "text/css"),
        ("js/watch/watch.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_a_file_has_the_type_that_browsers_insist_on(suffix: str, content_type: str) -> None:
    async with serving() as client:
        reply = await client.get(f"/static/{suffix}")
        assert (reply.status, reply.content_type) == (200, content_type)


@pytest.mark.parametrize(
    "path",
    [
        "nothing.js",
        "js",
        "js/",
        "../pages.py",
        "%2e%2e/__init__.py",
        "..%2f__init__.py",
        "js/%2e%2e/%2e%2e/__init__.py",
        "/etc/passwd",
        "js/watch/watch.js%00",
    ],
)
async def test_nothing_but_the_pages_files_is_served(path: str) -> None:
    async with serving() as client:
        reply = await client.get(URL(f"/static/{path}", encoded=True))
        assert reply.status == 404


async def test_hls_js_is_served_where_set_up_has_put_it(hls_js: Path) -> None:
    async with serving(hls_js) as client:
        reply = await client.get("/static/vendor/hls.min.js")
        assert (reply.status, reply.content_type) == (200, "text/javascript")
        assert await reply.read() == hls_js.read_bytes()


async def test_without_hls_js_the_answer_says_how_to_get_it() -> None:
    async with serving() as client:
        reply = await client.get("/static/vendor/hls.min.js")
        assert reply.status == 404
        assert "make run" in await reply.text()


@pytest.mark.parametrize("host", ["192.168.1.20:8080", "show.example", "[fe80::1]:8080"])
async def test_publish_info_names_the_host_that_the_browser_used(host: str) -> None:
    async with serving() as client:
        reply = await client.get("/v1/rooms/show/publish-info", headers={"Host": host})
        name = host.removesuffix(":8080")
        assert await reply.json() == {
            "rtmp_server": f"rtmp://{name}:1935/live",
            "srt_server": f"srt://{name}:8890",
            "whip_url": f"http://{host}/whip",
            "https_studio_url": f"https://{name}:8443/studio/show",
        }


async def test_publish_info_has_no_https_url_where_there_is_no_https() -> None:
    async with serving(https_origin=None) as client:
        info = await (await client.get("/v1/rooms/show/publish-info")).json()
        assert info["https_studio_url"] is None


async def test_publish_info_refuses_a_host_that_is_none() -> None:
    async with serving() as client:
        headers = {"Host": "show.example/<script>"}
        reply = await client.get("/v1/rooms/show/publish-info", headers=headers)
        assert reply.status == 400
        assert reply.content_type == "application/problem+json"


async def test_every_file_that_a_page_names_is_there() -> None:
    async with serving() as client:
        for page in HTML:
            elements = Elements(page.read_text("utf-8"))
            for url in elements.values("src", "href") - {"/"}:
                path = url.partition("#")[0]
                assert (await client.get(path)).status == 200, f"{page.name}: {url}"
