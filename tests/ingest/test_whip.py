"""WHIP: what HTTP answers, ffmpeg as a publisher, mending of loss, take-over and return."""

from __future__ import annotations

import asyncio
import json
import random
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from mediaserver.errors import PeerError
from mediaserver.hub import Reader, Stream
from mediaserver.ingest import whip as whip_module
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE, Packet
from mediaserver.protocol import rtcp, rtcp_transport_cc, rtp, rtp_rtx, sdp
from mediaserver.protocol.h264 import split_length_prefixed
from mediaserver.rtc.dtls import Certificate
from tests.http_house import open_http_house
from tests.ingest.whip_publisher import Numbering, WhipPublisher
from tests.rtc.house import KEY, ROOM, House, Received, open_house
from tests.rtc.players import gapless
from tests.rtc.streams import Pictures, Sound
from tests.udp_relay import UdpRelay
from tests.virtual_time import now, until, virtual_time

CERTIFICATE = Certificate.generateCertificate()


def offer() -> str:
    """A publisher's offer; needs a running loop."""
    return WhipPublisher(CERTIFICATE).offer()


# -- HTTP ----------------------------------------------------------------------------------------


async def test_an_offer_with_the_key_is_answered_with_its_resource() -> None:
    async with open_http_house() as here:
        reply = await here.post("/whip", offer(), token=KEY)
        assert reply.status == 201
        assert reply.headers["Content-Type"] == "application/sdp"
        (session,) = here.house.transport.sessions.values()
        assert reply.headers["Location"] == f"/whip/{session.id}"
        assert reply.headers["ETag"] == f'"{session.ufrag}"'
        video, audio = sdp.parse(await reply.text()).medias
        assert (video.direction, audio.direction) == ("recvonly", "recvonly")
        assert video.payloads[96].rtcp_fb == {"nack", "nack pli"}
        assert here.house.hub.get(ROOM) is None  # nobody is on the air before they connect
        assert await here.delete(reply.headers["Location"]) == 200
        assert await here.delete(reply.headers["Location"]) == 404


@pytest.mark.parametrize(
    ("token", "kind", "body", "status", "code"),
    [
        (None, None, None, 401, "unauthorized"),
        ("wrong", None, None, 401, "unauthorized"),
        (KEY, "text/plain", None, 415, "unsupported_media_type"),
        (KEY, None, "v=0\r\n" + "a=x\r\n" * 20_000, 413, "too_large"),
        (KEY, None, "v=0\r\n", 400, "malformed"),
        (KEY, None, "nonsense", 400, "malformed"),
    ],
)
async def test_what_is_wrong_is_said_with_its_status_and_code(
    token: str | None, kind: str | None, body: str | None, status: int, code: str
) -> None:
    async with open_http_house() as here:
        text = offer() if body is None else body
        reply = await here.post("/whip", text, token=token, kind=kind)
        assert (reply.status, json.loads(await reply.text())["code"]) == (status, code)
        assert not here.house.transport.sessions


async def test_a_player_cannot_publish_and_a_viewer_cannot_delete_a_publication() -> None:
    async with open_http_house() as here:
        plays = offer().replace("a=sendonly", "a=recvonly")
        assert (await here.post("/whip", plays, token=KEY)).status == 406
        reply = await here.post("/whip", offer(), token=KEY)
        resource = reply.headers["Location"].rpartition("/")[2]
        assert await here.delete(f"/whep/{ROOM}/{resource}") == 404
        assert resource in here.house.transport.sessions


async def test_the_setup_of_the_answer_follows_the_offer() -> None:
    async with open_house() as house:
        for offered, answered in (
            ("actpass", "passive"),
            ("active", "passive"),
            ("passive", "active"),
        ):
            text = offer().replace("a=setup:active", f"a=setup:{offered}")
            _, answer = await house.whip.publish(KEY, text.encode(), "")
            assert {media.setup for media in sdp.parse(answer).medias} == {answered}


NUMBER_ID = 3
RTX_PAYLOAD_TYPE = 97


def with_feedback(offer: str, *feedback: str) -> str:
    """The offer with an extension for transport-wide numbers, and this rtcp-fb for the video."""
    lines = [f"a=extmap:{NUMBER_ID} {rtcp_transport_cc.EXTENSION}"]
    lines += [f"a=rtcp-fb:96 {each}" for each in feedback]
    return offer.replace("a=mid:0", "\r\n".join(["a=mid:0", *lines]))


