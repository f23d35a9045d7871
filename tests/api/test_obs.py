"""What OBS is told when it asks what to encode."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from mediaserver.api import problem
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.obs import ClientConfigurationRequest, ObsApi, tracks
from mediaserver.errors import PeerError

LADDER = [(360, 600), (720, 2500), (480, 1200)]
KEY = "key_abc"


class Keys:
    async def publish(self, key: str) -> str:
        if key != KEY:
            error = PeerError("the stream key is not valid")  # as rooms say it
            error.status = 401
            raise error
        return "show"

    async def watch(self, stream: str, token: str | None) -> None:
        raise AssertionError


def asked(**preferences: Any) -> ClientConfigurationRequest:
    canvas = {"width": 1920, "height": 1080, "canvas_width": 1920, "canvas_height": 1080}
    rate = {"numerator": 30, "denominator": 1}
    body = {"preferences": {**canvas, "framerate": rate, "vod_track_audio": False, **preferences}}
    return ClientConfigurationRequest.model_validate(body)


def sizes(wanted: ClientConfigurationRequest) -> list[tuple[int, int, int]]:
    return [(e["width"], e["height"], e["settings"]["bitrate"]) for e in tracks(wanted, LADDER)]


def test_every_rung_below_the_canvas_is_a_track_of_its_own() -> None:
    assert sizes(asked()) == [
        (1920, 1080, 4666),
        (1280, 720, 2500),
        (852, 480, 1200),
        (640, 360, 600),
    ]
    assert [size[:2] for size in sizes(asked(width=1280, height=720))] == [
        (1280, 720),
        (852, 480),
        (640, 360),
    ]


def test_what_the_host_allows_bounds_tracks_and_rates() -> None:
    assert len(sizes(asked(maximum_video_tracks=2))) == 2
    assert sizes(asked(maximum_aggregate_bitrate=6000)) == [(1920, 1080, 4666), (852, 480, 1200)]
    assert sizes(asked(maximum_aggregate_bitrate=2000)) == [(1920, 1080, 2000)]


def test_a_phone_held_upright_gets_rungs_by_its_shorter_side() -> None:
    assert sizes(asked(width=1080, height=1920)) == [
        (1080, 1920, 4666),
        (720, 1280, 2500),
        (480, 852, 1200),
        (360, 640, 600),
    ]
    for width, height in ((16, 16_384), (16_384, 16), (17, 17)):
        assert all(w >= 16 and h >= 16 for w, h, _ in sizes(asked(width=width, height=height)))
    assert sizes(asked(maximum_aggregate_bitrate=1))[0][2] == 100


def test_browsers_can_show_what_is_asked_for() -> None:
    for encoder in tracks(asked(), LADDER):
        assert encoder["settings"]["bf"] == 0
        assert encoder["settings"]["keyint_sec"] == 2
        assert encoder["type"] == "obs_x264"


@pytest.mark.parametrize(
    ("version", "name"), [("30.2.3", "jim_nvenc"), ("31.0.1", "obs_nvenc_h264_tex")]
)
def test_a_host_with_nvidia_encodes_there(version: str, name: str) -> None:
    wanted = ClientConfigurationRequest.model_validate(
        {"client": {"version": version}, "capabilities": {"gpu": [{"vendor_id": 0x10DE}]}}
    )
    assert {encoder["type"] for encoder in tracks(wanted, LADDER)} == {name}


async def test_a_wrong_key_is_told_where_obs_shows_it() -> None:
    app = web.Application()
    problem.install(app)
    servers = {"RTMP": "rtmp://example.com:1935/live"}
    limiter = AddressLimiter(per_s=100, burst=100)
    app.add_routes(ObsApi(Keys(), limiter, LADDER, lambda host: servers).routes())
    async with TestClient(TestServer(app)) as client:
        body = asked().model_dump() | {"authentication": "wrong"}
        reply = await client.post("/v1/obs/client-configuration", json=body)
        assert reply.status == 200
        document = await reply.json()
        assert document["status"]["result"] == "error"
        assert "stream key" in document["status"]["html_en_us"]
        assert document["ingest_endpoints"] == document["encoder_configurations"] == []

        body["authentication"] = f"{KEY}.backup"
        document = await (await client.post("/v1/obs/client-configuration", json=body)).json()
        assert document["status"]["result"] == "success"
        (endpoint,) = document["ingest_endpoints"]
        assert endpoint == {
            "protocol": "RTMP",
            "url_template": "rtmp://example.com:1935/live/{stream_key}",
        }
        assert len(document["encoder_configurations"]) == 4
        reply = await client.post("/v1/obs/client-configuration", data=b"{")
        assert reply.status == 400
        odd = {"Host": 'a b"<script>'}
        reply = await client.post("/v1/obs/client-configuration", json=body, headers=odd)
        assert reply.status == 400
