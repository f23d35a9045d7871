"""The compiled sender sends what the one in Python sends, and stops where that one stops."""

from __future__ import annotations

import errno
import random
import socket
import struct
from collections.abc import Iterable, Iterator

import pytest
from aiortc.rtcdtlstransport import SRTPProtectionProfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.rtc import sender
from mediaserver.rtc.address import Address, TcpAddress
from mediaserver.rtc.compiled_carrier import Compiled, Leg, sockaddr
from mediaserver.rtc.sender import Batch, Cohort, OutPacket, Route, Sender, lay_out
from mediaserver.rtc.srtp import Srtp
from tests.rtc.compilers import built
from tests.rtc.players import CM, GCM, VIDEO_TYPE, Player, fresh_keys, gapless, udp_socket
from tests.virtual_time import now, until, virtual_time

SSRC = 0x1234ABCD
SO_NO_CHECK = 11  # asm/socket.h: the kernel then refuses GSO with EINVAL
MESSAGES = 64  # in one sendmmsg of compiled.c
NOBODY_MAY = ("255.255.255.255", 9)  # broadcast, which the socket has not asked for: EACCES


def still() -> float:
    """A clock that stands: however slow the machine, every pass has time enough."""
    return 1000.0


def out_packets(sizes: Iterable[int], first_index: int = 1000) -> list[OutPacket]:
    dice = random.Random(3)
    return [
        OutPacket(index, index & 0xFFFF, dice.randbytes(size), False, False, 0.0, 0.0, False)
        for index, size in enumerate(sizes, first_index)
    ]