def with_rtx(offer: str) -> str:
    """The offer with retransmissions of the video in a stream of their own."""
    rtx = f"a=rtpmap:{RTX_PAYLOAD_TYPE} rtx/90000\r\na=fmtp:{RTX_PAYLOAD_TYPE} apt=96\r\n"
    offer = offer.replace("RTP/SAVPF 96", f"RTP/SAVPF 96 {RTX_PAYLOAD_TYPE}")
    return offer.replace("a=fmtp:96", f"{rtx}a=fmtp:96")


async def test_transport_wide_feedback_is_taken_where_offered_else_remb() -> None:
    async with open_house() as house:

        async def answered(text: str) -> tuple[frozenset[str], bool, bool]:
            _, written = await house.whip.publish(KEY, text.encode(), "")
            (video, _) = sdp.parse(written).medias
            numbered = video.extmaps == {rtcp_transport_cc.EXTENSION: NUMBER_ID}
            begins = video.payloads[96].fmtp.get("x-google-start-bitrate") == "1200"
            return video.payloads[96].rtcp_fb, numbered, begins

        nack = frozenset({"nack", "nack pli"})
        both = with_feedback(offer(), "goog-remb", "transport-cc")
        assert await answered(both) == (nack | {"transport-cc"}, True, True)
        remb = with_feedback(offer(), "goog-remb")
        assert await answered(remb) == (nack | {"goog-remb"}, False, False)
        assert await answered(offer()) == (nack, False, False)
        unnumbered = offer().replace("a=mid:0", "a=mid:0\r\na=rtcp-fb:96 transport-cc")
        assert await answered(unnumbered) == (nack, False, False)
        two_byte = both.replace(f"a=extmap:{NUMBER_ID} ", "a=extmap:15 ")
        assert await answered(two_byte) == (nack | {"goog-remb"}, False, False)


async def test_the_answer_asks_for_stereo_and_keeps_fec_and_retransmissions() -> None:
    async with open_house() as house:
        fec = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1;sprop-stereo=1"
        text = with_rtx(offer()).replace("a=rtpmap:111 opus/48000/2", fec)
        _, written = await house.whip.publish(KEY, text.encode(), "")
        video, audio = sdp.parse(written).medias
        assert audio.payloads[111].fmtp == {"minptime": "10", "useinbandfec": "1", "stereo": "1"}
        assert video.rtx == {96: RTX_PAYLOAD_TYPE}


# -- publishing ----------------------------------------------------------------------------------


class Host:
    """A publisher with its pictures and sound; `publish` plays them in the loop's time."""

    def __init__(
        self,
        house: House,
        certificate: Certificate = CERTIFICATE,
        client: type[WhipPublisher] = WhipPublisher,
    ) -> None:
        self.house = house
        self.client = client(certificate, clock=now)
        self.client.on_keyframe_request = self._keyframe
        self.pictures = Pictures()
        self.sound = Sound()
        house.clients.append(self.client)

    async def connect(self, port: int | None = None) -> None:
        sdp_answer = await self.house.whip.publish(KEY, self.client.offer().encode(), "test")
        self.client.resource = sdp_answer[0]
        await self.client.connect(sdp.parse(sdp_answer[1]), port=port, data=False)
        await until(lambda: _publisher(self.house, self.client.resource).publication is not None)

    async def play(self, seconds: float, *, sound: bool = True) -> None:
        for _ in range(round(seconds * self.pictures.fps)):
            self.client.publish(self.pictures.next())
            due = self.pictures.number / self.pictures.fps
            while sound and self.sound.number / 50 < due:
                self.client.publish(self.sound.next())
            await asyncio.sleep(1 / self.pictures.fps)

    def _keyframe(self) -> None:
        self.pictures.want = True


def _publisher(house: House, resource: str) -> whip_module.WhipPublisher:
    handler = house.transport.sessions[resource].handler
    assert isinstance(handler, whip_module.WhipPublisher)
    return handler


