"""The staff over HTTP: a real server on a real store."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediaserver.api.login_failures import NAMES_REMEMBERED, LoginFailures
from mediaserver.api.tls import own_certificate
from overlay.permissions import ACTS, TABLE, acts_of
from tests.api.staff_house import (
    ADMIN,
    ADMIN_TOKEN,
    PASSWORD,
    Clock,
    House,
    bearer,
    code,
    open_house,
    routes,
)

ORDER = "ord_01h455vb4pex5vsknk084sn02q"
WRONG = "wrong password here"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


@pytest.fixture
async def alice(house: House) -> House:
    """The house, with alice as a host."""
    await house.staff.accounts.create("alice", "host", PASSWORD)
    return house


# -- signing in -----------------------------------------------------------------------------------


async def test_who_signs_in_gets_a_cookie_no_script_reads_and_no_other_site_sends(
    alice: House,
) -> None:
    body = {"name": "alice", "password": PASSWORD}
    response = await alice.client.post("/v1/login", json=body)
    assert response.status == 200
    said = await response.json()
    assert said == {
        "name": "alice",
        "role": "host",
        "csrf": said["csrf"],
        "acts": acts_of("host"),
    }
    cookie = response.cookies["hawker_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert not cookie["secure"] and not cookie["domain"]
    assert response.headers["Cache-Control"] == "no-store"
    assert cookie.value not in await response.text()


async def test_over_https_the_cookie_stays_on_https(tmp_path: Path) -> None:
    tls = own_certificate(tmp_path, ["127.0.0.1"])
    async with open_house(tmp_path, tls=tls) as house:
        body = {"admin_token": ADMIN_TOKEN}
        response = await house.client.post("/v1/login", json=body, ssl=False)
        assert response.cookies["hawker_session"]["secure"] is True


async def test_a_page_asks_who_it_is(alice: House) -> None:
    page = await alice.log_in(name="alice", password=PASSWORD)
    assert await alice.me({"Cookie": page.headers["Cookie"]}) == {
        "name": "alice",
        "role": "host",
        "acts": acts_of("host"),
        "csrf": page.csrf,
        "sub": "staff/alice",
    }


async def test_the_admin_token_signs_in_as_the_admin(house: House) -> None:
    page = await house.log_in(admin_token=ADMIN_TOKEN)
    said = await house.me(page.headers)
    assert (said["name"], said["role"], said["acts"]) == ("admin", "admin", list(ACTS))


async def test_whoever_asks_is_told_who_he_is(house: House) -> None:
    nobody = {"name": "nobody", "role": "nobody", "acts": [], "csrf": None, "sub": None}
    assert await house.me({}) == nobody
    assert await house.me({"Cookie": "hawker_session=stale"}) == nobody
    viewer = bearer(house.tokens.issue("shop", "anna", role="moderator").token)
    said = await house.me(viewer)
    assert (said["sub"], said["acts"], said["csrf"]) == ("anna", ["rooms.inspect"], None)
    order = await house.me(bearer(house.links.key(ORDER)))
    assert (order["role"], order["sub"], order["acts"]) == ("order", None, [])


async def test_a_bearer_token_wins_over_the_cookie(house: House) -> None:
    page = await house.log_in(admin_token=ADMIN_TOKEN)
    viewer = bearer(house.tokens.issue("shop", "anna").token)
    said = await house.me({**page.headers, **viewer})
    assert (said["sub"], said["csrf"]) == ("anna", None)
    await house.client.post("/v1/logout", headers={**page.headers, **viewer})
    assert (await house.me(page.headers))["role"] == "admin"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "alice", "password": WRONG},
        {"name": "bob", "password": PASSWORD},
        {"name": "admin", "password": ADMIN_TOKEN},
        {"name": "", "password": ""},
        {"name": "alice", "password": "p" * 5000},
        {"name": "n" * 5000, "password": PASSWORD},
        {"admin_token": "wrong"},
    ],
)
async def test_every_wrong_pair_is_answered_alike(alice: House, body: dict[str, str]) -> None:
    response = await alice.client.post("/v1/login", json=body)
    assert await code(response) == (401, "login_failed")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="hawker"'
    assert "Set-Cookie" not in response.headers
    by_password = "password" in body
    words = "the name or the password is not right" if by_password else None
    assert words is None or (await response.json())["detail"] == words


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "alice"},
        {"password": PASSWORD},
        {"name": "alice", "password": PASSWORD, "admin_token": ADMIN_TOKEN},
        {"name": "alice", "password": 12345678901},
        {"admin_token": None},
        {"admin_token": ADMIN_TOKEN, "role": "admin"},
    ],
)
async def test_a_login_of_another_form_is_422_and_repeats_no_secret(
    alice: House, body: dict[str, object]
) -> None:
    response = await alice.client.post("/v1/login", json=body)
    assert await code(response) == (422, "invalid")
    said = await response.text()
    assert PASSWORD not in said and ADMIN_TOKEN not in said and "12345678901" not in said


async def test_who_signs_out_is_nobody_and_his_cookie_is_taken_away(alice: House) -> None:
    page = await alice.log_in(name="alice", password=PASSWORD)
    response = await alice.client.post("/v1/logout", headers=page.headers)
    assert response.status == 204
    assert response.cookies["hawker_session"].value == ""
    assert int(response.cookies["hawker_session"]["max-age"]) == 0
    assert (await alice.me(page.headers))["role"] == "nobody"
    assert (await alice.client.post("/v1/logout", headers=page.headers)).status == 204


async def test_ten_wrong_passwords_close_a_name_for_ten_minutes(alice: House) -> None:
    for name in ("alice", "bob"):  # whether there is such an account or not
        wrong = {"name": name, "password": WRONG}
        for _ in range(10):
            response = await alice.client.post("/v1/login", json=wrong)
            assert await code(response) == (401, "login_failed")
        response = await alice.client.post("/v1/login", json=wrong)
        assert await code(response) == (429, "too_many")
        assert 0 < int(response.headers["Retry-After"]) <= 600
    right = {"name": "alice", "password": PASSWORD}
    assert (await alice.client.post("/v1/login", json=right)).status == 429
    alice.clock.ms += 600_000
    assert (await alice.client.post("/v1/login", json=right)).status == 200


def test_names_that_are_tried_do_not_grow_the_process() -> None:
    failures = LoginFailures(Clock().monotonic)
    for number in range(NAMES_REMEMBERED + 5):
        failures.count(f"{number:05d}" * 1000)
    assert len(failures._tried) == NAMES_REMEMBERED
    assert max(map(len, failures._tried)) < 40


async def test_who_remembers_the_password_begins_to_count_anew(alice: House) -> None:
    right, wrong = {"password": PASSWORD}, {"password": WRONG}
    for body in [wrong] * 9 + [right] + [wrong] * 9 + [right]:
        response = await alice.client.post("/v1/login", json={"name": "alice", **body})
        assert response.status == (200 if body is right else 401)


async def test_one_address_may_try_so_often(house: House) -> None:
    statuses = {
        (await house.client.post("/v1/login", json={"admin_token": "wrong"})).status
        for _ in range(60)
    }
    assert statuses == {401}
    response = await house.client.post("/v1/login", json={"admin_token": ADMIN_TOKEN})
    assert await code(response) == (429, "too_many")


# -- other sites' pages ---------------------------------------------------------------------------


async def test_a_page_of_another_site_signs_nobody_in(alice: House) -> None:
    body = {"name": "alice", "password": PASSWORD}
    sites = {"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200}
    for site, status in sites.items():
        headers = {"Sec-Fetch-Site": site}
        response = await alice.client.post("/v1/login", json=body, headers=headers)
        assert response.status == status
        if status == 403:
            assert await code(response) == (403, "csrf")
            assert "Set-Cookie" not in response.headers


async def test_a_cookie_changes_nothing_without_its_csrf_token(house: House) -> None:
    page = await house.log_in(admin_token=ADMIN_TOKEN)
    cookie = {"Cookie": page.headers["Cookie"]}
    other = await house.log_in(admin_token=ADMIN_TOKEN)
    before = await house.acts()
    account = {"name": "alice", "role": "host", "password": PASSWORD}
    for headers in (
        cookie,
        {**cookie, "X-CSRF-Token": "wrong"},
        {**cookie, "X-CSRF-Token": other.csrf},
        {**page.headers, "Sec-Fetch-Site": "cross-site"},
    ):
        for method, path, body in (
            ("POST", "/v1/staff", account),
            ("POST", "/v1/logout", None),
            ("POST", "/v1/rooms", {"title": "show"}),
        ):
            response = await house.client.request(method, path, json=body, headers=headers)
            assert await code(response) == (403, "csrf")
    assert (await house.client.get("/v1/staff", headers=cookie)).status == 200
    assert await house.acts() == before
    response = await house.client.post("/v1/staff", json=account, headers=page.headers)
    assert response.status == 201


# -- who may --------------------------------------------------------------------------------------

TABLE_OF_ACTS = [
    ("staff.manage", "POST", "/v1/staff", {"name": "carol", "role": "host", "password": PASSWORD}),
    ("staff.manage", "GET", "/v1/staff", None),
    ("staff.manage", "PATCH", "/v1/staff/alice", {"disabled": True}),
    ("staff.manage", "DELETE", "/v1/staff/alice", None),
    ("staff.manage", "POST", "/v1/api-keys", {"label": "the till", "role": "finance"}),
    ("staff.manage", "GET", "/v1/api-keys", None),
    ("staff.manage", "DELETE", "/v1/api-keys/{id}", None),
    ("audit.read", "GET", "/v1/audit", None),
]


@pytest.mark.parametrize("role", [*TABLE, "viewer", "order", "nobody"])
async def test_each_role_may_do_what_the_table_says(alice: House, role: str) -> None:
    match role:
        case "viewer":
            headers = bearer(alice.tokens.issue("shop", "anna").token)
        case "order":
            headers = bearer(alice.links.key(ORDER))
        case _:
            headers = await alice.with_role(role)
    spare, _ = await alice.staff.api_keys.create("spare", "host")
    for act, method, path, body in TABLE_OF_ACTS:
        before = await alice.acts()
        url = path.format(id=spare.id)
        response = await alice.client.request(method, url, json=body, headers=headers)
        new = [each for _, each, _ in (await alice.acts())[len(before) :]]
        if act in TABLE.get(role, ()):
            assert response.status in (200, 201, 204)
            assert new == ([] if method == "GET" else [act])
        else:
            refused = (401, "unauthorized") if role == "nobody" else (403, "forbidden")
            assert (*await code(response), new) == (*refused, [])
            if role == "nobody":
                assert response.headers["WWW-Authenticate"] == 'Bearer realm="hawker"'


async def test_a_stream_key_opens_no_route(house: House) -> None:
    key = (await house.create(id="shop", title="show"))["stream_key"]
    before = await house.acts()
    # They ask for no bearer token: to sign in is to show another, and any guest is welcome.
    open_to_all = {"/v1/login", "/v1/rooms/shop/guest-token"}
    asked = [(method, path) for method, path in routes(house) if path not in open_to_all]
    assert len(asked) > 15
    for method, path in asked:
        response = await house.client.request(method, path, headers=bearer(key), json={})
        assert await code(response) == (401, "token_invalid")
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="hawker"'
    response = await house.client.post("/v1/login", json={"admin_token": key}, headers=bearer(key))
    assert await code(response) == (401, "login_failed")
    new = (await house.acts())[len(before) :]
    assert new == [("nobody", "login.failed", {})]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", f"Basic {ADMIN_TOKEN}", "Digest x"])
async def test_what_is_no_bearer_token_is_nobodys(house: House, header: str) -> None:
    response = await house.client.get("/v1/staff", headers={"Authorization": header})
    assert await code(response) == (401, "unauthorized")


@pytest.mark.parametrize("token", [ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", "\u2603", "hk_x", "a.b.c"])
async def test_a_token_that_is_wrong_is_said_so(house: House, token: str) -> None:
    response = await house.client.get("/v1/me", headers=bearer(token))
    assert await code(response) == (401, "token_invalid")


async def test_anybody_may_read_who_may_do_what(house: House) -> None:
    said = await (await house.client.get("/v1/permissions")).json()
    assert said["roles"] == list(TABLE) and said["acts"] == list(ACTS)
    assert {role: set(acts) for role, acts in said["table"].items()} == TABLE


# -- accounts and keys ----------------------------------------------------------------------------


async def test_an_account_is_made_listed_changed_and_deleted(house: House) -> None:
    wanted = {"name": "alice", "role": "host", "password": PASSWORD}
    response = await house.client.post("/v1/staff", json=wanted, headers=ADMIN)
    assert (response.status, response.headers["Location"]) == (201, "/v1/staff/alice")
    made = await response.json()
    assert made == {
        "name": "alice",
        "role": "host",
        "disabled": False,
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z",
    }
    again = await house.client.post("/v1/staff", json=wanted, headers=ADMIN)
    assert await code(again) == (409, "staff_exists")
    listed = await (await house.client.get("/v1/staff", headers=ADMIN)).json()
    assert listed == {"items": [made], "next": None}
    url = "/v1/staff/alice"
    changed = await house.client.patch(url, json={"role": "finance"}, headers=ADMIN)
    assert (await changed.json())["role"] == "finance"
    assert (await house.client.delete(url, headers=ADMIN)).status == 204
    for method in ("PATCH", "DELETE"):
        gone = await house.client.request(method, url, json={}, headers=ADMIN)
        assert await code(gone) == (404, "staff_not_found")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Alice"},
        {"name": "admin"},
        {"role": "admin"},
        {"role": "viewer"},
        {"password": "short"},
        {"password": "p" * 201},
        {"more": 1},
    ],
)
async def test_an_account_that_cannot_be_is_422(house: House, change: dict[str, object]) -> None:
    wanted = {"name": "alice", "role": "host", "password": PASSWORD, **change}
    response = await house.client.post("/v1/staff", json=wanted, headers=ADMIN)
    assert await code(response) == (422, "invalid")
    assert (await house.staff.accounts.list(), await house.acts()) == (([], None), [])


@pytest.mark.parametrize("change", [{"password": WRONG}, {"role": "finance"}, {"disabled": True}])
async def test_a_changed_account_is_signed_out_everywhere(
    alice: House, change: dict[str, object]
) -> None:
    page = await alice.log_in(name="alice", password=PASSWORD)
    response = await alice.client.patch("/v1/staff/alice", json=change, headers=ADMIN)
    assert response.status == 200
    assert (await alice.me(page.headers))["role"] == "nobody"
    rotated = await alice.client.post("/v1/rooms/shop/stream-key", headers=page.headers)
    assert await code(rotated) == (401, "unauthorized")


async def test_an_api_key_is_told_once_and_acts_until_it_is_deleted(house: House) -> None:
    wanted = {"label": "the till", "role": "operator"}
    response = await house.client.post("/v1/api-keys", json=wanted, headers=ADMIN)
    assert response.status == 201
    made = await response.json()
    key = bearer(made.pop("key"))
    listed = await (await house.client.get("/v1/api-keys", headers=ADMIN)).json()
    assert listed == {"items": [made], "next": None}
    made_room = await house.client.post("/v1/rooms", json={"title": "show"}, headers=key)
    assert made_room.status == 201
    assert (await house.me(key))["sub"] == f"key/{made['id']}"
    url = f"/v1/api-keys/{made['id']}"
    assert (await house.client.delete(url, headers=ADMIN)).status == 204
    assert await code(await house.client.get("/v1/me", headers=key)) == (401, "token_invalid")
    assert await code(await house.client.delete(url, headers=ADMIN)) == (404, "api_key_not_found")


# -- the audit log --------------------------------------------------------------------------------


async def test_the_log_says_who_did_what_and_nothing_of_what_was_refused(house: House) -> None:
    post, patch, delete = house.client.post, house.client.patch, house.client.delete
    account = {"name": "alice", "role": "host", "password": PASSWORD}
    await post("/v1/staff", json=account, headers=ADMIN)
    await post("/v1/staff", json=account, headers=ADMIN)  # 409
    await patch("/v1/staff/alice", json={"password": WRONG, "role": "finance"}, headers=ADMIN)
    await patch("/v1/staff/bob", json={"role": "finance"}, headers=ADMIN)  # 404
    page = await house.log_in(name="alice", password=WRONG)
    await post("/v1/staff", json={**account, "name": "carol"}, headers=page.headers)  # 403
    await post("/v1/logout", headers=page.headers)
    await post("/v1/login", json={"name": "alice", "password": "not the password"})
    await post("/v1/login", json={"name": "typed my password", "password": "here"})
    await delete("/v1/staff/alice", headers=ADMIN)
    assert await house.acts() == [
        ("admin", "staff.manage", {"staff": "alice", "role": "host"}),
        ("admin", "staff.manage", {"staff": "alice", "changed": "password role"}),
        ("alice", "login", {}),
        ("alice", "logout", {}),
        ("nobody", "login.failed", {"staff": "alice"}),
        ("nobody", "login.failed", {}),
        ("admin", "staff.manage", {"staff": "alice", "changed": "deleted"}),
    ]


async def test_the_log_is_read_newest_first_in_pages(house: House) -> None:
    for number in range(5):
        await house.create(id=f"room-{number}", title="show")
        house.clock.ms += 1000
    headers = await house.with_role("engineer")
    seen, url = [], "/v1/audit?limit=2"
    while True:
        page = await (await house.client.get(url, headers=headers)).json()
        seen += page["items"]
        if page["next"] is None:
            break
        url = f"/v1/audit?limit=2&cursor={page['next']}"
    assert [entry["target"]["room"] for entry in seen] == [f"room-{n}" for n in range(4, -1, -1)]
    assert seen[-1] == {
        "id": seen[-1]["id"],
        "at": "2027-01-15T08:00:00.000Z",
        "by": "admin",
        "role": "admin",
        "act": "rooms.write",
        "target": {"room": "room-0", "title": "show"},
        "wrote": ["room/room-0"],
    }


@pytest.mark.parametrize("cursor", ["x", "-1", "0", "1.5", "%C2%B2", "9" * 30])
async def test_a_strange_cursor_of_the_log_is_400(house: House, cursor: str) -> None:
    response = await house.client.get(f"/v1/audit?cursor={cursor}", headers=ADMIN)
    assert await code(response) == (400, "bad_query")


async def test_who_acted_on_a_connection_is_not_held_to_what_comes_after_him(house: House) -> None:
    """Requests of one connection follow each other in one server task."""
    await house.create(id="shop", title="show")
    before = await house.acts()
    assert (await house.client.post("/v1/rooms/shop/stream-key", headers=ADMIN)).status == 200
    await house.log_in(admin_token=ADMIN_TOKEN)  # commits a session, which is no act
    acts = [act for _, act, _ in (await house.acts())[len(before) :]]
    assert acts == ["stream_key.rotate", "login"]


# -- secrets --------------------------------------------------------------------------------------


async def test_no_secret_is_in_the_store_or_in_the_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_house(tmp_path, Clock()) as house:
        account = {"name": "alice", "role": "host", "password": PASSWORD}
        await house.client.post("/v1/staff", json=account, headers=ADMIN)
        pages = [
            await house.log_in(name="alice", password=PASSWORD),
            await house.log_in(admin_token=ADMIN_TOKEN),
        ]
        await house.client.post("/v1/login", json={"name": WRONG, "password": WRONG})
        wanted = {"label": "the till", "role": "finance"}
        response = await house.client.post("/v1/api-keys", json=wanted, headers=ADMIN)
        key = (await response.json())["key"]
        stream_key = (await house.create(id="shop", title="show"))["stream_key"]
        wanted = {"room": "shop", "sub": "anna"}
        response = await house.client.post("/v1/viewer-tokens", json=wanted, headers=ADMIN)
        viewer = (await response.json())["token"]
        for token in (key, viewer, stream_key, house.links.key(ORDER)):
            await house.client.get("/v1/me", headers=bearer(token))
        for page in pages:
            await house.client.get("/v1/me", headers=page.headers)
        stored = house.stored()
    secrets = [PASSWORD, WRONG, ADMIN_TOKEN, key, stream_key, viewer, house.links.key(ORDER)]
    secrets += [each for page in pages for each in (page.cookie, page.csrf)]
    assert b"the till" in stored and "/v1/api-keys" in caplog.text
    assert [secret for secret in secrets if secret.encode() in stored] == []
    assert [secret for secret in secrets if secret in caplog.text] == []
