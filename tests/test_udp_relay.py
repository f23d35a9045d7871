"""The bad network itself: what it does comes from its seed alone, and it is bounded."""

from __future__ import annotations

import asyncio
import socket

import pytest

from benchmarks.load import udp_relay
from benchmarks.load.udp_relay import UdpRelay
from tests.rtc.players import udp_socket
from tests.virtual_time import now, until, virtual_time


def everything(sock: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    while True:
        try:
            found.append(sock.recv(2048))
        except BlockingIOError:
            return found


async def through(relay: UdpRelay, server: socket.socket, count: int) -> list[int]:
    """Send numbered datagrams to the relay; the numbers that reach the server, in order."""
    with udp_socket() as client:
        client.connect(("127.0.0.1", relay.port))
        for number in range(count):
            client.send(number.to_bytes(2, "big"))
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
    return [int.from_bytes(data, "big") for data in everything(server)]


@virtual_time
async def test_without_impairments_everything_passes_in_order_both_ways() -> None:
    with udp_socket() as server, udp_socket() as client:
        async with UdpRelay(server.getsockname(), seed=1) as relay:
            assert await through(relay, server, 500) == list(range(500))
            client.connect(("127.0.0.1", relay.port))
            client.send(b"ask")
            await until(lambda: relay.counts_in.passed == 501)
            data, back = server.recvfrom(100)
            server.sendto(data + b"ed", back)
            await until(lambda: relay.counts_out.passed == 1)
            await asyncio.sleep(0)
            assert everything(client) == [b"asked"]


@virtual_time
async def test_a_seed_loses_the_same_datagrams_each_time() -> None:
    survivors = []
    for seed in (5, 5, 6):
        with udp_socket() as server:
            async with UdpRelay(server.getsockname(), seed, loss_in=0.2) as relay:
                survivors.append(await through(relay, server, 500))
                assert relay.counts_in.lost == 500 - len(survivors[-1])
    assert survivors[0] == survivors[1] != survivors[2]
    assert 60 <= 500 - len(survivors[0]) <= 140


@virtual_time
async def test_delay_is_kept_and_does_not_reorder() -> None:
    with udp_socket() as server, udp_socket() as client:
        async with UdpRelay(server.getsockname(), 1, delay_in_s=0.05) as relay:
            client.connect(("127.0.0.1", relay.port))
            sent_at = now()
            for number in range(100):
                client.send(bytes((number,)))
            await until(lambda: relay.counts_in.passed == 100)
            assert everything(server) == []
            await asyncio.sleep(0.05)
            assert now() - sent_at == pytest.approx(0.05)
            assert everything(server) == [bytes((number,)) for number in range(100)]


@virtual_time
async def test_reordered_datagrams_come_later() -> None:
    with udp_socket() as server:
        async with UdpRelay(server.getsockname(), 3, reorder_in=0.1) as relay:
            numbers = await through(relay, server, 300)
            assert sorted(numbers) == list(range(300))
            assert numbers != sorted(numbers)
            assert relay.counts_in.reordered >= 10


@virtual_time
async def test_each_client_has_its_own_address_at_the_server_and_may_move() -> None:
    with udp_socket() as server, udp_socket() as one, udp_socket() as two:
        async with UdpRelay(server.getsockname(), 1) as relay:
            for sock in (one, two, one):
                sock.sendto(b"x", ("127.0.0.1", relay.port))
            await until(lambda: relay.counts_in.passed == 3)
            first, second, third = (server.recvfrom(10)[1] for _ in range(3))
            assert len({first, second, third}) == 2
            await relay.rebind()
            one.sendto(b"x", ("127.0.0.1", relay.port))
            await until(lambda: relay.counts_in.passed == 4)
            assert server.recvfrom(10)[1] not in (first, second)


@virtual_time
async def test_the_filter_is_asked_before_the_dice() -> None:
    with udp_socket() as server:
        relay = UdpRelay(server.getsockname(), 1, passes=lambda direction, data: data[1] % 2 == 0)
        async with relay:
            assert await through(relay, server, 100) == list(range(0, 100, 2))


@virtual_time
async def test_what_it_holds_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_relay, "MAX_IN_FLIGHT", 50)
    monkeypatch.setattr(udp_relay, "MAX_CLIENTS", 2)
    with udp_socket() as server:
        async with UdpRelay(server.getsockname(), 1, delay_in_s=5.0) as relay:
            await through(relay, server, 200)
            assert relay.counts_in.overflowed == 150
            await through(relay, server, 1)
            await through(relay, server, 1)
            assert len(relay.clients) == 2
            assert relay.counts_in.overflowed == 152


@virtual_time
async def test_a_closed_server_is_survived_and_stopping_leaves_no_task() -> None:
    with udp_socket() as server:
        address = server.getsockname()
    before = asyncio.all_tasks()
    async with UdpRelay(address, 1, delay_in_s=0.01) as relay:
        with udp_socket() as client:
            for _ in range(5):
                client.sendto(b"x", ("127.0.0.1", relay.port))
                await asyncio.sleep(0.02)
        assert relay.counts_in.passed == 5
    assert asyncio.all_tasks() == before