class Seen:
    """Everything a stream carries, read as it comes."""

    def __init__(self, stream: Stream) -> None:
        self.packets: list[Packet] = []
        self._arrived = asyncio.Event()
        self._reader = stream.subscribe()
        self._task = asyncio.get_running_loop().create_task(self._read(self._reader))

    async def _read(self, reader: Reader) -> None:
        while True:
            self.packets += await reader.read()
            self._arrived.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition holds; it is looked at whenever something has come."""
        while not condition():
            self._arrived.clear()
            await self._arrived.wait()

    @property
    def video(self) -> list[Packet]:
        return [packet for packet in self.packets if packet.track.kind == "video"]

    @property
    def audio(self) -> list[Packet]:
        return [packet for packet in self.packets if packet.track.kind == "audio"]

    @property
    def slices(self) -> list[bytes]:
        return [bytes(split_length_prefixed(packet.payload)[-1]) for packet in self.video]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._reader.close()


@asynccontextmanager
async def on_air(
    house: House, client: type[WhipPublisher] = WhipPublisher, **relay_options: object
) -> AsyncIterator[tuple[Host, Seen, UdpRelay]]:
    """A connected publisher behind a relay, and what of it reaches the hub."""
    server = "127.0.0.1", house.transport.port
    async with UdpRelay(server, **relay_options) as relay:  # type: ignore[arg-type]
        host = Host(house, client=client)
        await host.connect(relay.port)
        stream = house.hub.get(ROOM)
        assert stream is not None
        seen = Seen(stream)
        try:
            yield host, seen, relay
        finally:
            await seen.close()


@virtual_time
async def test_what_is_published_reaches_the_hub_whole() -> None:
    async with open_house() as house, on_air(house, seed=1) as (host, seen, _):
        await host.play(3.0)
        assert seen.slices == host.pictures.payloads
        assert len(seen.audio) >= 149
        assert [packet.keyframe for packet in seen.video[:3]] == [True, False, False]
        track = seen.video[0].track
        assert (track.codec, track.width, track.height) == ("h264", 1280, 720)
        steps = {after.pts - before.pts for before, after in pairwise(seen.video)}
        assert steps == {VIDEO_CLOCK_RATE // 30}
        assert all(packet.track.clock_rate == OPUS_CLOCK_RATE for packet in seen.audio)
        assert host.client.plis == 0


@virtual_time
async def test_five_percent_loss_is_mended_by_nack() -> None:
    impaired: dict[str, Any] = {
        "loss_in": 0.05,
        "loss_out": 0.05,
        "delay_in_s": 0.015,
        "delay_out_s": 0.015,
    }
    async with open_house() as house, on_air(house, seed=7, **impaired) as (host, seen, relay):
        await host.play(10.0)
        await asyncio.sleep(0.5)
        assert relay.counts_in.lost > 60
        assert host.client.resent > 60
        publisher = _publisher(house, host.client.resource)
        assert publisher.layers[""].receiver.given_up <= 2
        assert len(seen.video) >= 0.9 * len(host.pictures.payloads)
        assert len(seen.audio) >= 0.98 * host.sound.number
        assert publisher.layers[""].malformed == 0


@virtual_time
async def test_lost_sound_holds_up_the_rest_for_a_tenth_of_a_second_and_no_longer() -> None:
    async with open_house() as house, on_air(house, seed=1) as (host, seen, _):
        host.client._on_nack = lambda nack: None  # type: ignore[method-assign]
        await host.play(1.0)
        host.client.audio.sequence += 1
        before = len(seen.audio)
        await host.play(0.07)
        assert len(seen.audio) == before
        await host.play(0.1)
        assert len(seen.audio) - before >= 5
        assert host.client.plis == 0


@virtual_time
async def test_what_cannot_be_mended_is_never_shown_damaged_and_a_keyframe_is_asked_for() -> None:
    async with open_house() as house, on_air(house, seed=3) as (host, seen, relay):
        await host.play(1.0)
        relay.set_loss("in", 0.3)
        host.client.nack = False
        host.client._on_nack = lambda nack: None  # type: ignore[method-assign]
        await host.play(2.0)
        relay.set_loss("in", 0.0)
        await host.play(2.0)
        assert host.client.plis >= 1
        assert set(seen.slices) <= set(host.pictures.payloads)
        # after a missing picture nothing is shown before a keyframe
        numbers = [int.from_bytes(each[2:6], "big") for each in seen.slices]
        for (before, after), packet in zip(pairwise(numbers), seen.video[1:], strict=True):
            assert after == before + 1 or packet.keyframe
        assert numbers[-1] == len(host.pictures.payloads) - 1


@virtual_time
async def test_whole_pictures_that_are_lost_are_noticed_too() -> None:
    """Each picture is one packet: no fragment is missing anywhere, only what others refer to."""
    async with open_house() as house, on_air(house, seed=3) as (host, seen, relay):
        host.pictures.picture_bytes = host.pictures.keyframe_bytes = 500
        host.client._on_nack = lambda nack: None  # type: ignore[method-assign]
        await host.play(1.0, sound=False)
        relay.set_loss("in", 1.0)
        await host.play(0.1, sound=False)
        relay.set_loss("in", 0.0)
        await host.play(2.0, sound=False)
        numbers = [int.from_bytes(each[2:6], "big") for each in seen.slices]
        first_after = next(number for number in numbers if number > 32)
        assert seen.video[numbers.index(first_after)].keyframe
        assert host.client.plis >= 1
        assert numbers[-1] == len(host.pictures.payloads) - 1


@virtual_time
async def test_an_outage_of_a_thousand_packets_ends_at_a_keyframe() -> None:
    async with open_house() as house, on_air(house, seed=3) as (host, seen, relay):
        await host.play(1.0)
        relay.set_loss("in", 1.0)
        host.pictures.picture_bytes = 60_000
        await host.play(1.0)
        host.pictures.picture_bytes = 6_000
        relay.set_loss("in", 0.0)
        await host.play(3.0)
        numbers = [int.from_bytes(each[2:6], "big") for each in seen.slices]
        first_after = next(number for number in numbers if number > 40)
        assert seen.video[numbers.index(first_after)].keyframe
        assert numbers[-1] == len(host.pictures.payloads) - 1


class HeedsRemb(WhipPublisher):
    def offer(self, data: bool = False) -> str:
        return with_feedback(super().offer(data), "goog-remb")


@virtual_time
async def test_the_publisher_is_reported_to_every_second() -> None:
    async with open_house() as house, on_air(house, HeedsRemb, seed=1) as (host, _, _):
        await host.play(1.0)
        host.client.report(host.client.video, 0, 1_790_000_000_000)
        await host.play(3.0)
        remb = [each for each in host.client.reports if isinstance(each, rtcp.Remb)]
        assert 3 <= len(remb) <= 5
        assert set(remb[-1].ssrcs) == {host.client.video.ssrc, host.client.audio.ssrc}
        reports = [each for each in host.client.reports if isinstance(each, rtcp.ReceiverReport)]
        blocks = {block.ssrc: block for block in reports[-1].reports}
        sent = rtcp.compact_ntp(rtcp.ntp_from_utc_ms(1_790_000_000_000))
        assert blocks[host.client.video.ssrc].last_sr == sent
        assert blocks[host.client.video.ssrc].cumulative_lost == 0


@virtual_time
async def test_sender_reports_put_sound_and_picture_in_step() -> None:
    """Audio whose clock began 300 ms early: only the reports tell."""
    async with open_house() as house, on_air(house, seed=1) as (host, seen, _):
        late = 27_000  # ticks of 90 kHz: the picture's capture lags behind its sending
        await host.play(0.5)
        host.client.report(host.client.video, late, 1_790_000_000_000)
        host.client.report(host.client.audio, 0, 1_790_000_000_000)
        await host.play(1.0)
        video, audio = seen.video[-1], seen.audio[-1]
        ahead_ms = audio.media_time_ms - video.media_time_ms
        assert ahead_ms == pytest.approx(300, abs=40)


class Numbers(WhipPublisher):
    """Numbers its video for the whole transport, and keeps what it is told of that."""

    def offer(self, data: bool = False) -> str:
        return with_feedback(super().offer(data), "goog-remb", "transport-cc")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sent_at: list[float] = []
        self.told: dict[int, float | None] = {}
        self.told_at: list[float] = []

    def _protect_and_send(self, packet: bytes) -> None:
        if packet[1] & 0x7F == 96:
            number = rtp.serialize_extensions({NUMBER_ID: len(self.sent_at).to_bytes(2, "big")})
            packet = bytes((packet[0] | 0x10,)) + packet[1:12] + number + packet[12:]
            self.sent_at.append(now())
        super()._protect_and_send(packet)

    def _on_srtp(self, data: bytes) -> None:
        if not rtcp.is_rtcp(data):
            super()._on_srtp(data)
            return
        assert self.srtp is not None
        compound = self.srtp.unprotect_rtcp(data)
        self.reports += rtcp.parse(compound)
        if compound[:2] == b"\x8f\xcd":  # alone, as a=rtcp-rsize allows
            self._on_feedback(rtcp_transport_cc.parse(compound))

    def _on_feedback(self, feedback: rtcp_transport_cc.TransportFeedback) -> None:
        self.told_at.append(now())
        ticks = feedback.reference_time * 256
        for number, delta in enumerate(feedback.deltas, feedback.base_sequence):
            ticks += delta or 0
            self.told[number] = None if delta is None else ticks / 4000


class NumbersReduced(Numbers):
    def offer(self, data: bool = False) -> str:
        text = super().offer(data)
        return text.replace("a=mid:1", "a=mid:1\r\na=rtcp-rsize")


@virtual_time
async def test_a_publisher_that_numbers_its_packets_is_told_when_each_came() -> None:
    async with open_house() as house, on_air(house, NumbersReduced, seed=4, loss_in=0.02) as on:
        host, seen, relay = on
        await host.play(3.0)
        await asyncio.sleep(0.2)
        client = host.client
        assert isinstance(client, Numbers)
        assert set(client.told) == set(range(len(client.sent_at)))
        for number, at in client.told.items():
            assert at is None or at == pytest.approx(client.sent_at[number], abs=0.001)
        lost = sum(at is None for at in client.told.values())
        assert 0 < lost <= relay.counts_in.lost
        pauses = [after - before for before, after in pairwise(client.told_at)]
        assert max(pauses) <= 0.15 and min(pauses) >= 0.089
        assert not [each for each in client.reports if isinstance(each, rtcp.Remb)]
        assert seen.slices == host.pictures.payloads


@virtual_time
async def test_without_reduced_size_feedback_goes_behind_a_report() -> None:
    async with open_house() as house, on_air(house, Numbers, seed=4) as (host, _, _):
        await host.play(0.5)
        client = host.client
        assert isinstance(client, Numbers)
        assert not client.told
        reports = [each for each in client.reports if isinstance(each, rtcp.ReceiverReport)]
        assert 3 <= len(reports) <= 6


class Retransmits(WhipPublisher):
    """Answers NACKs by RTX."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rtx = Numbering(RTX_PAYLOAD_TYPE, sequence=65_530, first_timestamp=0)

    def offer(self, data: bool = False) -> str:
        return with_rtx(super().offer(data))

    def _on_nack(self, nack: rtcp.Nack) -> None:
        for sequence in nack.sequences:
            if packet := self.video.ring.get(sequence):
                self.resent += 1
                self.send_again(packet)

    def send_again(self, packet: bytes) -> None:
        original = rtp.parse(packet)
        payload = rtp_rtx.serialize(original.sequence, original.payload, padding=False)
        self.send_rtp(self.rtx, payload, original.marker, original.timestamp)


