"""Rooms over HTTP with real rooms, a real store and a real hub."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import jwt
import pytest

from mediaserver.hub import Notice
from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol import aac, h264
from tests.api.staff_house import ADMIN, GUEST_BURST, SECRET, House, bearer, code, open_house

# x264's parameter sets for 1280x720 at 30 frames/s, with VUI timing.
SPS = bytes.fromhex("6764001facd9405005bb0110000003001000000303c0f1831960")
PPS = bytes.fromhex("68ebe3cb22c0")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


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
    viewer = bearer(house.tokens.issue("shop").token)
    assert await (await house.client.get("/v1/rooms/shop", headers=viewer)).json() == face


async def test_a_token_that_is_wrong_is_refused_even_where_none_is_wanted(house: House) -> None:
    await house.create(id="shop", title="show")
    for path in ("/v1/rooms", "/v1/rooms/shop"):
        wrong = await house.client.get(path, headers=bearer("other"))
        assert await code(wrong) == (401, "token_invalid")


async def test_the_inside_of_a_room_is_shown_to_who_may_inspect_it(house: House) -> None:
    await house.create(id="mine", title="show")
    await house.create(id="other", title="show")
    hosts = bearer(house.tokens.issue("mine", role="host").token)
    moderators = await house.with_role("moderator")
    for headers, expected in (
        (hosts, [True, False]),
        (moderators, [True, True]),
        ({}, [False] * 2),
    ):
        listed = await (await house.client.get("/v1/rooms", headers=headers)).json()
        assert ["created_at" in room for room in listed["items"]] == expected
        one = await (await house.client.get("/v1/rooms/other", headers=headers)).json()
        assert ("created_at" in one) == expected[1]


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


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limits=5"])
async def test_a_bad_query_is_400(house: House, query: str) -> None:
    assert await code(await house.client.get(f"/v1/rooms?{query}")) == (400, "bad_query")


@pytest.mark.parametrize("cursor", ["%ED%A0%80", "%00", "%FF", "x" * 2000])
async def test_a_strange_cursor_is_no_error(house: House, cursor: str) -> None:
    assert (await house.client.get(f"/v1/rooms?cursor={cursor}")).status == 200


@pytest.mark.parametrize("id", ["none", "%ED%A0%80", "%00", "..%2f", "a" * 2000, "%E2%98%83"])
async def test_no_room_is_404(house: House, id: str) -> None:
    assert await code(await house.client.get(f"/v1/rooms/{id}")) == (404, "room_not_found")


TABLE = [  # what whoever may do it sends
    ("rooms.write", "POST", "/v1/rooms", {"title": "new"}),
    ("rooms.write", "PATCH", "/v1/rooms/shop", {"title": "new"}),
    ("stream_key.rotate", "POST", "/v1/rooms/shop/stream-key", None),
    ("rooms.inspect", "GET", "/v1/rooms/shop/ingest", None),
    ("viewer_tokens.issue", "POST", "/v1/viewer-tokens", {"room": "shop"}),
]
MAY = {
    "admin": {"rooms.write", "stream_key.rotate", "rooms.inspect", "viewer_tokens.issue"},
    "operator": {"rooms.write", "stream_key.rotate", "rooms.inspect", "viewer_tokens.issue"},
    "host": {"stream_key.rotate", "rooms.inspect"},
    "moderator": {"rooms.inspect"},
    "finance": set(),
    "engineer": {"rooms.inspect"},
    "viewer": set(),
    "nobody": set(),
}


@pytest.mark.parametrize("role", MAY)
async def test_each_role_may_do_what_the_table_says(house: House, role: str) -> None:
    await house.create(id="shop", title="show")
    token = house.tokens.issue("shop").token
    headers = bearer(token) if role == "viewer" else await house.with_role(role)
    for act, method, path, body in TABLE:
        before = await house.acts()
        response = await house.client.request(method, path, json=body, headers=headers)
        new = [each for _, each, _ in (await house.acts())[len(before) :]]
        if act in MAY[role]:
            assert response.status in (200, 201)
            assert new == ([] if method == "GET" else [act])
        else:
            refused = (401, "unauthorized") if role == "nobody" else (403, "forbidden")
            assert (*await code(response), new) == (*refused, [])


async def test_a_hosts_viewer_token_acts_in_its_own_room_only(house: House) -> None:
    await house.create(id="mine", title="show")
    other = await house.create(id="other", title="show")
    headers = bearer(house.tokens.issue("mine", "anna", role="host").token)
    assert (await house.client.post("/v1/rooms/mine/stream-key", headers=headers)).status == 200
    for method, path in (("POST", "stream-key"), ("GET", "ingest")):
        response = await house.client.request(method, f"/v1/rooms/other/{path}", headers=headers)
        assert await code(response) == (403, "forbidden")
    assert await house.access.publish(other["stream_key"]) == "other"


async def test_an_operators_viewer_token_issues_tokens_of_its_own_room_only(house: House) -> None:
    await house.create(id="mine", title="show")
    await house.create(id="other", title="show")
    headers = bearer(house.tokens.issue("mine", "anna", role="operator").token)
    for room, status in (("mine", 201), ("other", 403)):
        url = "/v1/viewer-tokens"
        response = await house.client.post(url, json={"room": room}, headers=headers)
        assert response.status == status
    response = await house.client.post("/v1/rooms", json={"title": "x"}, headers=headers)
    assert await code(response) == (403, "forbidden")


async def test_a_guest_token_that_claims_a_role_is_a_viewers(house: House) -> None:
    await house.create(id="shop", title="show")
    expires_s = house.clock.ms // 1000 + 60
    claims = {"room": "shop", "sub": "x", "exp": expires_s, "role": "host", "guest": True}
    token = jwt.encode(claims, SECRET, "HS256")
    response = await house.client.post("/v1/rooms/shop/stream-key", headers=bearer(token))
    assert await code(response) == (403, "forbidden")


async def test_what_was_done_to_a_room_is_in_the_audit_log(house: House) -> None:
    headers = await house.with_role("operator")
    room = {"id": "shop", "title": "show"}
    assert (await house.client.post("/v1/rooms", json=room, headers=headers)).status == 201
    assert (await house.client.post("/v1/rooms", json=room, headers=headers)).status == 409
    wanted = {"room": "shop", "sub": "anna", "role": "host"}
    await house.client.post("/v1/viewer-tokens", json=wanted, headers=headers)
    missing = {"room": "none", "sub": "anna"}
    await house.client.post("/v1/viewer-tokens", json=missing, headers=headers)
    stale = {**headers, "If-Match": '"0"'}
    await house.client.patch("/v1/rooms/shop", json={"title": "x"}, headers=stale)
    assert await house.acts() == [
        ("key:a operator", "rooms.write", {"room": "shop", "title": "show"}),
        ("key:a operator", "viewer_tokens.issue", wanted),
    ]


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


async def test_a_deleted_room_is_gone_with_its_stream_and_its_key(house: House) -> None:
    key = (await house.create(id="shop", title="show"))["stream_key"]
    ended: list[str] = []
    house.hub.publish("shop", protocol="rtmp", clock_rate=1000, on_close=ended.append)
    response = await house.client.delete("/v1/rooms/shop", headers=ADMIN)
    assert (response.status, await response.read()) == (204, b"")
    assert ended == ["the room was deleted"]
    assert house.hub.get("shop") is None
    with pytest.raises(Exception, match="not valid"):
        await house.access.publish(key)
    assert await code(await house.client.get("/v1/rooms/shop")) == (404, "room_not_found")
    listed = await (await house.client.get("/v1/rooms")).json()
    assert listed["items"] == []
    again = await house.client.delete("/v1/rooms/shop", headers=ADMIN)
    assert await code(again) == (404, "room_not_found")
    assert (await house.create(id="shop", title="another"))["title"] == "another"


async def test_a_room_that_was_changed_since_is_not_deleted(house: House) -> None:
    await house.create(id="shop", title="show")
    stale = {**ADMIN, "If-Match": '"0"'}
    response = await house.client.delete("/v1/rooms/shop", headers=stale)
    assert await code(response) == (412, "stale")
    assert (await house.client.get("/v1/rooms/shop")).status == 200


async def test_nothing_published_is_said_so(house: House) -> None:
    await house.create(id="shop", title="show")
    response = await house.client.get("/v1/rooms/shop/ingest", headers=ADMIN)
    assert await response.json() == {
        "room": "shop",
        "live": False,
        "input": None,
        "protocol": None,
        "codecs": {},
        "resolution": None,
        "frame_rate": None,
        "bitrate_bps": 0,
        "quality": None,
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
    house.doctor.look()
    for frame in range(60):
        publication.write(
            video, frame * 33, b"\0" * 10_000, keyframe=frame == 0, arrival=100 + frame / 30
        )
    publication.write(audio, 1950, b"", keyframe=True, arrival=102.0)
    house.media_clock.now += 2.0
    house.doctor.look()


async def test_the_ingest_tells_what_is_published_and_what_to_mend(house: House) -> None:
    await house.create(id="shop", title="show")
    published(house)
    response = await house.client.get("/v1/rooms/shop/ingest", headers=ADMIN)
    assert await response.json() == {
        "room": "shop",
        "live": True,
        "input": "main",
        "protocol": "rtmp",
        "codecs": {"video": "h264", "audio": "aac"},
        "resolution": "1280x720",
        "frame_rate": 30.0,
        "bitrate_bps": 2_400_000,
        "quality": {
            "frame_rate": 30.0,
            "keyframe_interval_s": 1.95,
            "video_bps": 2_400_000,
            "audio_bps": 0,
            "loudness_lufs": None,
            "loudness_now_lufs": None,
            "av_drift_ms": 0,
            "clock_jumps": 0,
            "frames": 60,
            "outages": 0,
            "away_s": 0,
        },
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


async def test_the_doctor_forgets_streams_that_are_gone(house: House) -> None:
    house.hub.publish("shop", protocol="rtmp", on_close=lambda reason: None)
    house.doctor.look()
    stream = house.hub.streams["shop"]
    assert stream.readers == 1
    house.hub.drain()
    house.doctor.look()
    assert house.doctor.patient("shop") is None
    assert stream.readers == 0


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
        ({"room": "shop", "sub": "staff/admin"}, (422, "invalid")),
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
    by_header = await (await house.client.post(url, headers=bearer(first["token"]))).json()
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
