"""The batch sender: the same bytes as libsrtp's, runs that the kernel takes, and who waits for whom."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from aiortc.rtcdtlstransport import SRTPProtectionProfile
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.protocol import rtp
from mediaserver.rtc import sender
from mediaserver.rtc.sender import (
    GSO_BYTES,
    GSO_SEGMENTS,
    HEADER_BYTES,
    TAG_BYTES,
    OutPacket,
    Route,
    Sender,
    lay_out,
)
from mediaserver.rtc.srtp import Srtp
from tests.rtc.players import (
    CM,
    GCM,
    VIDEO_TYPE,
    Player,
    fresh_keys,
    gapless,
    sequences,
    udp_socket,
)
from tests.virtual_time import VirtualLoop, now, until, virtual_time

SSRC = 0x1234ABCD
SO_NO_CHECK = 11  # asm/socket.h: the kernel then refuses GSO with EINVAL


def still() -> float:
    """A clock that stands: however slow the machine, every pass has time enough."""
    return 1000.0


def out_packets(sizes: Iterable[int], first_index: int = 1000) -> list[OutPacket]:
    dice = random.Random(3)
    return [
        OutPacket(index, 90_000 + index, dice.randbytes(size), False, False, 0.0, 0.0, False)
        for index, size in enumerate(sizes, first_index)
    ]


class Faulty(socket.socket):
    """A real socket on which chosen sends fail: `faults` holds an errno or 0 for each send to come."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.setblocking(False)
        self.faults: Iterator[int] = iter(())
        self.gso_fault = 0
        self.batched = 0  # sends of more than one segment that passed
        self.plain = 0

    def sendto(self, data: object, address: object) -> int:  # type: ignore[override]
        self._fail(next(self.faults, 0))
        self.plain += 1
        return super().sendto(data, address)  # type: ignore[call-overload,no-any-return]

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None):  # type: ignore[no-untyped-def]
        self._fail(next(self.faults, 0))
        if ancdata:
            self._fail(self.gso_fault)
            self.batched += 1
        else:
            self.plain += 1
        return super().sendmsg(buffers, ancdata, flags, address)

    def _fail(self, number: int) -> None:
        if number:
            raise OSError(number, "injected")


@pytest.fixture
def players() -> Iterator[list[Player]]:
    """Whom a test adds here is closed at its end."""
    made: list[Player] = []
    yield made
    for player in made:
        player.close()


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with udp_socket() as made:
        yield made


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with Faulty() as made:
        yield made


def add(players: list[Player], profile: SRTPProtectionProfile = GCM) -> Player:
    players.append(Player(profile))
    return players[-1]


def route_to(player: Player, first_index: int = 1000, offset: int = 0) -> Route:
    return Route(player.srtp, player.address, first_index, offset)


# -- the bytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first_index", [1, 0xFFF8, 3 * 0x10000 + 5])
def test_shared_headers_make_the_bytes_that_libsrtp_makes(
    first_index: int, players: list[Player], sock: socket.socket
) -> None:
    player = add(players)
    packets = out_packets([1188, 1188, 700, *[1188] * 13], first_index)
    Sender(sock, still).submit(
        lay_out(packets, VIDEO_TYPE, SSRC), [route_to(player, first_index & ~0xFFFF)]
    )
    theirs = player.srtp.outbound  # libsrtp with the same keys, fed the same packets
    expected = [theirs.protect(each.header(VIDEO_TYPE, SSRC) + each.payload) for each in packets]
    assert player.datagrams() == expected