@virtual_time
async def test_loss_is_mended_by_retransmissions_in_a_stream_of_their_own() -> None:
    async with open_house() as house, on_air(house, Retransmits, seed=7, loss_in=0.03) as on:
        host, seen, _ = on
        client = host.client
        assert isinstance(client, Retransmits)
        for _ in range(50):
            await host.play(0.1, sound=False)
            client.send_again(next(reversed(client.video.ring.values())))  # a probe of the path
            client.send_rtp(client.rtx, bytes(254) + b"\xff", False, 0, padding=True)
        await asyncio.sleep(0.5)
        publisher = _publisher(house, client.resource)
        assert client.resent > 10
        assert publisher.layers[""].receiver.given_up == 0
        assert publisher.layers[""].malformed == 0
        assert seen.slices == host.pictures.payloads
        reports = [each for each in client.reports if isinstance(each, rtcp.ReceiverReport)]
        assert reports[-1].reports[0].cumulative_lost > 10


@virtual_time
async def test_a_link_that_reorders_draws_no_nacks() -> None:
    async with open_house() as house, on_air(house, seed=9, reorder_in=0.05) as (host, seen, relay):
        await host.play(5.0)
        await asyncio.sleep(0.1)
        assert relay.counts_in.reordered > 50
        assert host.client.resent == 0
        assert seen.slices == host.pictures.payloads
        assert host.client.plis == 0


