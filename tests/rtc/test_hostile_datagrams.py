"""Anything at all on the open port while a stream plays: the stream goes on and nothing is lost.

Time is virtual, so what a flood costs in CPU does not show here; that it is dropped early and leaves
nothing behind does.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.protocol import rtcp, stun
from mediaserver.rtc.session import Session
from mediaserver.rtc.srtp import MAX_SSRCS, Srtp
from tests.rtc.house import House, Received, open_house
from tests.rtc.players import fresh_keys, gapless, udp_socket
from tests.virtual_time import virtual_time

FLOOD = 50_000
AT_ONCE = 64  # the kernel's queue must hold what is sent between two turns of the loop


@dataclass
class Show:
    """A stream with one viewer that is watching it."""

    house: House
    client: WebRtcClient
    received: Received
    session: Session

    @property
    def port(self) -> tuple[str, int]:
        return "127.0.0.1", self.house.transport.port

    async def goes_on(self) -> None:
        """A second of the stream reaches the viewer whole, on the same session, without mending."""
        before = len(self.received.packets)
        await self.house.play(1.0)
        video = self.house.whep.channels[0].broadcast.video
        assert len(self.received.packets) - before > 100
        assert gapless(self.received.of(video.ssrc))
        assert self.received.of(video.ssrc)[-1].sequence == (video.next_index - 1) & 0xFFFF
        assert self.received.gaps == 0
        assert self.client.undecryptable == 0
        assert self.client.nacked == 0
        assert self.house.transport.sessions == {self.session.id: self.session}
        assert not self.client.closed.done()

    async def suffer(
        self, sock: socket.socket | None, datagrams: Iterable[bytes], *, playing: bool = True
    ) -> None:
        """Send datagrams to the port: from `sock`, or where that is None, as the viewer itself."""

        def send(data: bytes) -> None:
            if sock is None:
                assert self.client._transport is not None
                if data:  # asyncio's sendto has no empty datagrams
                    self.client._transport.sendto(data)
                else:
                    self.client._transport.get_extra_info("socket")._sock.send(b"")
            else:
                sock.sendto(data, self.port)

        for number, data in enumerate(datagrams):
            send(data)
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
                if playing and number % (AT_ONCE * 16) == AT_ONCE * 16 - 1:
                    self.house.show()
                    await asyncio.sleep(1 / 30)
        await asyncio.sleep(0)


@asynccontextmanager
async def showing() -> AsyncIterator[Show]:
    async with open_house() as house:
        house.publish()
        received = Received()
        client = await house.watch(received, data=True)
        await house.play(0.5)
        (session,) = house.transport.sessions.values()
        yield Show(house, client, received, session)


def junk(seed: int = 1, count: int = 2000) -> Iterable[bytes]:
    dice = random.Random(seed)
    return (dice.randbytes(dice.choice((1, 2, 12, 13, 20, 60, 400, 1400))) for _ in range(count))


def every_first_byte() -> Iterable[bytes]:
    dice = random.Random(2)
    return [
        bytes((first,)) + dice.randbytes(size)
        for first in range(256)
        for size in (0, 1, 11, 12, 19, 40, 1000, 1499)
    ]


def lengths() -> Iterable[bytes]:
    return [b"", *(b"\x80" * size for size in (1, 1499, 1500, 1501, 2000, 9000, 60_000)), b""]


def forged_stun(session: Session) -> list[bytes]:
    """Checks for this session that lie about something."""
    good = stun.binding_request(
        secrets.token_bytes(12),
        f"{session.ufrag}:x",
        session.password.encode(),
        1,
        2,
        use_candidate=True,
    )
    wrong_key = stun.binding_request(
        secrets.token_bytes(12), f"{session.ufrag}:x", b"guess", 1, 2, use_candidate=True
    )
    signed = len(good) - stun.FINGERPRINT_BYTES  # what stands behind it proves nothing
    lying = [
        good[: offset + 2] + length + good[offset + 4 :]
        for offset in range(18, signed - 3)  # attribute lengths that point anywhere
        for length in (b"\xff\xff", b"\0\0", b"\0\x01", b"\0\x0d")
    ]
    flipped = [
        good[:offset] + bytes((good[offset] ^ 0x40,)) + good[offset + 1 :]
        for offset in range(signed)
    ]
    truncated = [good[:size] for size in range(len(good))]
    adjusted = [
        good[:2] + (size - 20).to_bytes(2, "big") + good[4:size] for size in range(20, signed, 4)
    ]
    forged = [wrong_key, *lying, *flipped, *truncated, *adjusted]
    return [data for data in forged if data != good]


def forged_dtls() -> list[bytes]:
    """Records of every kind, both epochs, with lengths that are right and wrong."""
    dice = random.Random(4)
    records = []
    for kind in (20, 21, 22, 23, 24, 25, 63):
        for epoch in (0, 1, 2):
            for claimed, real in ((0, 0), (2, 2), (40, 40), (40, 3), (0xFFFF, 50), (1400, 1400)):
                header = bytes((kind, 0xFE, 0xFD)) + epoch.to_bytes(2, "big")
                header += dice.randbytes(6) + claimed.to_bytes(2, "big")
                records.append((header + dice.randbytes(real))[:1500])
    fatal_alert = bytes.fromhex("15fefd000000000000000900020228")
    close_notify = bytes.fromhex("15fefd000000000000000a00020100")
    hello = bytes.fromhex("16fefd0000000000000005") + (60).to_bytes(2, "big") + bytes(60)
    return [*records, fatal_alert, close_notify, hello, b"\x14", b"\x16\xfe"]


def forged_media() -> list[bytes]:
    """SRTP and SRTCP under keys that are not the viewer's."""
    other = Srtp(fresh_keys())
    report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(1, []))
    lost = rtcp.serialize_nack(1, 2, list(range(100)))
    media = [
        other.outbound.protect(b"\x80\x60" + n.to_bytes(2, "big") + bytes(200)) for n in range(50)
    ]
    bare = [
        report + lost,
        b"\x80\xc8\0\0" + bytes(24),
        b"\x80\x60" + bytes(10),
        b"\xbf" + bytes(40),
    ]
    return [*media, *(other.protect_rtcp(report + lost) for _ in range(50)), *bare]