def test_a_viewer_with_an_offset_gets_the_bytes_that_libsrtp_makes_of_its_own_numbers(
    players: list[Player], sock: socket.socket
) -> None:
    shared, own = add(players), add(players)
    packets = out_packets([1188] * 30, 0xFFF0)
    offset = 0x10000 - 0xFFF0
    routes = [route_to(shared, 0xFFF0), route_to(own, 0xFFF0, offset), route_to(add(players))]
    Sender(sock, still).submit(lay_out(packets, VIDEO_TYPE, SSRC), routes)
    expected = [
        own.srtp.outbound.protect(each.header(VIDEO_TYPE, SSRC, offset) + each.payload)
        for each in packets
    ]
    assert own.datagrams() == expected
    assert gapless(shared.take()) and len(shared.video) == 30  # headers were put back
    assert gapless(players[2].take()) and len(players[2].video) == 30


def test_viewers_by_gcm_and_by_aes_cm_read_the_same_packets(
    players: list[Player], sock: socket.socket
) -> None:
    everyone = [add(players), add(players, CM), add(players), add(players, CM)]
    packets = out_packets([1188] * 20 + [300])
    Sender(sock, still).submit(
        lay_out(packets, VIDEO_TYPE, SSRC), [route_to(each) for each in everyone]
    )
    for player in everyone:
        assert [each.payload for each in player.take()] == [each.payload for each in packets]
        assert sequences(player.video) == [each.index & 0xFFFF for each in packets]
        assert player.failed == 0


@pytest.mark.parametrize("profile", [GCM, CM])
@pytest.mark.parametrize("offset", [0, 700])
def test_a_retransmission_is_the_very_same_datagram(
    profile: SRTPProtectionProfile, offset: int, players: list[Player], sock: socket.socket
) -> None:
    player = add(players, profile)
    route = route_to(player, 1000, offset)
    packets = out_packets([1188] * 40)
    batches = Sender(sock, still)
    batches.submit(lay_out(packets, VIDEO_TYPE, SSRC), [route])
    first = player.datagrams()
    assert all(batches.send_one(each, VIDEO_TYPE, SSRC, route) for each in reversed(packets))
    assert player.datagrams() == first[::-1]


def test_an_index_too_old_for_libsrtp_is_refused_and_counted(
    players: list[Player], sock: socket.socket
) -> None:
    player = add(players, CM)
    route = route_to(player, 1)
    batches = Sender(sock, still)
    old, *_, _ = packets = out_packets([20] * 6000, 1)
    for first in range(0, len(packets), 50):
        batches.submit(lay_out(packets[first : first + 50], VIDEO_TYPE, SSRC), [route])
    assert not batches.send_one(old, VIDEO_TYPE, SSRC, route)
    assert batches.errors == 1


def test_a_moved_viewer_gets_the_rest_at_its_new_address(
    players: list[Player], sock: socket.socket
) -> None:
    player, elsewhere = add(players), add(players)
    route = route_to(player)
    batches = Sender(sock, still)
    packets = out_packets([1188] * 4)
    batches.submit(lay_out(packets[:2], VIDEO_TYPE, SSRC), [route])
    route.address = elsewhere.address
    batches.submit(lay_out(packets[2:], VIDEO_TYPE, SSRC), [route])
    assert len(player.datagrams()) == 2
    assert len(elsewhere.datagrams()) == 2


# -- the layout of runs --------------------------------------------------------------------------


@given(st.lists(st.integers(1, 1500), min_size=1, max_size=200))
def test_runs_are_what_the_kernel_takes(sizes: list[int]) -> None:
    packets = out_packets(sizes)
    runs = lay_out(packets, VIDEO_TYPE, SSRC)
    for run in runs:
        run.open()
        lengths = [len(segment) for segment in run.segments]
        assert all(length == lengths[0] for length in lengths[:-1])
        assert lengths[-1] <= lengths[0]
        assert len(lengths) <= GSO_SEGMENTS
        assert len(run.view) == sum(lengths) <= GSO_BYTES
        assert (not run.ancillary) == (len(lengths) == 1)
    laid_out = [segment[:HEADER_BYTES].tobytes() for run in runs for segment in run.segments]
    assert laid_out == [each.header(VIDEO_TYPE, SSRC) for each in packets]
    assert [len(out) for run in runs for out in run.outs] == [n + TAG_BYTES for n in sizes]