@virtual_time
async def test_keyframes_that_are_wanted_again_and_again_come_every_two_seconds() -> None:
    async with open_house() as house, on_air(house, seed=1) as (host, _, _):
        host.pictures.gop = 10**6
        await host.play(1.0)
        publisher = _publisher(house, host.client.resource)
        asked: list[float] = []
        for _ in range(200):
            before = host.client.plis
            publisher.request_keyframe()
            await host.play(0.1, sound=False)
            asked += [now()] * (host.client.plis - before)
        pauses = [after - before for before, after in pairwise(asked)]
        assert pauses[:2] == pytest.approx([0.5, 0.5], abs=0.15)
        assert pauses[3:] == pytest.approx([2.0] * len(pauses[3:]), abs=0.15)
        assert 10 <= len(asked) <= 13
        await host.play(8.0)
        before = host.client.plis
        publisher.request_keyframe()  # after some quiet at once again
        await host.play(0.1)
        assert host.client.plis == before + 1


@virtual_time
async def test_our_own_loss_is_asked_about_at_once_whatever_viewers_wanted() -> None:
    async with open_house() as house, on_air(house, seed=1) as (host, seen, _):
        host.pictures.gop = 10**6
        await host.play(1.0)
        publisher = _publisher(house, host.client.resource)
        for _ in range(30):
            publisher.request_keyframe()
            await host.play(0.1)
        before, shown = host.client.plis, len(seen.video)
        host.client._on_nack = lambda nack: None  # type: ignore[method-assign]
        host.client.video.sequence += 1
        await host.play(0.9)
        assert host.client.plis == before + 1
        assert [packet.keyframe for packet in seen.video[shown:]].count(True) == 1