STRANGERS: list[tuple[str, Callable[[Session], Iterable[bytes]]]] = [
    ("empty-and-oversize", lambda session: lengths()),
    ("every-first-byte", lambda session: every_first_byte()),
    ("random", lambda session: junk()),
    ("forged-stun", forged_stun),
    ("forged-dtls", lambda session: forged_dtls()),
    ("forged-media", lambda session: forged_media()),
]


@pytest.mark.parametrize(("name", "make"), STRANGERS, ids=[name for name, _ in STRANGERS])
@virtual_time
async def test_a_stranger_disturbs_nobody(
    name: str, make: Callable[[Session], Iterable[bytes]]
) -> None:
    async with showing() as show:
        with udp_socket() as sock:
            await show.suffer(sock, make(show.session))
            await show.goes_on()
            assert sock.getsockname() not in show.house.transport._by_address
            with pytest.raises(BlockingIOError):
                sock.recv(2048)  # nor does anything come back: no reflection


@pytest.mark.parametrize(("name", "make"), STRANGERS, ids=[name for name, _ in STRANGERS])
@virtual_time
async def test_datagrams_forged_from_the_viewers_own_address_disturb_nobody(
    name: str, make: Callable[[Session], Iterable[bytes]]
) -> None:
    async with showing() as show:
        await show.suffer(None, make(show.session))
        await show.goes_on()


@virtual_time
async def test_a_flood_leaves_the_stream_whole_and_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with showing() as show:
        tasks = len(asyncio.all_tasks())
        forged = [*forged_stun(show.session), *forged_dtls(), *forged_media(), *junk(count=500)]
        dice = random.Random(9)
        flood = (dice.choice(forged) for _ in range(FLOOD))
        lines = len(caplog.records)
        with udp_socket() as sock:
            await show.suffer(sock, flood)
        await show.goes_on()
        dropped = show.house.transport.dropped
        counted = dropped.bad_stun + dropped.unknown_address + dropped.empty_or_long + dropped.other
        assert counted == FLOOD
        assert len(asyncio.all_tasks()) <= tasks
        assert len(caplog.records) == lines  # counted, not logged


@virtual_time
async def test_a_replayed_report_is_dropped() -> None:
    async with showing() as show:
        assert show.client.srtp is not None and show.client._transport is not None
        ssrc = show.house.whep.channels[0].broadcast.video.ssrc
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(1, []))
        captured = show.client.srtp.protect_rtcp(report + rtcp.serialize_pli(1, ssrc))
        viewer = next(iter(show.house.whep.channels[0].broadcast.viewers))
        await show.suffer(None, [captured] * 100)
        dropped = show.house.transport.dropped
        for _ in range(100):  # turns of the loop, each of which reads for a slice
            if dropped.bad_srtp < 99:
                await asyncio.sleep(0)
        assert viewer.plis == 1
        assert dropped.bad_srtp == 99


@virtual_time
async def test_reports_that_decrypt_and_make_no_sense_are_counted() -> None:
    async with showing() as show:
        srtp = show.client.srtp
        assert srtp is not None
        dice = random.Random(5)
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(1, []))
        broken = [report + dice.randbytes(dice.randrange(1, 60)) for _ in range(300)]
        broken += [b"\x81\xc9" + dice.randbytes(6) + dice.randbytes(40) for _ in range(300)]
        await show.suffer(None, [srtp.protect_rtcp(each) for each in broken])
        assert show.house.transport.dropped.bad_srtp > 300
        await show.goes_on()


@virtual_time
async def test_a_viewer_that_invents_sources_gets_no_memory_for_them() -> None:
    async with showing() as show:
        theirs, ours = show.client.srtp, show.session.srtp
        assert theirs is not None and ours is not None
        reports = [
            theirs.protect_rtcp(rtcp.serialize_receiver_report(rtcp.ReceiverReport(source, [])))
            for source in range(1000, 3000)
        ]
        await show.suffer(None, reports)
        assert len(ours._ssrcs) == MAX_SSRCS
        await show.goes_on()