def test_packets_of_one_size_leave_by_one_send_and_a_lone_packet_plainly(
    players: list[Player], faulty: Faulty
) -> None:
    player = add(players)
    route = route_to(player)
    batches = Sender(faulty, still)
    batches.submit(lay_out(out_packets([1188] * 16), VIDEO_TYPE, SSRC), [route])
    assert (faulty.batched, faulty.plain) == (1, 0)
    batches.submit(lay_out(out_packets([160], 2000), VIDEO_TYPE, SSRC), [route])
    assert (faulty.batched, faulty.plain) == (1, 1)
    assert len(player.take()) == 17


def test_the_largest_run_passes_the_kernel(players: list[Player], sock: socket.socket) -> None:
    player = add(players)
    payload = 1216 - HEADER_BYTES - TAG_BYTES
    runs = lay_out(out_packets([payload] * 60), VIDEO_TYPE, SSRC)
    assert [run.count for run in runs] == [53, 7]
    batches = Sender(sock, still)
    batches.submit(runs, [route_to(player)])
    assert batches.errors == batches.gso_fallbacks == 0
    assert len(player.take()) == 60


def test_the_marker_and_padding_bits_reach_the_player(
    players: list[Player], sock: socket.socket
) -> None:
    player = add(players)
    last = OutPacket(1001, 5, b"end", True, False, 0.0, 0.0, False)
    padded = OutPacket(1000, 5, b"data" + bytes((0, 0, 3)), False, True, 0.0, 0.0, True)
    Sender(sock, still).submit(lay_out([padded, last], VIDEO_TYPE, SSRC), [route_to(player)])
    first, second = player.take()
    assert (first.payload, first.marker) == (b"data", False)
    assert (second.payload, second.marker) == (b"end", True)


# -- what can go wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
def test_a_route_that_cannot_do_gso_falls_back_to_plain_sends(
    number: int, players: list[Player], faulty: Faulty
) -> None:
    player, other = add(players), add(players)
    faulty.gso_fault = number
    batches = Sender(faulty, still)
    routes = [route_to(player), route_to(other)]
    packets = out_packets([1188] * 32)
    batches.submit(lay_out(packets[:16], VIDEO_TYPE, SSRC), routes[:1])
    faulty.gso_fault = 0
    batches.submit(lay_out(packets[16:], VIDEO_TYPE, SSRC), routes)
    assert batches.gso_fallbacks == 1
    assert batches.errors == 0
    assert not routes[0].gso
    assert routes[1].gso  # each route for itself
    assert len(player.take()) == 32 and gapless(player.video)
    assert len(other.take()) == 16
    assert faulty.batched == 1


@pytest.mark.skipif(not hasattr(socket, "SO_PROTOCOL"), reason="Linux")
def test_the_kernels_own_refusal_of_gso_is_survived(
    players: list[Player], sock: socket.socket
) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    player = add(players)
    route = route_to(player)
    batches = Sender(sock, still)
    batches.submit(lay_out(out_packets([1188] * 16), VIDEO_TYPE, SSRC), [route])
    assert (batches.gso_fallbacks, batches.errors, route.gso) == (1, 0, False)
    assert len(player.take()) == 16 and gapless(player.video)


def test_an_unreachable_viewer_costs_the_others_nothing(
    players: list[Player], faulty: Faulty
) -> None:
    lost, player = add(players), add(players)
    faulty.faults = iter([0, errno.ENETUNREACH])
    batches = Sender(faulty, still)
    runs = lay_out(out_packets([1188] * 16), VIDEO_TYPE, SSRC)
    batches.submit(runs, [route_to(player), route_to(lost), route_to(player, 0x10000)])
    assert batches.errors == 1
    assert len(lost.datagrams()) + len(player.datagrams()) == 32
    assert batches.packets == 48 - 16