@virtual_time
async def test_keyframes_are_asked_for_at_most_twice_a_second() -> None:
    async with open_house() as house, on_air(house, seed=1) as (host, _, _):
        await host.play(1.0)
        publisher = _publisher(house, host.client.resource)
        before = host.client.plis
        for _ in range(100):
            publisher.request_keyframe()
            await asyncio.sleep(0.02)
        assert 4 <= host.client.plis - before <= 5


@virtual_time
async def test_a_viewers_loss_of_picture_reaches_the_publisher() -> None:
    async with open_house() as house, on_air(house, seed=1) as (host, _, _):
        await host.play(1.0)
        received = Received()
        viewer = await house.watch(received)
        await host.play(1.0)
        (channel,) = house.whep.channels
        before = host.client.plis
        for _ in range(10):
            viewer.pli(channel.broadcast.video.ssrc)
        await host.play(0.2)
        assert host.client.plis == before + 1


# -- coming, going, taking over ------------------------------------------------------------------


def goes_on(received: Received, ssrc: int) -> bool:
    """Whether a viewer's numbers go up by one and its timestamps never go back."""
    packets = received.of(ssrc)
    return gapless(packets) and all(
        (after.timestamp - before.timestamp) & 0xFFFFFFFF < 0x80000000
        for before, after in pairwise(packets)
    )


@virtual_time
async def test_a_second_publisher_takes_over_and_viewers_go_on() -> None:
    async with open_house() as house:
        first = Host(house)
        await first.connect()
        await first.play(1.0)
        received = Received()
        viewer = await house.watch(received)
        await first.play(1.0)
        stream = house.hub.get(ROOM)
        second = Host(house, Certificate.generateCertificate())
        await second.connect()
        assert house.hub.get(ROOM) is stream
        await until(lambda: first.client.closed.done())
        assert first.client.resource not in house.transport.sessions
        await second.play(2.0)
        (channel,) = house.whep.channels
        video, audio = channel.broadcast.video, channel.broadcast.audio
        assert not viewer.closed.done()
        assert goes_on(received, video.ssrc) and goes_on(received, audio.ssrc)
        assert received.of(video.ssrc)[-1].sequence == (video.next_index - 1) & 0xFFFF
        span = received.of(video.ssrc)[-1].timestamp - received.of(video.ssrc)[0].timestamp
        assert (span & 0xFFFFFFFF) / VIDEO_CLOCK_RATE == pytest.approx(4.0, abs=0.3)


@virtual_time
async def test_who_has_the_key_but_cannot_connect_disturbs_nobody() -> None:
    async with open_house() as house:
        first = Host(house)
        await first.connect()
        await first.play(0.5)
        await house.whip.publish(KEY, offer().encode(), "elsewhere")
        for _ in range(12):
            await first.play(1.0)
        assert list(house.transport.sessions) == [first.client.resource]
        assert not first.client.closed.done()


@virtual_time
async def test_a_publisher_that_comes_back_within_the_grace_finds_its_viewers() -> None:
    async with open_house(grace_s=30.0) as house:
        first = Host(house)
        await first.connect()
        await first.play(1.0)
        received = Received()
        viewer = await house.watch(received)
        await first.play(1.0)
        first.client._tasks[0].cancel()  # no word, no check of consent any more
        stream = house.hub.get(ROOM)
        assert stream is not None
        while stream.live:
            await asyncio.sleep(1.0)
        await asyncio.sleep(10.0)
        again = Host(house)
        await again.connect()
        await again.play(2.0)
        (channel,) = house.whep.channels
        assert house.hub.get(ROOM) is stream
        assert not viewer.closed.done()
        assert goes_on(received, channel.broadcast.video.ssrc)
        assert house.whep.viewers(ROOM) == 1


@virtual_time
async def test_after_the_grace_the_stream_is_gone_and_its_viewers_are_told() -> None:
    async with open_house(grace_s=5.0) as house:
        host = Host(house)
        await host.connect()
        await host.play(1.0)
        viewer = await house.watch()
        house.whip.delete(host.client.resource)
        await until(lambda: host.client.closed.done())
        assert not viewer.closed.done()
        await asyncio.sleep(5.5)
        await until(lambda: viewer.closed.done())
        assert house.hub.get(ROOM) is None
        assert not house.whep.channels


@virtual_time
async def test_a_publisher_leaves_no_timer_and_no_session() -> None:
    async with open_house() as house:
        before = len(asyncio.all_tasks())
        for _ in range(10):
            host = Host(house)
            await host.connect()
            host.pictures.picture_bytes = 3000
            host.client.publish(host.pictures.next())
            host.client.video.sequence += 3  # a gap: the receiver's timer runs
            host.client.publish(host.pictures.next())
            await asyncio.sleep(0.01)
            publisher = _publisher(house, host.client.resource)
            assert publisher._timer is not None
            await host.client.close()
            await until(lambda: not house.transport.sessions and not house.transport._goodbyes)
            assert publisher._timer.cancelled()
        house.clients.clear()
        await until(lambda: len(asyncio.all_tasks()) == before)


