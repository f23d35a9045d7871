"""Which addresses peers are told, in which order of priority, and that both families work."""

from __future__ import annotations

import logging
import socket
from itertools import pairwise

import pytest

from mediaserver.protocol import sdp_fragment
from mediaserver.protocol.sdp_fragment import Credentials
from mediaserver.rtc import sockets
from mediaserver.rtc.address import customer, plain, shown
from mediaserver.rtc.candidates import OFFERED, candidates, own_addresses
from mediaserver.rtc.transport import Transport
from tests.rtc.house import Received, open_house
from tests.rtc.players import gapless
from tests.rtc.tcp_client import Ipv6Client
from tests.rtc.test_transport import Port, Recorder, check, everything
from tests.virtual_time import until, virtual_time

FOUR, SIX = ["203.0.113.7", "198.51.100.2"], ["2001:db8::7", "2001:db8::8"]


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def test_the_families_take_turns_and_ipv6_comes_first() -> None:
    told = candidates([*FOUR, *SIX, "127.0.0.1"], 8189, tcp=False)
    assert [each.address for each in told] == [*FOUR, *SIX, "127.0.0.1"]
    by_priority = sorted(told, key=lambda each: -each.priority)
    assert [each.address for each in by_priority] == [
        *(SIX[0], FOUR[0], SIX[1], FOUR[1], "127.0.0.1")
    ]


def test_every_address_is_told_for_udp_and_for_tcp_and_tcp_comes_last() -> None:
    told = candidates([*FOUR, *SIX], 8189, tcp=True)
    assert [each.protocol for each in told] == ["udp"] * 4 + ["tcp"] * 4
    assert {each.tcp_type for each in told[4:]} == {"passive"}
    assert min(each.priority for each in told[:4]) > max(each.priority for each in told[4:])
    assert len({each.foundation for each in told}) == 8
    assert len({each.priority for each in told}) == 8
    assert all(0 < each.priority < 1 << 31 for each in told)


def test_a_machine_of_very_many_addresses_tells_some() -> None:
    told = candidates([f"203.0.113.{number}" for number in range(200)], 8189, tcp=True)
    assert len(told) == 2 * OFFERED
    assert all(one.priority > two.priority for one, two in pairwise(told))


def test_no_link_local_address_is_offered_and_loopback_comes_last() -> None:
    found = own_addresses("::")
    assert not [each for each in found if each.startswith(("fe80:", "169.254."))]
    assert "::1" not in found
    assert [each for each in found if ":" not in each] == own_addresses("0.0.0.0")
    if "127.0.0.1" in found:
        assert found.index("127.0.0.1") == max(
            number for number, each in enumerate(found) if each.startswith(("1", "2", "f"))
        )
    assert own_addresses("192.0.2.9") == ["192.0.2.9"]


def test_addresses_are_shown_as_their_owners_know_them() -> None:
    assert shown(("192.0.2.1", 5)) == "192.0.2.1:5"
    assert shown(("::ffff:192.0.2.1", 5, 0, 0)) == "192.0.2.1:5"
    assert shown(("2001:db8::1", 5, 0, 0)) == "[2001:db8::1]:5"
    assert plain("fe80::1%eth0") == "fe80::1"
    assert customer("2001:db8::1") == customer("2001:db8::2") != customer("2001:db8:0:1::1")
    assert customer("::ffff:192.0.2.1") == "192.0.2.1"


@ipv6
@virtual_time
async def test_over_ipv6_a_session_connects_and_channels_carry_messages() -> None:
    async with Port("::1") as port:
        handler = Recorder()
        session, client = await port.call(handler, client=Ipv6Client)
        assert handler.connected is session and session.address is not None
        assert session.address[0] == "::1"
        assert client.srtp is not None


@ipv6
@virtual_time
async def test_one_port_serves_both_families() -> None:
    async with Port("::") as port:
        port.transport.public_addresses = ["127.0.0.1", "::1"]
        four, _ = await port.call(Recorder())
        six, _ = await port.call(Recorder(), client=Ipv6Client)
        assert four.address is not None and six.address is not None
        assert (four.address[0], six.address[0]) == ("::ffff:127.0.0.1", "::1")


@ipv6
@virtual_time
async def test_a_viewer_that_moves_from_ipv4_to_ipv6_misses_nothing() -> None:
    async with open_house(host="::") as house:
        house.transport.public_addresses = ["127.0.0.1"]
        house.publish()
        received = Received()
        client = await house.watch(received)
        await house.play(0.5)
        (session,) = house.transport.sessions.values()
        four = session.address
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as mobile:
            mobile.setblocking(False)
            mobile.connect(("::1", house.transport.port))
            mobile.send(check(session, nominate=True))
            await until(lambda: session.address != four)
            client._tasks[0].cancel()  # its own checks would take it back
            assert session.address is not None and session.address[0] == "::1"
            for _ in range(30):
                await house.play(1 / 30)
                for data in everything(mobile):
                    client.datagram_received(data, None)
        video = house.whep.channels[0].broadcast.video
        assert gapless(received.of(video.ssrc))
        assert received.of(video.ssrc)[-1].sequence == (video.next_index - 1) & 0xFFFF
        assert received.gaps == client.undecryptable == 0


@virtual_time
async def test_an_ice_restart_tells_all_candidates_of_both_families_and_of_tcp() -> None:
    async with Port() as port:
        port.transport.public_addresses = [*FOUR, *SIX]
        session = port.open(Recorder())
        told = port.transport.restart_ice(session, Credentials("user", "p" * 22))
        read = sdp_fragment.parse(sdp_fragment.serialize(told))
        assert list(read.candidates) == port.transport.candidates()
        assert {each.tcp_type for each in read.candidates} == {"", "passive"}


@virtual_time
async def test_a_machine_without_ipv6_starts_with_ipv4_and_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sockets.socket, "AF_INET6", 9999)  # no family of this kernel
    async with Port("::") as port:
        port.transport.public_addresses = ["127.0.0.1"]
        assert len([each for each in caplog.records if "no IPv6" in each.message]) == 1
        session, _ = await port.call(Recorder())
        assert session.address is not None and session.address[0] == "127.0.0.1"


@virtual_time
async def test_where_tcp_is_taken_the_port_is_udp_alone_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        transport = Transport("127.0.0.1", taken.getsockname()[1])
        await transport.start()
        assert [each.protocol for each in transport.candidates()] == ["udp"]
        assert "UDP alone" in caplog.text
        await transport.stop()