@pytest.mark.parametrize("profile", [GCM, CM])
@pytest.mark.parametrize("gso", [True, False])
@virtual_time
async def test_a_full_socket_parks_the_batch_and_it_goes_on_where_it_stood(
    profile: SRTPProtectionProfile, gso: bool, players: list[Player], faulty: Faulty
) -> None:
    everyone = [add(players, profile) for _ in range(5)]
    faulty.gso_fault = 0 if gso else errno.EIO
    sends_each = 1 if gso and profile is GCM else 16
    faulty.faults = iter([0] * (sends_each * 2 + sends_each // 2) + [errno.EAGAIN] * 3)
    batches = Sender(faulty, now)
    routes = [route_to(each) for each in everyone]
    if not gso:
        for route in routes:
            route.gso = False
    packets = out_packets([1188] * 32)
    batches.submit(lay_out(packets[:16], VIDEO_TYPE, SSRC), routes)
    batches.submit(lay_out(packets[16:], VIDEO_TYPE, SSRC), routes)
    assert batches.parked == 1
    assert sum(len(each.take()) for each in everyone) == 16 * 2 + (0 if sends_each == 1 else 8)
    await until(lambda: batches.packets == 5 * 32)
    for each in everyone:
        each.take()
        assert len(each.video) == 32 and gapless(each.video)
        assert each.doubled == each.failed == 0
    assert batches.parked == 3
    batches.close()


@virtual_time
async def test_who_comes_first_changes_with_every_batch(
    players: list[Player], faulty: Faulty
) -> None:
    everyone = [add(players) for _ in range(4)]
    routes = [route_to(each) for each in everyone]
    batches = Sender(faulty, now)
    first_served: list[int] = []
    for number in range(8):
        faulty.faults = iter([0, errno.EAGAIN])
        runs = lay_out(out_packets([500], 1000 + number), VIDEO_TYPE, SSRC)
        batches.submit(runs, routes)
        first_served += [index for index, each in enumerate(everyone) if each.datagrams()]
        await until(lambda: not batches._backlog)
        for each in everyone:
            each.datagrams()
    assert sorted(first_served) == [0, 0, 1, 1, 2, 2, 3, 3]


@virtual_time
async def test_a_socket_that_never_drains_costs_no_memory(
    players: list[Player], faulty: Faulty
) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    player = add(players)
    faulty.faults = iter([errno.EAGAIN] * 1000)
    batches = Sender(faulty, now)
    route = route_to(player)
    for number in range(1000):
        runs = lay_out(out_packets([1188], 1000 + number), VIDEO_TYPE, SSRC)
        batches.submit(runs, [route])
        loop.jump(0.01)
    assert len(batches._backlog) <= 1 + sender.BACKLOG_S / 0.01 + 1
    assert batches.late_batches >= 970
    faulty.faults = iter(())
    await until(lambda: not batches._backlog)
    arrived = sequences(player.take())
    assert arrived[0] == 1000  # the batch that was begun
    assert arrived[1:] == list(range(2000 - len(arrived) + 1, 2000))  # and what is still live


class SteppedClock:
    """A clock that goes on by `step_s` at every look, as if the work in between took that long."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.at = 100.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        self.at += self.step_s
        return self.at


async def test_the_loop_gets_its_turn_while_a_batch_goes_to_a_thousand_viewers(
    players: list[Player], sock: socket.socket
) -> None:
    """Every look at the clock says that the pass is over: each serves CHECK_PACKETS then."""
    player = add(players)
    batches = Sender(sock, SteppedClock(sender.SLICE_S * 1.1))
    keys = [Player(GCM) for _ in range(3)]
    players += keys
    routes = [route_to(keys[number % 3]) for number in range(1000)]
    batches.submit(lay_out(out_packets([20]), VIDEO_TYPE, SSRC), routes)
    served = [batches.packets]

    def all_served() -> bool:
        served.append(batches.packets)
        return served[-1] == 1000

    turns = await until(all_served)
    steps = [after - before for before, after in pairwise(served)]
    assert steps[1:-1] == [sender.CHECK_PACKETS] * (1000 // sender.CHECK_PACKETS - 1)
    assert turns == 1000 // sender.CHECK_PACKETS
    assert player.datagrams() == []


async def test_the_loop_gets_its_turn_between_many_small_batches(
    players: list[Player], faulty: Faulty
) -> None:
    player = add(players)
    batches = Sender(faulty, SteppedClock(sender.PASS_S / 4))
    faulty.faults = iter([errno.EAGAIN])
    route = route_to(player)
    for number in range(100):
        runs = lay_out(out_packets([20], 1000 + number), VIDEO_TYPE, SSRC)
        batches.submit(runs, [route])
    assert await until(lambda: not batches._backlog) >= 10
    assert gapless(player.take())
    assert len(player.video) + batches.late_batches == 100


async def test_slow_routes_are_looked_at_one_by_one(
    players: list[Player], sock: socket.socket
) -> None:
    player = add(players, CM)
    batches = Sender(sock, SteppedClock(sender.SLICE_S * 1.1))
    keys = [fresh_keys(CM) for _ in range(10)]
    routes = [Route(Srtp(each), player.address, 1000) for each in keys]
    batches.submit(lay_out(out_packets([1188] * 16), VIDEO_TYPE, SSRC), routes)
    assert batches.packets == 16
    assert await until(lambda: batches.packets == 160) == 9


class BusyClock:
    """One that another task moves; each look costs the sender a quarter of a slice."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        self.at += sender.SLICE_S / 4
        return self.at


@pytest.mark.parametrize("held_s", [0.01, 0.04])
async def test_a_loop_held_by_other_work_has_its_backlog_worked_off_before_it_gets_old(
    held_s: float, players: list[Player], sock: socket.socket
) -> None:
    """Other work holds the loop between any two passes, and 40 batches wait, most of a slice each."""
    clock = BusyClock()
    batches = Sender(sock, clock)
    route = route_to(add(players))
    longest = 0.0
    began: list[float] = []
    whole_pass = batches._pass

    def timed_pass() -> None:
        nonlocal longest
        began.append(clock.at)
        whole_pass()
        longest = max(longest, clock.at - began[-1])

    batches._pass = timed_pass  # type: ignore[method-assign]
    batches._yield()
    for number in range(40):
        batches.submit(lay_out(out_packets([20], 1000 + number), VIDEO_TYPE, SSRC), [route] * 64)
    while batches._backlog:
        clock.at += held_s
        await asyncio.sleep(0)
    assert batches.packets + 64 * batches.late_batches == 40 * 64
    assert batches.late_batches == 0
    assert longest < sender.LATE_SLICE_S + sender.SLICE_S


@pytest.mark.parametrize("stall_s", [sender.BUSY_BACKLOG_S * 0.9, sender.BUSY_BACKLOG_S * 1.1])
async def test_what_waited_because_the_machine_stood_still_is_sent_unless_it_is_too_old(
    stall_s: float, players: list[Player], sock: socket.socket
) -> None:
    clock = BusyClock()
    batches = Sender(sock, clock)
    route = route_to(add(players))
    batches._yield()
    for number in range(4):
        runs = lay_out(out_packets([20], 1000 + number), VIDEO_TYPE, SSRC)
        batches.submit(runs, [route])
    clock.at += stall_s
    await until(lambda: not batches._backlog)
    assert batches.late_batches == (0 if stall_s < sender.BUSY_BACKLOG_S else 4)


def test_rtp_that_the_sender_makes_parses_back() -> None:
    for packet in out_packets([1, 500, 1188]):
        parsed = rtp.parse(packet.header(VIDEO_TYPE, SSRC) + packet.payload)
        assert (parsed.sequence, parsed.timestamp, parsed.ssrc, parsed.payload) == (
            packet.index,
            packet.timestamp,
            SSRC,
            packet.payload,
        )
