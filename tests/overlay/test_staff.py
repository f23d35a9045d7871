"""Accounts, sessions and API keys on a real store."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from commerce.errors import AlreadyExists, Busy, Invalid, LimitReached
from commerce.store import INDEX_END, SqliteStore
from overlay import accounts, api_keys, passwords, staff_sessions
from overlay.accounts import StaffNotFound
from overlay.api_keys import ApiKeyNotFound
from overlay.errors import Unauthorized
from overlay.staff import Staff
from overlay.staff_sessions import EXPIRIES, SESSION_MS, SESSIONS_PER_NAME

PASSWORD = "correct horse battery"
OTHER = "another good password"
ADMIN_TOKEN = "the admin token"


@dataclass
class House:
    store: SqliteStore
    path: Path
    staff: Staff
    now_ms: int = 1_800_000_000_000

    async def is_good(self, session: str) -> bool:
        return await self.staff.sessions.find(session, ADMIN_TOKEN) is not None

    async def kept_sessions(self) -> int:
        return len(await self.store.scan(EXPIRIES, "", INDEX_END, 1000))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    path = tmp_path / "hawker.db"
    store = await SqliteStore.open(path)
    house = House(store, path, Staff(store, lambda: house.now_ms))
    yield house
    await store.close()


async def refused(login: Awaitable[object]) -> bool:
    with pytest.raises(Unauthorized) as error:
        await login
    assert error.value.detail == "the name or the password is not right"
    return error.value.code == "login_failed"


# -- accounts -------------------------------------------------------------------------------------


async def test_an_account_is_made_and_shows_no_hash(house: House) -> None:
    account = await house.staff.accounts.create("alice", "host", PASSWORD)
    assert (account.name, account.role, account.disabled) == ("alice", "host", False)
    assert account.created_ms == account.updated_ms == house.now_ms
    assert account.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert account.password_hash not in repr(account) and account.epoch not in repr(account)
    assert await house.staff.accounts.get("alice") == account


@pytest.mark.parametrize(
    "name", ["", "Alice", "-a", ".a", "a b", "a/b", "ä", "a" * 33, "a\n", "admin", "nobody"]
)
async def test_a_name_that_cannot_be_is_refused(house: House, name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        await house.staff.accounts.create(name, "host", PASSWORD)
    assert not await house.staff.accounts.exists(name)


@pytest.mark.parametrize("name", ["a", "0", "a.b-c_d", "a" * 32])
async def test_a_name_that_can_be_is_taken(house: House, name: str) -> None:
    assert (await house.staff.accounts.create(name, "host", PASSWORD)).name == name


@pytest.mark.parametrize("role", ["admin", "viewer", "nobody", "", "Host"])
async def test_a_role_that_is_not_of_the_staff_is_refused(house: House, role: str) -> None:
    with pytest.raises(Invalid, match="role"):
        await house.staff.accounts.create("alice", role, PASSWORD)
    with pytest.raises(Invalid, match="role"):
        await house.staff.api_keys.create("the till", role)
    await house.staff.accounts.create("bob", "host", PASSWORD)
    with pytest.raises(Invalid, match="role"):
        await house.staff.accounts.patch("bob", role=role)


@pytest.mark.parametrize("password", ["", "a" * 9, "a" * 201])
async def test_a_password_too_short_or_too_long_is_refused(house: House, password: str) -> None:
    with pytest.raises(Invalid, match="password"):
        await house.staff.accounts.create("alice", "host", password)
    await house.staff.accounts.create("bob", "host", PASSWORD)
    with pytest.raises(Invalid, match="password"):
        await house.staff.accounts.patch("bob", password=password)
    assert await refused(house.staff.sessions.log_in("bob", password))


async def test_a_name_is_taken_once(house: House) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)
    with pytest.raises(AlreadyExists) as error:
        await house.staff.accounts.create("alice", "operator", OTHER)
    assert error.value.code == "staff_exists"
    assert (await house.staff.accounts.get("alice")).role == "host"


async def test_accounts_are_listed_by_name_in_pages(house: House) -> None:
    for name in ("carol", "alice", "bob"):
        await house.staff.accounts.create(name, "host", PASSWORD)
    first, after = await house.staff.accounts.list(limit=2)
    second, end = await house.staff.accounts.list(after=after, limit=2)
    assert [account.name for account in first + second] == ["alice", "bob", "carol"]
    assert (after, end) == ("bob", None)


async def test_there_are_so_many_accounts_and_keys_and_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "ACCOUNTS_MAX", 1)
    monkeypatch.setattr(api_keys, "API_KEYS_MAX", 1)
    await house.staff.accounts.create("alice", "host", PASSWORD)
    with pytest.raises(LimitReached):
        await house.staff.accounts.create("bob", "host", PASSWORD)
    await house.staff.api_keys.create("one", "host")
    with pytest.raises(LimitReached):
        await house.staff.api_keys.create("two", "host")


async def test_nobody_is_changed_or_deleted_who_is_not_there(house: House) -> None:
    for act in (
        house.staff.accounts.get("alice"),
        house.staff.accounts.patch("alice", role="host"),
        house.staff.accounts.patch("alice", password=OTHER),
        house.staff.accounts.delete("alice"),
        house.staff.accounts.delete("../room"),
    ):
        with pytest.raises(StaffNotFound):
            await act


# -- signing in -----------------------------------------------------------------------------------


async def test_the_password_opens_a_session(house: House) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)
    opened = await house.staff.sessions.log_in("alice", PASSWORD)
    session = await house.staff.sessions.find(opened.token, ADMIN_TOKEN)
    assert session == opened.session
    assert (session.name, session.role) == ("alice", "host")
    assert session.expires_ms == house.now_ms + 12 * 3600 * 1000
    assert opened.token not in repr(opened) and session.csrf not in repr(session)


async def test_every_wrong_pair_is_refused_alike(house: House) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)
    await house.staff.accounts.create("gone", "host", PASSWORD)
    await house.staff.accounts.patch("gone", disabled=True)
    for name, password in (
        ("alice", OTHER),
        ("alice", PASSWORD + " "),
        ("alice", ""),
        ("alice", "\ud800" * 10),
        ("bob", PASSWORD),
        ("gone", PASSWORD),
        ("admin", ADMIN_TOKEN),
        ("Alice", PASSWORD),
        ("x/../staff/alice", PASSWORD),
        ("\ud800", PASSWORD),
    ):
        assert await refused(house.staff.sessions.log_in(name, password))
    assert await house.kept_sessions() == 0


async def test_an_unknown_name_costs_as_much_as_a_wrong_password(house: House) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)

    async def spent(name: str) -> float:
        began = time.process_time()
        for _ in range(3):
            assert await refused(house.staff.sessions.log_in(name, OTHER))
        return time.process_time() - began

    known, unknown = await spent("alice"), await spent("bob")
    assert unknown > known / 3  # without a hash it would be a hundredth


async def test_a_password_is_the_same_however_its_letters_are_composed(house: House) -> None:
    password = unicodedata.normalize("NFD", "naïve façade Škoda")
    await house.staff.accounts.create("alice", "host", password)
    await house.staff.sessions.log_in("alice", unicodedata.normalize("NFC", password))


async def test_a_hash_of_other_days_is_made_anew_and_the_sessions_stay(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:
        then.setattr(passwords, "ARGON2_KIB", 1024)
        earlier = Staff(house.store, lambda: house.now_ms)
    old = await earlier.accounts.create("alice", "host", PASSWORD)
    session = (await earlier.sessions.log_in("alice", PASSWORD)).token
    assert (await house.staff.accounts.get("alice")).password_hash == old.password_hash
    await house.staff.sessions.log_in("alice", PASSWORD)
    assert ",t=2,p=1$" in old.password_hash and "m=1024," in old.password_hash
    assert "m=19456," in (await house.staff.accounts.get("alice")).password_hash
    await house.staff.sessions.log_in("alice", PASSWORD)
    assert await house.is_good(session)


async def test_who_comes_when_too_many_sign_in_is_told_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "HASHES_WAITING", 2)
    await house.staff.accounts.create("alice", "host", PASSWORD)
    logins = [house.staff.sessions.log_in("alice", PASSWORD) for _ in range(7)]
    outcomes = await asyncio.gather(*logins, return_exceptions=True)
    assert sum(isinstance(outcome, Busy) for outcome in outcomes) == 3
    await house.staff.sessions.log_in("alice", PASSWORD)


# -- sessions -------------------------------------------------------------------------------------


async def remade(staff: Staff) -> None:
    await staff.accounts.delete("alice")
    await staff.accounts.create("alice", "host", PASSWORD)


@pytest.mark.parametrize(
    "end",
    [
        lambda staff: staff.accounts.patch("alice", password=OTHER),
        lambda staff: staff.accounts.patch("alice", password=PASSWORD),
        lambda staff: staff.accounts.patch("alice", role="finance"),
        lambda staff: staff.accounts.patch("alice", disabled=True),
        lambda staff: staff.accounts.delete("alice"),
        remade,
    ],
    ids=["password", "same password", "role", "disabled", "deleted", "deleted and made again"],
)
async def test_all_sessions_end_with_what_they_were_opened_with(
    house: House, end: Callable[[Staff], Awaitable[object]]
) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)
    await house.staff.accounts.create("bob", "host", PASSWORD)
    mine = [(await house.staff.sessions.log_in("alice", PASSWORD)).token for _ in range(2)]
    others = (await house.staff.sessions.log_in("bob", PASSWORD)).token
    assert [await house.is_good(session) for session in mine] == [True, True]
    await end(house.staff)
    assert [await house.is_good(session) for session in mine] == [False, False]
    assert await house.is_good(others)


async def test_sessions_that_a_disabled_account_had_do_not_come_back(house: House) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)
    session = (await house.staff.sessions.log_in("alice", PASSWORD)).token
    await house.staff.accounts.patch("alice", disabled=True)
    await house.staff.accounts.patch("alice", disabled=False)
    assert not await house.is_good(session)
    assert await house.is_good((await house.staff.sessions.log_in("alice", PASSWORD)).token)


async def test_the_new_password_counts_and_the_old_one_no_more(house: House) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)
    await house.staff.accounts.patch("alice", password=OTHER)
    assert await refused(house.staff.sessions.log_in("alice", PASSWORD))
    await house.staff.sessions.log_in("alice", OTHER)


async def test_a_login_that_a_changed_password_overtakes_opens_nothing(house: House) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)
    async with asyncio.TaskGroup() as group:
        login = group.create_task(house.staff.sessions.log_in("alice", PASSWORD))
        group.create_task(house.staff.accounts.patch("alice", password=OTHER))
    assert not await house.is_good(login.result().token)


async def test_who_signs_out_ends_this_session_and_no_other(house: House) -> None:
    first, second = [await house.staff.sessions.log_in_admin(ADMIN_TOKEN) for _ in range(2)]
    await house.staff.sessions.log_out(first.token)
    await house.staff.sessions.log_out(first.token)
    await house.staff.sessions.log_out("never was one")
    assert not await house.is_good(first.token)
    assert await house.is_good(second.token)
    assert await house.kept_sessions() == 1


async def test_a_session_ends_by_itself_and_is_swept(house: House) -> None:
    early = await house.staff.sessions.log_in_admin(ADMIN_TOKEN)
    house.now_ms += 1000
    late = await house.staff.sessions.log_in_admin(ADMIN_TOKEN)
    house.now_ms = early.session.expires_ms - 1
    assert await house.is_good(early.token)
    assert await house.staff.sweep() == 0
    house.now_ms += 1
    assert not await house.is_good(early.token)
    assert await house.staff.sweep() == 1
    assert await house.is_good(late.token)
    assert await house.kept_sessions() == 1


async def test_more_expired_sessions_than_one_commit_takes_are_swept(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff_sessions, "SWEPT_AT_ONCE", 2)
    for _ in range(5):
        await house.staff.sessions.log_in_admin(ADMIN_TOKEN)
    house.now_ms += SESSION_MS
    assert await house.staff.sweep() == 5
    assert await house.kept_sessions() == 0


async def test_one_name_has_so_many_sessions_and_the_oldest_makes_room(house: House) -> None:
    opened = []
    for _ in range(SESSIONS_PER_NAME + 2):
        opened.append((await house.staff.sessions.log_in_admin(ADMIN_TOKEN)).token)
        house.now_ms += 1
    good = [await house.is_good(session) for session in opened]
    assert good == [False, False] + [True] * SESSIONS_PER_NAME
    assert await house.kept_sessions() == SESSIONS_PER_NAME


async def test_the_admins_session_is_bound_to_the_admin_token(house: House) -> None:
    opened = await house.staff.sessions.log_in_admin(ADMIN_TOKEN)
    session = await house.staff.sessions.find(opened.token, ADMIN_TOKEN)
    assert session is not None and (session.name, session.role) == ("admin", "admin")
    assert await house.staff.sessions.find(opened.token, "another admin token") is None


# -- API keys -------------------------------------------------------------------------------------


async def test_an_api_key_is_told_once_found_by_its_text_and_deleted_by_its_id(
    house: House,
) -> None:
    key, text = await house.staff.api_keys.create(" the till ", "finance")
    assert text.startswith("hk_") and len(text) == 3 + 43
    assert key.id.startswith("apk_") and (key.label, key.role) == ("the till", "finance")
    assert await house.staff.api_keys.get(text) == key
    assert await house.staff.api_keys.list() == ([key], None)
    with pytest.raises(ApiKeyNotFound):
        await house.staff.api_keys.delete(key.id[:-1])
    await house.staff.api_keys.delete(key.id)
    with pytest.raises(ApiKeyNotFound):
        await house.staff.api_keys.delete(key.id)
    with pytest.raises(Unauthorized):
        await house.staff.api_keys.get(text)
    assert await house.staff.api_keys.list() == ([], None)


async def test_api_keys_are_listed_by_age_in_pages(house: House) -> None:
    for number in range(3):
        await house.staff.api_keys.create(f"key {number}", "host")
        house.now_ms += 1
    first, after = await house.staff.api_keys.list(limit=2)
    second, end = await house.staff.api_keys.list(after=after, limit=2)
    assert [key.label for key in first + second] == ["key 0", "key 1", "key 2"]
    assert end is None


# -- what is kept ---------------------------------------------------------------------------------


async def test_nothing_that_opens_anything_is_in_the_store(house: House) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)
    by_password = await house.staff.sessions.log_in("alice", PASSWORD)
    by_token = await house.staff.sessions.log_in_admin(ADMIN_TOKEN)
    _, key = await house.staff.api_keys.create("the till", "finance")
    sessions = (by_password, by_token)
    secrets = [PASSWORD, ADMIN_TOKEN, key, key[3:]]
    secrets += [each.token for each in sessions] + [each.session.csrf for each in sessions]
    files = list(house.path.parent.iterdir())
    kept = b"".join(file.read_bytes() for file in files)
    assert b"alice" in kept and b"the till" in kept
    assert [secret for secret in secrets if secret.encode() in kept] == []
