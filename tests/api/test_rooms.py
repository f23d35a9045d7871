"""Rooms over HTTP with real rooms, a real store and a real hub."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from commerce.store import SqliteStore
from mediaserver.api.auth import ADMIN_TOKEN
from mediaserver.api.ingest import IngestMeter
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.problem import install
from mediaserver.api.rooms import RoomsApi
from mediaserver.hub import Hub, Notice
from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol import aac, h264
from overlay.rooms import RoomAccess, Rooms
from overlay.tokens import Tokens

ADMIN = {"Authorization": "Bearer the admin token"}
GUEST_BURST = 20
# x264's parameter sets for 1280x720 at 30 frames/s, with VUI timing.
SPS = bytes.fromhex("6764001facd9405005bb0110000003001000000303c0f1831960")
PPS = bytes.fromhex("68ebe3cb22c0")


@dataclass
class House:
    client: TestClient[web.Request, web.Application]
    rooms: Rooms
    tokens: Tokens
    access: RoomAccess
    hub: Hub
    meter: IngestMeter
    viewers: dict[str, int] = field(default_factory=dict)

    async def create(self, **body: object) -> dict[str, str]:
        response = await self.client.post("/v1/rooms", json=body, headers=ADMIN)
        assert response.status == 201
        made: dict[str, str] = await response.json()
        return made


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = await SqliteStore.open(tmp_path / "hawker.db")
    rooms = Rooms(store)
    tokens = Tokens("a secret of more than thirty-two bytes, for these tests")
    access = RoomAccess(rooms, tokens)
    hub = Hub()
    meter = IngestMeter(hub)
    viewers: dict[str, int] = {}
    api = RoomsApi(
        rooms,
        access,
        hub=hub,
        meter=meter,
        viewers=lambda room: viewers.get(room, 0),
        guest_limiter=AddressLimiter(per_s=0.01, burst=GUEST_BURST),
    )
    app = web.Application()
    app[ADMIN_TOKEN] = "the admin token"
    install(app)
    app.add_routes(api.routes())
    async with TestClient(TestServer(app)) as client:
        yield House(client, rooms, tokens, access, hub, meter, viewers)
    hub.drain()
    await store.close()


async def code(response: ClientResponse) -> tuple[int, str]:
    assert response.content_type == "application/problem+json"
    return response.status, (await response.json())["code"]


def from_rfc3339(text: str) -> float:
    assert text.endswith("Z") and len(text) == len("2027-01-15T08:00:00.000Z")
    return datetime.fromisoformat(text).timestamp()


async def test_a_room_is_made_with_its_key_told_once(house: House) -> None:
    response = await house.client.post(
        "/v1/rooms", json={"id": "shop", "title": "春装"}, headers=ADMIN
    )
    made = await response.json()
    assert response.status == 201
    assert response.headers["Location"] == "/v1/rooms/shop"
    assert response.headers["Cache-Control"] == "no-store"
    assert await house.access.publish(made.pop("stream_key")) == "shop"
    assert from_rfc3339(made["created_at"]) == from_rfc3339(made["updated_at"])
    again = await house.client.get("/v1/rooms/shop", headers=ADMIN)
    assert await again.json() == made
    assert again.headers["ETag"] == response.headers["ETag"]


async def test_a_room_without_id_gets_one(house: House) -> None:
    made = await house.create(title="show")
    assert made["id"].startswith("room_")
    assert (await house.client.get(f"/v1/rooms/{made['id']}")).status == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": 5}, "title"),
        ({"title": "show", "id": "Not An Id"}, "id"),
        ({"title": "show", "access": "secret"}, "access"),
        ({"title": "show", "acess": "restricted"}, "acess"),
    ],
)
async def test_a_bad_room_is_422_naming_the_field(
    house: House, body: dict[str, object], field: str
) -> None:
    response = await house.client.post("/v1/rooms", json=body, headers=ADMIN)
    assert await code(response) == (422, "invalid")
    assert (await response.json())["detail"].startswith(f"{field}: ")
    assert (await house.rooms.list()) == ([], None)


async def test_an_id_that_is_taken_is_409(house: House) -> None:
    await house.create(id="shop", title="show")
    response = await house.client.post(
        "/v1/rooms", json={"id": "shop", "title": "x"}, headers=ADMIN
    )
    assert await code(response) == (409, "room_exists")


async def test_everybody_sees_the_public_face_and_no_more(house: House) -> None:
    await house.create(id="shop", title="show", access="restricted")
    house.viewers["shop"] = 3
    face = {"id": "shop", "title": "show", "access": "restricted", "live": False, "viewers": 3}
    assert await (await house.client.get("/v1/rooms/shop")).json() == face
    assert await (await house.client.get("/v1/rooms")).json() == {"items": [face], "next": None}
    wrong = await house.client.get("/v1/rooms/shop", headers={"Authorization": "Bearer other"})
    assert await wrong.json() == face


async def test_rooms_are_listed_by_cursor(house: House) -> None:
    for number in range(5):
        await house.create(id=f"room-{number}", title="show")
    listed, cursor, pages = [], "", 0
    while True:
        url = f"/v1/rooms?limit=2&cursor={cursor}" if cursor else "/v1/rooms?limit=2"
        page = await (await house.client.get(url)).json()
        listed += [room["id"] for room in page["items"]]
        cursor, pages = page["next"], pages + 1
        if cursor is None:
            break
    assert listed == [f"room-{number}" for number in range(5)]
    assert pages == 3


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit="])
async def test_a_bad_query_is_400(house: House, query: str) -> None:
    assert await code(await house.client.get(f"/v1/rooms?{query}")) == (400, "bad_query")


@pytest.mark.parametrize("cursor", ["%ED%A0%80", "%00", "%FF", "x" * 2000])
async def test_a_strange_cursor_is_no_error(house: House, cursor: str) -> None:
    assert (await house.client.get(f"/v1/rooms?cursor={cursor}")).status == 200


@pytest.mark.parametrize("id", ["none", "%ED%A0%80", "%00", "..%2f", "a" * 2000, "%E2%98%83"])
async def test_no_room_is_404(house: House, id: str) -> None:
    assert await code(await house.client.get(f"/v1/rooms/{id}")) == (404, "room_not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/rooms"),
        ("PATCH", "/v1/rooms/shop"),
        ("POST", "/v1/rooms/shop/stream-key"),
        ("GET", "/v1/rooms/shop/ingest"),
        ("POST", "/v1/viewer-tokens"),
    ],
)
async def test_without_the_admin_token_nothing_is_changed_or_told(
    house: House, method: str, path: str
) -> None:
    made = await house.create(id="shop", title="show")
    viewer = (await house.access.viewer_token("shop", role="engineer")).token
    for token in ("wrong", made["stream_key"], viewer):
        response = await house.client.request(
            method, path, json={"title": "x"}, headers={"Authorization": f"Bearer {token}"}
        )
        assert await code(response) == (401, "unauthorized")
    assert (await house.rooms.get("shop")).title == "show"


async def test_a_patch_wants_the_version_it_was_made_for(house: House) -> None:
    await house.create(id="shop", title="show")
    seen = (await house.client.get("/v1/rooms/shop")).headers["ETag"]
    url = "/v1/rooms/shop"
    first = await house.client.patch(
        url, json={"title": "sale"}, headers={**ADMIN, "If-Match": f'"0", {seen}'}
    )
    assert first.status == 200
    assert (await first.json())["title"] == "sale"
    assert first.headers["ETag"] != seen
    for stale in (seen, '"0"', "W/" + first.headers["ETag"], "nonsense", '"9999999999999999999"'):
        response = await house.client.patch(
            url, json={"title": "mine"}, headers={**ADMIN, "If-Match": stale}
        )
        assert await code(response) == (412, "stale")
    assert (await house.rooms.get("shop")).title == "sale"


@pytest.mark.parametrize("condition", [{}, {"If-Match": "*"}])
async def test_a_patch_of_any_version_changes_what_is_given(
    house: House, condition: dict[str, str]
) -> None:
    await house.create(id="shop", title="show")
    response = await house.client.patch(
        "/v1/rooms/shop", json={"access": "restricted"}, headers={**ADMIN, **condition}
    )
    assert response.status == 200
    body = await response.json()
    assert (body["title"], body["access"]) == ("show", "restricted")
    assert "stream_key" not in body


async def test_a_rotated_key_publishes_and_the_old_one_no_more(house: House) -> None:
    old = (await house.create(id="shop", title="show"))["stream_key"]
    response = await house.client.post("/v1/rooms/shop/stream-key", headers=ADMIN)
    body = await response.json()
    assert body["room"] == "shop"
    assert await house.access.publish(body["stream_key"]) == "shop"
    with pytest.raises(Exception, match="not valid"):
        await house.access.publish(old)
    missing = await house.client.post("/v1/rooms/none/stream-key", headers=ADMIN)
    assert await code(missing) == (404, "room_not_found")


async def test_nothing_published_is_said_so(house: House) -> None:
    await house.create(id="shop", title="show")
    response = await house.client.get("/v1/rooms/shop/ingest", headers=ADMIN)
    assert await response.json() == {
        "room": "shop",
        "live": False,
        "protocol": None,
        "codecs": {},
        "resolution": None,
        "frame_rate": None,
        "bitrate_bps": 0,
        "notices": [],
    }


def published(house: House) -> None:
    """Two seconds of 30 frames/s at 2,400,000 bit/s, sampled at both ends, with one notice."""
    publication = house.hub.publish(
        "shop", protocol="rtmp", clock_rate=1000, on_close=lambda reason: None
    )
    video = h264.video_track((SPS,), (PPS,))
    audio = aac.audio_track(aac.AudioSpecificConfig(2, 48_000, 2).serialize())
    publication.stream.notice(
        Notice("b_frames", "warning", {"en": "B-frames", "zh": "B 帧"}, {"en": "Off", "zh": "关"})
    )
    house.meter.sample(100.0)
    for frame in range(60):
        publication.write(
            video, frame * 33, b"\0" * 10_000, keyframe=frame == 0, arrival=100 + frame / 30
        )
    publication.write(audio, 0, b"", keyframe=True, arrival=100.0)
    house.meter.sample(102.0)


async def test_the_ingest_tells_what_is_published_and_what_to_mend(house: House) -> None:
    await house.create(id="shop", title="show")
    published(house)
    response = await house.client.get("/v1/rooms/shop/ingest", headers=ADMIN)
    assert await response.json() == {
        "room": "shop",
        "live": True,
        "protocol": "rtmp",
        "codecs": {"video": "h264", "audio": "aac"},
        "resolution": "1280x720",
        "frame_rate": 30.0,
        "bitrate_bps": 2_400_000,
        "notices": [
            {
                "code": "b_frames",
                "severity": "warning",
                "text": {"en": "B-frames", "zh": "B 帧"},
                "fix": {"en": "Off", "zh": "关"},
            }
        ],
    }
    assert (await (await house.client.get("/v1/rooms/shop")).json())["live"] is True


async def test_a_meter_forgets_streams_that_are_gone(house: House) -> None:
    house.hub.publish("shop", protocol="rtmp", on_close=lambda reason: None)
    house.meter.sample(1.0)
    stream = house.hub.streams["shop"]
    house.hub.drain()
    house.meter.sample(2.0)
    assert house.meter.bitrate_bps(stream) == 0
    assert not house.meter._samples


async def test_a_viewer_token_opens_its_restricted_room(house: House) -> None:
    await house.create(id="shop", title="show", access="restricted")
    wanted = {"room": "shop", "sub": "anna", "name": "安娜", "tier": "gold", "ttl_s": 60}
    response = await house.client.post("/v1/viewer-tokens", json=wanted, headers=ADMIN)
    assert response.status == 201
    issued = await response.json()
    claims = house.tokens.verify(issued["token"], "shop")
    assert (claims.sub, claims.name, claims.tier, claims.role) == (
        "anna",
        "安娜",
        "gold",
        "viewer",
    )
    assert from_rfc3339(issued["expires_at"]) * 1000 == claims.expires_ms
    await house.access.watch("shop", issued["token"])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"room": "none"}, (404, "room_not_found")),
        ({"room": "shop", "role": "emperor"}, (422, "invalid")),
        ({"room": "shop", "ttl_s": 0}, (422, "invalid")),
        ({"room": "shop", "ttl_s": 10**9}, (422, "invalid")),
        ({"room": "shop", "name": "a\nb"}, (422, "invalid")),
        ({"sub": "anna"}, (422, "invalid")),
    ],
)
async def test_a_viewer_token_that_cannot_be_is_refused(
    house: House, body: dict[str, object], expected: tuple[int, str]
) -> None:
    await house.create(id="shop", title="show")
    response = await house.client.post("/v1/viewer-tokens", json=body, headers=ADMIN)
    assert await code(response) == expected


async def test_a_guest_keeps_its_sub_by_body_or_by_header(house: House) -> None:
    await house.create(id="shop", title="show")
    url = "/v1/rooms/shop/guest-token"
    first = await (await house.client.post(url)).json()
    assert house.tokens.verify(first["token"], "shop").guest
    by_body = await (await house.client.post(url, json={"token": first["token"]})).json()
    bearer = {"Authorization": f"Bearer {first['token']}"}
    by_header = await (await house.client.post(url, headers=bearer)).json()
    assert by_body["sub"] == by_header["sub"] == first["sub"]
    new = await (await house.client.post(url, json={"token": "nonsense"})).json()
    assert new["sub"] != first["sub"]
    assert from_rfc3339(first["expires_at"]) > 0


async def test_a_restricted_room_has_no_guests(house: House) -> None:
    await house.create(id="shop", title="show", access="restricted")
    response = await house.client.post("/v1/rooms/shop/guest-token")
    assert await code(response) == (403, "room_restricted")
    missing = await house.client.post("/v1/rooms/none/guest-token")
    assert await code(missing) == (404, "room_not_found")


async def test_one_address_gets_so_many_guest_tokens_and_then_429(house: House) -> None:
    await house.create(id="shop", title="show")
    statuses = [
        (await house.client.post("/v1/rooms/shop/guest-token")).status for _ in range(GUEST_BURST)
    ]
    assert statuses == [200] * GUEST_BURST
    response = await house.client.post("/v1/rooms/shop/guest-token")
    assert await code(response) == (429, "too_many")
    assert int(response.headers["Retry-After"]) > 0


def test_the_picture_of_these_tests_is_720p() -> None:
    track: Track = h264.video_track((SPS,), (PPS,))
    assert (track.width, track.height, track.clock_rate) == (1280, 720, VIDEO_CLOCK_RATE)