# -- what a publisher may not do -----------------------------------------------------------------


@virtual_time
async def test_payloads_that_are_not_h264_are_counted_and_the_stream_goes_on() -> None:
    async with open_house() as house, on_air(house, seed=1) as (host, seen, _):
        await host.play(1.0)
        publisher = _publisher(house, host.client.resource)
        line = host.client.video
        surfaced: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: surfaced.append(context)
        )
        broken = (b"\x7c", b"\x78\xff\xff\x01", b"\x79\0\0", b"\x7c\x1e\0", b"\x7c\x9f\0\0")
        for payload in broken:
            host.client.send_rtp(line, payload, True, 90_000)
        line.sequence = (line.sequence + 2) & 0xFFFF  # and again from the receiver's timer
        for payload in broken:
            host.client.send_rtp(line, payload, True, 93_000)
        await asyncio.sleep(1.0)
        assert publisher.layers[""].malformed >= len(broken)
        await host.play(2.0)
        assert seen.slices[-1] == host.pictures.payloads[-1]
        assert surfaced == []
        assert host.client.resource in house.transport.sessions


@virtual_time
async def test_a_picture_that_comes_damaged_without_any_loss_is_not_shown_either() -> None:
    async with open_house() as house, on_air(house, seed=1) as (host, seen, _):
        await host.play(1.0)
        shown = len(seen.video)
        end_without_a_start = b"\x5c\x41" + bytes(50)
        host.client.send_rtp(host.client.video, end_without_a_start, True, 90_000)
        host.pictures.want = False
        host.client.publish(host.pictures.next(keyframe=False))
        await asyncio.sleep(0.1)
        assert len(seen.video) == shown
        assert host.client.plis == 1
        await host.play(1.0)
        assert seen.video[shown].keyframe
        assert seen.slices[-1] == host.pictures.payloads[-1]


@virtual_time
async def test_anything_at_all_under_the_right_keys_is_counted_and_never_an_exception() -> None:
    async with open_house() as house, on_air(house, seed=1) as (host, seen, _):
        await host.play(0.5)
        surfaced: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: surfaced.append(context)
        )
        dice = random.Random(8)
        line = host.client.video
        srtp = host.client.srtp
        assert srtp is not None
        for _ in range(1500):
            header = rtp.serialize_header(
                dice.choice((96, 111, 5)),
                dice.random() < 0.3,
                (line.sequence + dice.choice((0, 1, 1, 1, 2, 5))) & 0xFFFF,
                dice.getrandbits(32),
                line.ssrc,
                dice.random() < 0.1,
                rtp.serialize_extensions({1: b"x"}) if dice.random() < 0.1 else b"",
            )
            line.sequence = int.from_bytes(header[2:4], "big") + 1 & 0xFFFF
            body = dice.randbytes(dice.choice((0, 1, 2, 3, 10, 300)))
            if dice.random() < 0.6 and body:
                body = bytes((dice.choice((0x67, 0x68, 0x65, 0x41, 0x7C, 0x78)),)) + body[1:]
            if rtcp.is_rtcp(header + body):
                continue
            host.client._send(srtp.protect(header + body))
            if dice.random() < 0.05:
                await asyncio.sleep(0.02)
        await asyncio.sleep(1.0)
        host.client.publish(host.pictures.next(keyframe=True))
        for _ in range(4):
            await host.play(0.5)
        assert seen.slices[-1] == host.pictures.payloads[-1]
        assert surfaced == []


@pytest.mark.parametrize("seed", range(3))
@virtual_time
async def test_mutated_rtp_and_rtcp_raise_nothing_but_the_peers_errors(seed: int) -> None:
    """As after decryption: `on_rtp` and `on_rtcp` with bytes that were changed, cut or joined."""
    async with open_house() as house:
        host = Host(house)
        await host.connect()
        publisher = _publisher(house, host.client.resource)
        packets: list[bytes] = []
        host.client._protect_and_send = packets.append  # type: ignore[method-assign,assignment]
        reports: list[bytes] = []
        host.client.send_rtcp = reports.append  # type: ignore[method-assign,assignment]
        for _ in range(20):
            host.client.publish(host.pictures.next())
            host.client.publish(host.sound.next())
        host.client.report(host.client.video, 0, 1_790_000_000_000)
        reports.append(rtcp.serialize_nack(1, host.client.video.ssrc, [1, 2, 30]))
        reports.append(rtcp.serialize_remb(1, 1_000_000, [1, 2]))
        dice = random.Random(seed)
        refused = 0
        for turn in range(4000):
            data = mutated(dice, dice.choice(packets if turn % 3 else reports))
            try:
                if turn % 3:
                    publisher.on_rtp(rtp.parse(data), now())
                else:
                    publisher.on_rtcp(rtcp.parse(data), now())
            except PeerError:
                refused += 1
            if turn % 200 == 0:
                await asyncio.sleep(0.05)
        assert 0 < refused < 4000


