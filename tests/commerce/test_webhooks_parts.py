"""The parts of webhooks that know no store: names, waits, and where one may be sent."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import aiohttp
import msgpack
import pytest

from commerce.errors import Invalid
from commerce.transitions import TABLES
from commerce.webhooks.events import EVENTS, STEPS, checked_filters, occurrences, wanted
from commerce.webhooks.retries import (
    JITTER,
    RETRY_AFTER_MAX_MS,
    SCHEDULE_MS,
    Answer,
    next_try_ms,
)
from commerce.webhooks.sending import Sender
from commerce.webhooks.target import GuardedResolver, PrivateAddress, UnusableTarget, checked_url
from mediaserver.egress.restream.address import is_public
from tests.commerce.receiver import receiver


def event(type: str, **data: str) -> bytes:
    return msgpack.packb({"t": type, "id": "evt_1", "ts": 5, "d": data})


def test_every_step_of_an_order_has_a_name_that_is_in_the_table() -> None:
    reached = {
        f"{name}.{target}"
        for name, table in TABLES.items()
        for targets in table.values()
        for target in targets
    }
    assert reached <= set(STEPS)
    assert set(STEPS.values()) <= set(EVENTS)


def test_one_commit_may_be_two_events_with_lasting_ids() -> None:
    body = event("order.updated", order="ord_1", what="state.confirmed payment.paid")
    found = [(each.id, each.type, dict(each.about)) for each in occurrences(body)]
    assert found == [
        ("evt_1", "order.confirmed", {"order": "ord_1"}),
        ("evt_1.1", "payment.succeeded", {"order": "ord_1"}),
    ]
    assert [each.type for each in occurrences(event("order.updated", order="ord_1"))] == [
        "order.updated"
    ]
    assert occurrences(event("secret.thing")) == []


def test_a_filter_is_a_name_a_kind_or_all() -> None:
    assert wanted(["order.created"], "order.created")
    assert wanted(["order.*"], "order.created") and wanted(["*"], "order.created")
    assert not wanted(["order.*", "stock.low"], "stock.changed")
    assert checked_filters(["*", "order.*", "*"]) == ("*", "order.*")
    for wrong in ([], ["order"], ["orders.*"], ["order.paid"], ["*"] * 51, [""], [".*"]):
        with pytest.raises(Invalid):
            checked_filters(wrong)


def test_waits_follow_the_schedule_with_some_jitter_and_end() -> None:
    for attempts in range(1, len(SCHEDULE_MS)):
        least, most = next_try_ms(attempts, 1000, 0.0), next_try_ms(attempts, 1000, 1.0)
        assert least == 1000 + SCHEDULE_MS[attempts]
        assert most == 1000 + round(SCHEDULE_MS[attempts] * (1 + JITTER))
    assert next_try_ms(len(SCHEDULE_MS), 1000, 0.0) is None
    assert Answer(429, "", 10**9).slow_down_ms == RETRY_AFTER_MAX_MS


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://example.com/#part",
        "https://example.com\\@10.0.0.1/",
        "https://example.com:22/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https:///path",
        "https://例子.com/",
        "https://2130706433/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest",
        "https://224.0.0.1/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1%25eth0]/",
        "https://[fc00::1]/",
        "https://[ff02::1]/",
        "https://" + "a" * 500,
    ],
)
async def test_a_url_that_leads_inside_is_refused_when_given_and_when_used(url: str) -> None:
    with pytest.raises(UnusableTarget):
        checked_url(url, allow_private=False, is_public=is_public)
    sender = Sender(allow_private=False, is_public=is_public)
    sender.open()
    answer = await sender.send(url, {}, b"{}")
    await sender.close()
    assert answer.status is None and answer.verdict == "again"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a?b=c",
        "https://erp.example.com:8443/",
        "https://[2600::1]/",
        "https://8.8.8.8",
    ],
)
def test_a_url_of_the_public_internet_is_taken_as_it_is(url: str) -> None:
    assert checked_url(url, allow_private=False, is_public=is_public) == url


def test_a_private_url_is_taken_where_that_is_allowed() -> None:
    for url in ("http://127.0.0.1:80/", "http://erp:81/hook", "https://[::1]/"):
        assert checked_url(url, allow_private=True, is_public=is_public) == url
    with pytest.raises(UnusableTarget):
        checked_url("ftp://erp/", allow_private=True, is_public=is_public)


@pytest.mark.parametrize("inside", ["127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1", "fe80::1%lo"])
async def test_a_name_that_leads_inside_is_not_connected_to(inside: str) -> None:
    async def look_up(host: str, port: int) -> list[str]:
        return [inside]

    async with receiver() as theirs:
        port = theirs.url.split(":")[2].split("/")[0]
        sender = Sender(allow_private=False, is_public=is_public, look_up=look_up)
        sender.open()
        answer = await sender.send(f"https://hooks.example:{port}/", {}, b"{}")
        await sender.close()
        assert theirs.got == []
    assert answer.status is None and "private network" in answer.error


async def test_of_several_addresses_the_public_ones_are_used() -> None:
    async def look_up(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "8.8.8.8", "::1", "2600::1"]

    resolver = GuardedResolver(allow_private=False, is_public=is_public, look_up=look_up)
    found = await resolver.resolve("hooks.example", 443)
    assert [each["host"] for each in found] == ["8.8.8.8", "2600::1"]
    assert all(each["flags"] & socket.AI_NUMERICHOST for each in found)
    with pytest.raises(PrivateAddress):
        await GuardedResolver(
            allow_private=False, is_public=lambda address: False, look_up=look_up
        ).resolve("hooks.example")


async def test_a_name_that_changes_between_check_and_connection_is_asked_once() -> None:
    """127.0.0.1 stands for the public address of theirs, 127.0.0.2 for one inside."""
    answers = ["127.0.0.1", "127.0.0.2"]

    async def look_up(host: str, port: int) -> list[str]:
        return [answers.pop(0)]

    outside = ip_address("127.0.0.1")
    async with receiver() as theirs:
        url = theirs.url.replace("127.0.0.1", "hooks.example")
        resolver = GuardedResolver(
            allow_private=False, is_public=lambda address: address == outside, look_up=look_up
        )
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.post(url, data=b"{}") as reply:
                assert reply.status == 200
            assert theirs.got[0].headers["host"].startswith("hooks.example:")
            assert answers == ["127.0.0.2"]
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.post(url, data=b"{}")
        assert len(theirs.got) == 1