@pytest.fixture(scope="module")
def carrier(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return built(tmp_path_factory.mktemp("compiled"))


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


def add(players: list[Player], profile: SRTPProtectionProfile = GCM) -> Player:
    players.append(Player(profile))
    return players[-1]


def route_to(player: Player, first_index: int = 1000, offset: int = 0) -> Route:
    return Route(player.srtp, player.address, first_index, offset)


class Wire:
    """A connection over TCP that keeps what it is given."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []

    def transmit(self, data: bytes) -> bool:
        self.datagrams.append(data)
        return True

    def close(self) -> None: ...


# -- the bytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first_index", [901, 0xFFF8, 3 * 0x10000 + 5, 3 * 0x10000 - 4])
@pytest.mark.parametrize("offset", [0, 1, 0x10000 - 0xFFF0, -900])
def test_it_makes_the_bytes_that_libsrtp_makes(
    first_index: int, offset: int, carrier: Compiled, players: list[Player], sock: socket.socket
) -> None:
    player = add(players)
    packets = out_packets([1188, 1188, 700, *[1188] * 30, 1, 1300], first_index)
    route = route_to(player, first_index, offset)
    batches = Sender(sock, still, carrier)
    batches.submit(lay_out(packets, VIDEO_TYPE, SSRC), [route])
    expected = [
        player.srtp.outbound.protect(each.header(VIDEO_TYPE, SSRC, offset) + each.payload)
        for each in packets
    ]
    assert len(expected) == batches.packets
    assert player.datagrams() == expected


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 1400), min_size=1, max_size=150),
    st.integers(0, 1 << 40),
    st.integers(-(1 << 20), 1 << 33),
)
def test_whatever_is_sent_both_send_the_same(
    carrier: Compiled, sizes: list[int], first_index: int, offset: int
) -> None:
    offset = max(offset, -first_index)
    srtp = Srtp(fresh_keys(GCM))
    runs = lay_out(out_packets(sizes, first_index), VIDEO_TYPE, SSRC)
    arrived = []
    with udp_socket() as sock, udp_socket() as viewer:
        for each in (None, carrier):
            route = Route(srtp, viewer.getsockname(), first_index, offset)
            batches = Sender(sock, still, each)
            batches.submit(runs, [route])
            arrived.append([viewer.recv(2048) for _ in sizes])
            assert (batches.packets, batches.errors) == (len(sizes), 0)
            assert batches.octets == sum(map(len, arrived[-1]))
    assert arrived[0] == arrived[1]


def test_viewers_of_every_kind_in_one_batch_get_all_of_it(
    carrier: Compiled, players: list[Player], sock: socket.socket
) -> None:
    kinds = [GCM, CM, GCM, CM, CM, GCM, GCM]
    everyone = [add(players, kind) for kind in kinds]
    wire, over_tcp = Wire(), add(players)
    connected = TcpAddress("192.0.2.1", 5, wire)
    routes = [
        *[route_to(each, offset=70 * number) for number, each in enumerate(everyone)],
        Route(over_tcp.srtp, connected, 1000),
    ]
    batches = Sender(sock, still, carrier)
    sizes = [1188] * 20 + [300]
    for turn in range(len(routes)):
        packets = out_packets(sizes, 1000 + turn * len(sizes))
        batches.submit(lay_out(packets, VIDEO_TYPE, SSRC), routes)
    for player in everyone:
        assert len(player.take()) == len(routes) * len(sizes)
        assert gapless(player.video) and not player.failed
    assert len(wire.datagrams) == len(routes) * len(sizes)
    assert batches.packets == len(routes) * len(routes) * len(sizes)
    assert batches.errors == batches.gso_fallbacks == 0


def test_ipv6_and_mapped_ipv4_are_reached_by_one_socket(carrier: Compiled) -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as both,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six,
        udp_socket() as four,
    ):
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            both.bind(("::", 0))
            six.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"no IPv6: {error}")
        six.settimeout(1)
        addresses = [six.getsockname(), ("::ffff:127.0.0.1", four.getsockname()[1], 0, 0)]
        routes = [Route(Srtp(fresh_keys(GCM)), each, 1000) for each in addresses]
        batches = Sender(both, still, carrier)
        batches.submit(lay_out(out_packets([500] * 3), VIDEO_TYPE, SSRC), routes)
        assert batches.errors == 0
        assert len([six.recv(2048) for _ in range(3)]) == len([four.recv(2048) for _ in range(3)])


def test_an_address_is_as_the_kernel_has_it() -> None:
    assert sockaddr(("192.0.2.7", 0x1234)) == (
        struct.pack("=H", socket.AF_INET) + bytes((0x12, 0x34, 192, 0, 2, 7)) + bytes(8)
    )
    link_local = sockaddr(("fe80::1%eth0", 443, 0, 3))
    assert link_local[:4] == struct.pack("=H", socket.AF_INET6) + bytes((1, 187))
    assert link_local[8:24] == socket.inet_pton(socket.AF_INET6, "fe80::1")
    assert link_local[24:] == struct.pack("=I", 3)


def test_a_viewer_moves_to_another_address_to_tcp_and_back(
    carrier: Compiled, players: list[Player], sock: socket.socket
) -> None:
    player, elsewhere, wire = add(players), add(players), Wire()
    route = route_to(player)
    batches = Sender(sock, still, carrier)
    cohort = Cohort([route])  # laid out for C once, whatever becomes of the address
    stops: list[Address] = [elsewhere.address, TcpAddress("192.0.2.1", 5, wire), player.address]
    for number, address in enumerate([player.address, *stops]):
        route.move(address)
        packets = out_packets([1188] * 2, 1000 + 2 * number)
        batches.submit(lay_out(packets, VIDEO_TYPE, SSRC), cohort)
    assert [len(player.datagrams()), len(elsewhere.datagrams()), len(wire.datagrams)] == [4, 2, 2]


# -- what can go wrong ---------------------------------------------------------------------------


def test_the_kernels_refusal_of_gso_is_survived(
    carrier: Compiled, players: list[Player], sock: socket.socket
) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    player, other = add(players), add(players)
    routes = [route_to(player), route_to(other, offset=5)]
    batches = Sender(sock, still, carrier)
    for number in range(2):
        packets = out_packets([1188] * 16 + [10] * 3, 1000 + 19 * number)
        batches.submit(lay_out(packets, VIDEO_TYPE, SSRC), routes)
    assert (batches.gso_fallbacks, batches.errors) == (2, 0)
    assert not routes[0].gso and not routes[1].gso
    for each in (player, other):
        assert len(each.take()) == 38 and gapless(each.video)
        assert each.doubled == each.failed == 0


def test_an_unreachable_viewer_costs_the_others_nothing(
    carrier: Compiled, players: list[Player], sock: socket.socket
) -> None:
    everyone = [add(players) for _ in range(40)]
    routes = [route_to(each) for each in everyone]
    lost = {0, 7, 8, 39}
    for number in lost:
        routes[number].move(NOBODY_MAY)
    batches = Sender(sock, still, carrier)
    batches.submit(lay_out(out_packets([1188] * 16 + [9] * 2), VIDEO_TYPE, SSRC), routes)
    assert batches.errors == len(lost)
    assert batches.packets == 36 * 18
    for number, player in enumerate(everyone):
        assert len(player.take()) == (0 if number in lost else 18)


class Pipe:
    """A Unix socket that a leg may lead to: unlike UDP on loopback it is full when it is not read."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name)
        self.socket.setblocking(False)
        self.address = struct.pack("=H", socket.AF_UNIX) + b"\0" + name.encode()

    def lead(self, carrier: Compiled, route: Route) -> None:
        leg = carrier._leg(route)
        leg.address[: len(self.address)] = self.address
        leg.address_bytes = len(self.address)

    def read(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(1 << 16))
            except BlockingIOError:
                return found


@pytest.mark.parametrize("gso", [True, False])
@virtual_time
async def test_a_full_socket_parks_the_batch_and_it_goes_on_where_it_stood(
    gso: bool, carrier: Compiled
) -> None:
    pipes = [Pipe(f"hawker-{random.randbytes(6).hex()}") for _ in range(6)]
    players = [Player(GCM) for _ in pipes]
    routes = [route_to(each, offset=9 * number) for number, each in enumerate(players)]
    for pipe, route in zip(pipes, routes, strict=True):
        route.gso = gso
        pipe.lead(carrier, route)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        batches = Sender(sock, now, carrier)
        packets = out_packets([1188] * 9)
        batches.submit(lay_out(packets, VIDEO_TYPE, SSRC), routes)
        assert batches.parked == 1
        assert 0 < batches.packets + 9 < 6 * 9
        arrived: list[list[bytes]] = [[] for _ in pipes]

        def all_sent() -> bool:
            for number, pipe in enumerate(pipes):
                arrived[number] += pipe.read()
            return batches.packets == 6 * 9

        await until(all_sent)
        all_sent()
        assert batches.errors == 0
        batches.close()
    for number, (player, datagrams) in enumerate(zip(players, arrived, strict=True)):
        expected = [
            player.srtp.outbound.protect(each.header(VIDEO_TYPE, SSRC, 9 * number) + each.payload)
            for each in packets
        ]
        assert b"".join(datagrams) == b"".join(expected)  # none left out, none twice
        player.close()
    for pipe in pipes:
        pipe.socket.close()


def test_a_route_that_is_not_its_own_is_left_to_python(
    carrier: Compiled, players: list[Player], sock: socket.socket
) -> None:
    theirs, other = add(players, CM), add(players)
    runs = lay_out(out_packets([1188] * 4), VIDEO_TYPE, SSRC)
    batch = Batch(runs, [route_to(other), route_to(theirs)], 0, 0.0)
    assert carrier.send(batch, sock.fileno(), 1.0) == sender.NOT_OURS
    assert batch.done == 1
    closed = Batch(runs, [route_to(other)], 0, 0.0)
    assert carrier.send(closed, -1, 1.0) == errno.EBADF
    assert closed.done == 0


# -- whose turn it is ----------------------------------------------------------------------------


class SteppedClock:
    """A clock that goes on by `step_s` at every look."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.at = 100.0

    def __call__(self) -> float:
        self.at += self.step_s
        return self.at


async def test_the_loop_gets_its_turn_while_a_batch_goes_to_a_thousand_viewers(
    carrier: Compiled, players: list[Player], sock: socket.socket
) -> None:
    """Every look at the clock says that the pass is over: each serves one sendmmsg then."""
    keys = [add(players) for _ in range(3)]
    batches = Sender(sock, SteppedClock(sender.SLICE_S * 1.1), carrier)
    routes = [route_to(keys[number % 3]) for number in range(1000)]
    batches.submit(lay_out(out_packets([20]), VIDEO_TYPE, SSRC), routes)
    assert batches.packets == MESSAGES
    assert await until(lambda: batches.packets == 1000) == 1000 // MESSAGES


def test_a_cipher_goes_with_its_session(carrier: Compiled, sock: socket.socket) -> None:
    freed: list[int] = []
    for _ in range(50):
        srtp = Srtp(fresh_keys(GCM))
        route = Route(srtp, sock.getsockname(), 1000)
        carrier._leg(route)
        resumed = route.resumed(2000, 1500)
        carrier._leg(resumed)
        assert isinstance(route.leg, Leg) and isinstance(resumed.leg, Leg)
        assert route.leg.cipher == resumed.leg.cipher  # one key, one context
        freed.append(route.leg.cipher)
        del srtp, route, resumed
    assert len(set(freed)) < 50  # their memory is had again