def mutated(dice: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((0, 1, 1, 2, 5))):
        if changed:
            changed[dice.randrange(min(len(changed), 40))] = dice.getrandbits(8)
    match dice.randrange(8):
        case 0:
            return bytes(changed[: dice.randrange(len(changed) + 1)])
        case 1:
            return bytes(changed) + dice.randbytes(dice.randrange(8))
        case 2:
            return bytes(changed) + data
    return bytes(changed)


class TwoCodecs(WhipPublisher):
    """Offers VP8 beside H.264."""

    def offer(self, data: bool = False) -> str:
        text = super().offer(data).replace("RTP/SAVPF 96", "RTP/SAVPF 96 100")
        return text.replace("a=fmtp:96", "a=rtpmap:100 VP8/90000\r\na=fmtp:96")


@virtual_time
async def test_a_publisher_may_change_its_codec_at_a_keyframe() -> None:
    async with open_house() as house, on_air(house, TwoCodecs, seed=1) as (host, seen, _):
        await host.play(0.5, sound=False)
        line, shown = host.client.video, len(seen.video)
        line.payload_type = 100
        first_partition = b"\x10"  # begins a frame, in the payload descriptor (RFC 7741 §4.2)
        delta, keyframe = b"\x11\0\0", b"\x10\0\0\x9d\x01\x2a\x80\x02\x68\x01"
        for number, head in enumerate((delta, keyframe, delta), host.pictures.number):
            payload = first_partition + head + bytes(50)
            host.client.send_rtp(line, payload, True, number * 3000)
        await asyncio.sleep(0.1)
        vp8 = seen.video[shown:]
        assert [(each.track.codec, each.keyframe) for each in vp8] == [
            ("vp8", True),
            ("vp8", False),
        ]
        assert (vp8[0].track.width, vp8[0].track.height) == (640, 360)
        line.payload_type = 96
        host.pictures.number += 3
        host.pictures.want = True
        await host.play(0.2, sound=False)
        assert seen.video[-1].track.codec == "h264"
        assert _publisher(house, host.client.resource).layers[""].malformed == 0


FFMPEG = shlex.split(
    "-hide_banner -loglevel error -re -f lavfi -i testsrc2=size=320x180:rate=30 "
    "-re -f lavfi -i sine=frequency=440:sample_rate=48000 "
    "-c:v libx264 -preset ultrafast -profile:v baseline -bf 0 -g 30 -b:v 800k "
    "-c:a libopus -ac 2 -b:a 64k -t 60 -f whip"
)

# -- ffmpeg --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["-whip_flags", "dtls_active"]], ids=["passive", "active"])
async def test_ffmpeg_publishes_and_is_watched(whip_ffmpeg: str, flags: list[str]) -> None:
    async with open_http_house() as here:
        program = await asyncio.create_subprocess_exec(
            whip_ffmpeg,
            *FFMPEG,
            *flags,
            "-authorization",
            KEY,
            f"{here.url}/whip",
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            stream = await _change(here.house, "online")
            seen = Seen(stream)
            await seen.until(lambda: len(seen.video) > 20 and len(seen.audio) > 20)
            assert seen.video[0].keyframe
            assert (seen.video[0].track.width, seen.video[0].track.height) == (320, 180)
            received = Received()
            client = here.house.client(received)
            await client.watch(here.http, f"{here.url}/whep/{ROOM}", data=False)
            await received.until(lambda: len(received.packets) > 60)
            assert client.undecryptable == 0
            assert here.house.whep.viewers(ROOM) == 1
            await seen.close()
        finally:
            program.terminate()
            offline = asyncio.create_task(_change(here.house, "offline"))
            _, errors = await program.communicate()
        assert b"rror" not in errors, errors.decode()
        assert await offline is stream


async def _change(house: House, wanted: str) -> Stream:
    """The stream, once the hub tells of this change to it."""
    told: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()

    def on_change(change: str, stream: Stream) -> None:
        if change == wanted and stream.name == ROOM and not told.done():
            told.set_result(stream)

    stop = house.hub.listen(on_change)
    try:
        return await asyncio.wait_for(told, 30)
    finally:
        stop()
