"""WHEP: what HTTP answers, what a viewer then gets, and that nobody leaves anything behind."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import aioice.ice
import pytest
import uvloop
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import VideoFrame

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.egress.whep import MENDED_PACKETS, REPORTS_PER_PASS
from mediaserver.errors import (
    Conflict,
    NotAcceptable,
    NotFound,
    NotLive,
    ProtocolError,
    Unavailable,
)
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE
from mediaserver.protocol import rtcp, rtp, sdp
from mediaserver.rtc.dtls import Certificate
from mediaserver.rtc.line import Line
from tests.egress.rtx_client import RtxClient, with_rtx
from tests.http_house import PRIVATE, TOKEN, open_http_house
from tests.packager.encoding import Encode, encode
from tests.rtc.house import ROOM, House, Received, open_house
from tests.rtc.players import gapless
from tests.rtc.streams import Pictures
from tests.rtc.streams import packet as make_packet
from tests.udp_relay import UdpRelay
from tests.virtual_time import now, until, virtual_time

CERTIFICATE = Certificate.generateCertificate()


def offer(*, data: bool = True) -> str:
    """A light client's offer; needs a running loop."""
    return WebRtcClient(CERTIFICATE).offer(data)


# -- HTTP ----------------------------------------------------------------------------------------


async def test_an_offer_for_a_live_room_is_answered_with_its_resource() -> None:
    async with open_http_house() as here:
        here.house.publish()
        reply = await here.post(f"/whep/{ROOM}", offer())
        assert reply.status == 201
        assert reply.headers["Content-Type"] == "application/sdp"
        (session,) = here.house.transport.sessions.values()
        assert reply.headers["Location"] == f"/whep/{ROOM}/{session.id}"
        assert reply.headers["ETag"] == f'"{session.ufrag}"'
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        exposed = reply.headers["Access-Control-Expose-Headers"]
        assert {"Location", "ETag"} <= {name.strip() for name in exposed.split(",")}
        video, audio, data = sdp.parse(await reply.text()).medias
        assert (video.direction, audio.direction) == ("sendonly", "sendonly")
        assert video.setup == "passive"
        assert video.candidates[0].port == here.house.transport.port
        assert video.cname == audio.cname != ""
        assert data.sctp_port == 5000


async def test_a_resource_can_be_deleted_once() -> None:
    async with open_http_house() as here:
        here.house.publish()
        reply = await here.post(f"/whep/{ROOM}", offer())
        assert await here.delete(reply.headers["Location"]) == 200
        assert await here.delete(reply.headers["Location"]) == 404
        await until(lambda: not here.house.whep.channels)
        assert not here.house.transport.sessions


@pytest.mark.parametrize(
    ("path", "token", "kind", "body", "status", "code"),
    [
        ("/whep/nowhere", None, None, None, 404, "not_found"),
        (f"/whep/{PRIVATE}", None, None, None, 401, "unauthorized"),
        (f"/whep/{PRIVATE}", "guess", None, None, 401, "unauthorized"),
        (f"/whep/{PRIVATE}", TOKEN, None, None, 409, "not_live"),
        (f"/whep/{ROOM}", None, "application/json", None, 415, "unsupported_media_type"),
        (f"/whep/{ROOM}", None, None, "v=0\r\n" + "a=x\r\n" * 20_000, 413, "too_large"),
        (f"/whep/{ROOM}", None, None, "hello", 400, "malformed"),
        (f"/whep/{ROOM}", None, None, "", 400, "malformed"),
        (f"/whep/{ROOM}", None, None, "\x00\xff", 400, "malformed"),
    ],
)
async def test_what_is_wrong_is_said_with_its_status_and_code(
    path: str, token: str | None, kind: str | None, body: str | None, status: int, code: str
) -> None:
    async with open_http_house() as here:
        here.house.publish()
        reply = await here.post(path, offer() if body is None else body, token=token, kind=kind)
        assert reply.status == status
        problem = json.loads(await reply.text())
        assert (problem["status"], problem["code"]) == (status, code)
        assert ("Retry-After" in reply.headers) == (code == "not_live")
        assert not here.house.whep.channels
        assert not here.house.transport.sessions


async def test_a_room_that_was_never_on_the_air_is_not_live() -> None:
    async with open_http_house() as here:
        reply = await here.post(f"/whep/{ROOM}", offer())
        assert reply.status == 409
        assert json.loads(await reply.text())["code"] == "not_live"
        assert int(reply.headers["Retry-After"]) > 0


async def test_a_source_with_b_frames_leads_to_hls() -> None:
    async with open_http_house() as here:
        stream = here.house.publish().stream
        stream.reordered = True
        reply = await here.post(f"/whep/{ROOM}", offer())
        assert json.loads(await reply.text())["code"] == "not_live"  # it may be mended yet
        for _ in range(MENDED_PACKETS):
            here.house.sing()
        reply = await here.post(f"/whep/{ROOM}", offer())
        assert reply.status == 409
        assert json.loads(await reply.text())["code"] == "has_b_frames"
        assert f"/hls/{ROOM}/index.m3u8" in reply.headers["Link"]


async def test_a_mended_picture_is_given_to_who_cannot_take_that_of_the_source() -> None:
    async with open_http_house() as here:
        stream = here.house.publish().stream
        source = stream.tracks["video"]
        mended = here.house.hub.rendition(stream, "mended", replace(source, width=160, height=90))

        vp8 = offer().replace("H264", "VP8").replace("packetization-mode=1;", "")

        async def picture(offered: str = "") -> str:
            reply = await here.post(f"/whep/{ROOM}", offered or offer())
            assert reply.status == 201
            (channel,) = here.house.whep.channels
            await here.delete(reply.headers["Location"])
            await until(lambda: not here.house.whep.channels)
            return channel.picture.name

        assert await picture() == f"{ROOM}/mended"  # its keyframes are too far apart
        stream.tracks["video"] = replace(source, codec="vp8")
        assert await picture(vp8) == ROOM
        assert await picture() == f"{ROOM}/mended"  # who has no VP8
        stream.reordered, stream.tracks["video"] = False, source
        here.house.hub.end_rendition(mended)
        assert await picture() == ROOM


async def test_a_full_server_says_when_to_come_again() -> None:
    async with open_http_house(max_sessions=1) as here:
        here.house.publish()
        assert (await here.post(f"/whep/{ROOM}", offer())).status == 201
        reply = await here.post(f"/whep/{ROOM}", offer())
        assert (reply.status, reply.headers["Retry-After"]) == (503, "5")


async def test_a_token_in_the_header_opens_a_restricted_room() -> None:
    async with open_http_house() as here:
        here.house.publish(PRIVATE)
        received = Received()
        client = here.house.client(received)
        await client.watch(here.http, f"{here.url}/whep/{PRIVATE}", TOKEN)
        await received.until(lambda: bool(received.packets))


# -- offers --------------------------------------------------------------------------------------


async def test_an_m_line_that_cannot_be_had_gets_port_0_and_the_rest_is_answered() -> None:
    async with open_house() as house:
        house.publish()
        strange = offer().replace("opus/48000/2", "speex/16000")
        _, answer = house.whep.watch(ROOM, strange.encode())
        video, audio, data = sdp.parse(answer).medias
        assert (video.port, audio.port) == (9, 0)
        assert data.port == 9
        house.whep.delete(next(iter(house.transport.sessions)))


async def test_rtx_is_answered_with_its_payload_type_and_its_source() -> None:
    async with open_house() as house:
        house.publish()
        resource, text = house.whep.watch(ROOM, with_rtx(offer()).encode())
        (channel,) = house.whep.channels
        broadcast = channel.broadcast
        video, audio, _ = sdp.parse(text).medias
        assert video.rtx == {96: 97}
        assert video.rtx_ssrcs == {broadcast.video.ssrc: broadcast.rtx_ssrc}
        assert f"a=ssrc-group:FID {broadcast.video.ssrc} {broadcast.rtx_ssrc}\r\n" in text
        assert f"a=ssrc:{broadcast.rtx_ssrc} cname:{video.cname}" in text
        assert audio.rtx_ssrcs == {}
        house.whep.delete(resource)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: offer(),
        lambda text: text.replace("apt=96", "apt=98"),
        lambda text: text.replace("rtx/90000", "rtx/48000"),
        lambda text: text.replace(" 97\r", " 70\r").replace(":97 ", ":70 "),  # as RTCP would be
        lambda text: text.replace("a=rtcp-fb:96 nack\r\n", ""),
    ],
    ids=["none", "of-another", "other-clock", "like-rtcp", "no-nack"],
)
async def test_without_rtx_that_can_be_had_the_answer_has_one_source(spoil: object) -> None:
    assert callable(spoil)
    async with open_house() as house:
        house.publish()
        resource, text = house.whep.watch(ROOM, spoil(with_rtx(offer())).encode())
        assert len(sdp.parse(text).medias[0].ssrcs) == 1
        assert "rtx" not in text and "FID" not in text
        house.whep.delete(resource)


async def test_reduced_size_reports_are_accepted_where_offered() -> None:
    async with open_house() as house:
        house.publish()
        resource, text = house.whep.watch(ROOM, offer().encode())
        video, audio, _ = sdp.parse(text).medias
        assert (video.rtcp_rsize, audio.rtcp_rsize) == (True, False)
        house.whep.delete(resource)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("H264", "VP9").replace("opus", "pcmx"),
        lambda text: text.replace("a=recvonly", "a=sendonly"),
        lambda text: text.replace("a=recvonly", "a=inactive"),
        lambda text: text.replace("a=fingerprint", "a=x-fingerprint"),
        lambda text: text.replace("a=setup:active", "a=setup:holdconn"),
        lambda text: text.replace("RTP/SAVPF", "RTP/XXX"),
        lambda text: text.replace("UDP/", "SCTP/"),
        lambda text: text.replace("fingerprint:sha-256", "fingerprint:sha-1"),
        lambda text: text.replace("a=ice-pwd:", "a=ice-pwd:short\r\na=x-pwd:"),
        lambda text: text.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"),
    ],
)
async def test_an_offer_that_cannot_be_served_leaves_nothing_behind(spoil: object) -> None:
    assert callable(spoil)
    async with open_house() as house:
        stream = house.publish().stream
        tasks = len(asyncio.all_tasks())
        with pytest.raises((NotAcceptable, ProtocolError)):
            house.whep.watch(ROOM, spoil(offer(data=False)).encode())
        assert not house.whep.channels
        assert not house.transport.sessions
        assert stream.readers == 0
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == tasks


async def test_a_refused_offer_leaves_those_who_watch_alone() -> None:
    async with open_house(max_sessions=1) as house:
        stream = house.publish().stream
        await house.watch()
        with pytest.raises(Unavailable):
            house.whep.watch(ROOM, offer().encode())
        assert len(house.whep.channels) == 1
        assert stream.readers == 2  # its picture and its sound


async def test_what_is_refused_by_its_state_is_refused_by_its_class() -> None:
    async with open_house() as house:
        with pytest.raises(NotLive):
            house.whep.watch(ROOM, offer().encode())
        publication = house.publish()
        publication.stream.reordered = True
        with pytest.raises(Conflict):
            house.whep.watch(ROOM, offer().encode())
        publication.close("test")
        with pytest.raises(NotLive):
            house.whep.watch(ROOM, offer().encode())
        with pytest.raises(NotFound):
            house.whep.delete("nothing")


# -- watching ------------------------------------------------------------------------------------


@pytest.fixture
def loopback_ice(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves loopback out; here it is all there is."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert not left


async def test_aiortc_decodes_the_pictures_and_its_message_comes_back(
    loopback_ice: None, no_thread_left: None
) -> None:
    async with open_http_house() as here:
        publisher = asyncio.create_task(_publish_forever(here.house))
        await until_live(here.house)
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        echoed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        channel = peer.createDataChannel("hawker", negotiated=True, id=0)
        channel.on("open", lambda: channel.send("hello"))
        channel.on("message", echoed.set_result)
        tracks: list[MediaStreamTrack] = []
        peer.on("track", tracks.append)
        peer.addTransceiver("video", direction="recvonly")
        peer.addTransceiver("audio", direction="recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        reply = await here.post(f"/whep/{ROOM}", peer.localDescription.sdp)
        assert reply.status == 201
        answer = RTCSessionDescription(sdp=await reply.text(), type="answer")
        await peer.setRemoteDescription(answer)
        video = next(track for track in tracks if track.kind == "video")
        sizes = set()
        for _ in range(20):
            frame = await asyncio.wait_for(video.recv(), 20)
            assert isinstance(frame, VideoFrame)
            sizes.add((frame.width, frame.height))
        assert sizes == {(160, 96)}
        assert await asyncio.wait_for(echoed, 20) == "hello"
        assert here.house.whep.viewers(ROOM) == 1
        await peer.close()
        publisher.cancel()
        await asyncio.gather(publisher, return_exceptions=True)


async def _publish_forever(house: House) -> None:
    """A real encode, at its rate."""
    publication = house.hub.publish(ROOM, protocol="test", on_close=lambda reason: None)
    packets = encode(Encode(seconds=2.0, gop=15, audio=False))
    turn = 0
    while True:
        began = now()
        for packet in packets:
            await asyncio.sleep(began + packet.dts / VIDEO_CLOCK_RATE - now())
            publication.write(
                packet.track,
                packet.dts + turn * 2 * VIDEO_CLOCK_RATE,
                packet.payload,
                keyframe=packet.keyframe,
                arrival=now(),
            )
        turn += 1


async def until_live(house: House) -> None:
    reader = None
    while reader is None:
        stream = house.hub.get(ROOM)
        reader = stream.subscribe() if stream else None
        await asyncio.sleep(0)
    await reader.read()
    reader.close()


@virtual_time
async def test_viewers_are_counted_when_connected_and_while_they_stay() -> None:
    async with open_house() as house:
        house.publish()
        assert house.whep.viewers(ROOM) == house.whep.viewers("other") == 0
        house.whep.watch(ROOM, offer().encode())
        assert house.whep.viewers(ROOM) == 0
        clients = [await house.watch() for _ in range(3)]
        await until(lambda: house.whep.viewers(ROOM) == 3)
        await clients[0].close()
        await until(lambda: house.whep.viewers(ROOM) == 2)
        house.whep.delete(clients[1].resource)
        await until(lambda: house.whep.viewers(ROOM) == 1)
        await asyncio.sleep(15)  # who only posted is gone by now
        assert len(house.transport.sessions) == 1


@virtual_time
async def test_a_viewer_gets_picture_sound_and_reports() -> None:
    async with open_house() as house:
        house.publish()
        received = Received()
        client = await house.watch(received)
        await house.play(5.0)
        (channel,) = house.whep.channels
        video, audio = channel.broadcast.video, channel.broadcast.audio
        assert gapless(received.of(video.ssrc)) and gapless(received.of(audio.ssrc))
        assert received.of(video.ssrc)[-1].sequence == (video.next_index - 1) & 0xFFFF
        assert len(received.of(audio.ssrc)) >= 245
        reports = [each for each in client.reports if isinstance(each, rtcp.SenderReport)]
        assert 4 <= len([each for each in reports if each.ssrc == video.ssrc]) <= 7
        newest = {each.ssrc: each for each in reports}
        one, other = newest[video.ssrc], newest[audio.ssrc]
        # both name the same instant: picture and sound of one media time stay together
        assert one.ntp == other.ntp
        video_s = ((one.rtp_timestamp - video.timestamp_offset) & 0xFFFFFFFF) / VIDEO_CLOCK_RATE
        audio_s = ((other.rtp_timestamp - audio.timestamp_offset) & 0xFFFFFFFF) / OPUS_CLOCK_RATE
        # each wraps in its own time: both times are multiples of this one
        wrap_s = 2**32 / 720_000
        assert (video_s - audio_s + 1) % wrap_s == pytest.approx(1, abs=0.002)


@virtual_time
async def test_reports_of_a_second_are_no_more_than_that_however_busy_the_loop_is() -> None:
    async with open_house() as house:
        house.publish()
        await house.watch()
        for _ in range(50):  # sweeps without a turn of the loop between them
            house.whep._every_second(now())
        assert len(house.whep._reports) <= 1


async def test_reports_to_many_viewers_are_spread_over_turns_of_the_loop() -> None:
    async with open_house() as house:
        house.publish()
        clients = [await house.watch() for _ in range(3)]
        (channel,) = house.whep.channels
        viewers = list(channel.broadcast.viewers)
        assert len(viewers) == 3
        reported: list[int] = []
        channel.broadcast.viewers = _Many(viewers * REPORTS_PER_PASS)  # type: ignore[assignment]
        for client in clients:
            client.reports.clear()
        house.whep._every_second(now())
        await until(lambda: not house.whep._reports)
        for client in clients:
            reported.append(sum(isinstance(each, rtcp.SenderReport) for each in client.reports))
        channel.broadcast.viewers = set(viewers)
        await until(lambda: all(len(each.reports) >= 2 * REPORTS_PER_PASS for each in clients))


class _Many(list[object]):
    """The same viewers many times: a set would keep them once."""

    def discard(self, viewer: object) -> None:
        """Nobody leaves."""


@virtual_time
async def test_the_viewers_of_a_removed_stream_are_told_and_the_next_stream_of_its_name_is_seen() -> (
    None
):
    async with open_house(grace_s=1.0) as house:
        publication = house.publish()
        first = [await house.watch() for _ in range(3)]
        publication.close("test")
        await asyncio.sleep(0.5)
        assert not any(client.closed.done() for client in first)  # the grace
        await asyncio.sleep(1.0)
        await until(lambda: all(client.closed.done() for client in first))
        await until(lambda: not house.whep.channels)
        house.publish()
        received = Received()
        await house.watch(received)
        await house.play(1.0)
        assert len(received.packets) > 100


@virtual_time
async def test_a_stream_that_ends_and_comes_back_at_once_is_not_mixed_up_with_the_old() -> None:
    async with open_house() as house:
        house.publish()
        await house.watch()
        house.hub.drain()
        house.publish()
        received = Received()
        await house.watch(received)
        await house.play(1.0)
        assert len(received.packets) > 100
        (channel,) = house.whep.channels
        assert channel.stream is house.hub.get(ROOM)


@virtual_time
async def test_viewers_stay_while_the_publisher_is_away_and_numbers_go_on() -> None:
    async with open_house(grace_s=30.0) as house:
        publication = house.publish()
        received = Received()
        client = await house.watch(received)
        await house.play(1.0)
        publication.close("lost")
        await asyncio.sleep(5.0)
        house.first_timestamp = 0xFFFFFF00  # another encoder, another clock
        house.publish()
        await house.play(1.0)
        (channel,) = house.whep.channels
        video = received.of(channel.broadcast.video.ssrc)
        assert not client.closed.done()
        assert gapless(video)
        steps = [
            (after.timestamp - before.timestamp) & 0xFFFFFFFF for before, after in pairwise(video)
        ]
        away = max(steps) / VIDEO_CLOCK_RATE
        assert 5.0 <= away <= 5.2
        assert len(video) > 350


@virtual_time
async def test_b_frames_that_appear_later_end_the_sessions() -> None:
    async with open_house() as house:
        publication = house.publish()
        client = await house.watch()
        publication.stream.reordered = True
        house.show()
        await until(lambda: client.closed.done())
        assert client.closed.done()


@virtual_time
async def test_sound_from_a_rendition_that_ends_and_comes_again_goes_on() -> None:
    async with open_house() as house:
        stream = house.publish().stream
        received = Received()
        client = await house.watch(received)
        (channel,) = house.whep.channels
        rendition = house.hub.rendition(stream, "opus")

        def sing(count: int) -> None:
            for _ in range(count):
                rendition.write(house.sound.next())

        sing(5)
        audio = channel.broadcast.audio
        await until(lambda: len(received.of(audio.ssrc)) == 5)
        house.hub.end_rendition(rendition)
        await asyncio.sleep(0.1)
        assert not client.closed.done()
        rendition = house.hub.rendition(stream, "opus")
        sing(5)
        await until(lambda: len(received.of(audio.ssrc)) == 10)
        assert gapless(received.of(audio.ssrc))


@virtual_time
async def test_a_packet_that_breaks_its_format_is_counted_and_the_rest_is_seen() -> None:
    async with open_house() as house:
        stream = house.publish().stream
        received = Received()
        await house.watch(received)
        (channel,) = house.whep.channels
        stream.write(make_packet(house.pictures.track, 1, b"\0\0\xff\xffbroken", False))
        await house.play(1.0)
        assert channel.malformed == 1
        assert len(received.packets) > 100


@virtual_time
async def test_a_viewer_that_moves_network_goes_on_watching() -> None:
    async with open_house() as house:
        house.publish()
        async with UdpRelay(("127.0.0.1", house.transport.port), seed=1) as relay:
            received = Received()
            client = await house.watch(received, port=relay.port)
            await house.play(1.0)
            await relay.rebind()
            await house.play(6.0)  # its next check of consent comes from the new address
            (channel,) = house.whep.channels
            video = channel.broadcast.video
            seen = received.of(video.ssrc)
            assert seen[-1].sequence == (video.next_index - 1) & 0xFFFF
            assert not client.closed.done()


@virtual_time
async def test_five_percent_loss_each_way_is_mended() -> None:
    async with open_house() as house:
        house.publish()
        relay = UdpRelay(
            ("127.0.0.1", house.transport.port),
            seed=11,
            loss_in=0.05,
            loss_out=0.05,
            delay_in_s=0.02,
            delay_out_s=0.02,
        )
        async with relay:
            received = Received()
            await house.watch(received, port=relay.port)
            await house.play(10.0)
            (channel,) = house.whep.channels
            video = channel.broadcast.video
            (viewer,) = channel.broadcast.viewers
            seen = {packet.timestamp for packet in received.of(video.ssrc)}
            assert relay.counts_out.lost > 50
            assert viewer.resent > 50
            assert received.gaps <= 3
            assert len(seen) >= 0.98 * 300
            assert viewer.skips == 0


@virtual_time
async def test_five_percent_loss_each_way_is_mended_by_rtx_alone() -> None:
    async with open_house() as house:
        house.publish()
        relay = UdpRelay(
            ("127.0.0.1", house.transport.port),
            seed=11,
            loss_in=0.05,
            loss_out=0.05,
            delay_in_s=0.02,
            delay_out_s=0.02,
        )
        async with relay:
            received = Received()
            client = RtxClient(house.certificate, received.on_rtp, clock=now)
            house.clients.append(client)
            _, answer = house.whep.watch(ROOM, client.offer(False).encode())
            await client.connect(sdp.parse(answer), port=relay.port, data=False)
            await house.play(10.0)
            (channel,) = house.whep.channels
            (viewer,) = channel.broadcast.viewers
            seen = {packet.timestamp for packet in received.of(channel.broadcast.video.ssrc)}
            assert client.repairs.received > 50
            assert viewer.resent >= client.repairs.received
            assert received.gaps <= 3
            assert len(seen) >= 0.98 * 300
            assert (viewer.skips, client.undecryptable) == (0, 0)


@dataclass
class Timed(Received):
    """Knows when each packet came."""

    times: list[float] = field(default_factory=list)

    def on_rtp(self, packet: rtp.RtpPacket, gap: bool) -> None:
        super().on_rtp(packet, gap)
        self.times.append(now())

    def late_s(self, line: Line) -> list[float]:
        """How much later than the quickest each frame was complete, in order."""
        delays = [
            at - ((packet.timestamp - line.timestamp_offset) & 0xFFFFFFFF) / line.clock_rate
            for packet, at in zip(self.packets, self.times, strict=True)
            if packet.ssrc == line.ssrc and (packet.marker or line.clock_rate == OPUS_CLOCK_RATE)
        ]
        return [delay - min(delays) for delay in delays]


THIN_BPS = 700_000
SETTLED_S = 4.0  # until the first pause, and a gap that the player has given up
THIN_S = 30.0


@pytest.mark.parametrize("gop", [60, 1 << 30], ids=["rtmp", "whip"])
@virtual_time
async def test_in_a_thin_link_sound_is_whole_and_picture_is_never_a_second_late(gop: int) -> None:
    """1 Mbit/s into 0.7, behind a drop-tail queue: video pauses, ever longer."""
    async with open_house() as house:
        house.pictures = Pictures(gop=gop, picture_bytes=3500, keyframe_bytes=12_000)
        house.publish()
        address = ("127.0.0.1", house.transport.port)
        async with UdpRelay(address, seed=11, delay_in_s=0.02, delay_out_s=0.02) as relay:
            received = Timed()
            client = await house.watch(received, port=relay.port)
            await house.play(2.0)
            (channel,) = house.whep.channels
            broadcast = channel.broadcast
            (viewer,) = broadcast.viewers
            assert broadcast.bytes_per_s * 8 > 0.9e6
            relay.set_rate("out", THIN_BPS)
            await house.play(SETTLED_S)
            heard = len(received.late_s(broadcast.audio))
            shown = len(received.late_s(broadcast.video))
            await house.play(THIN_S)
            sound = received.late_s(broadcast.audio)[heard:]
            picture = received.late_s(broadcast.video)[shown:]
            assert viewer.skips >= 3
            assert len(sound) >= 50 * THIN_S - 2
            assert sorted(sound)[round(0.98 * len(sound))] < 0.95
            assert max(sound) < 1.15  # it waits in the player for what the full queue lost
            assert len(picture) > 40
            assert max(picture) < 1.0
            assert not client.closed.done()


@virtual_time
async def test_estimates_are_told_over_all_streams() -> None:
    async with open_house() as house:
        house.publish()
        clients = [await house.watch() for _ in range(3)]
        (channel,) = house.whep.channels
        assert house.whep.estimates() == {}
        for client, bps in zip(clients, (2_000_000, 500_000, 1_000_000), strict=True):
            client.send_rtcp(rtcp.serialize_remb(client.ssrc, bps, [channel.broadcast.video.ssrc]))
        await until(lambda: all(each.remb_bps for each in channel.broadcast.viewers))
        assert house.whep.estimates() == {"min": 500_000, "median": 1_000_000}


# -- coming and going ----------------------------------------------------------------------------


def sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            continue
    return count


def timers() -> int:
    """Timers that are armed on the running loop, which is asyncio's own."""
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return sum(not handle.cancelled() for handle in scheduled)


async def come_and_go(house: House, times: int) -> None:
    """Three at a time: one leaves by DELETE, one by DTLS, one without a word."""
    transport = house.transport
    for _ in range(times):
        clients = [await house.watch(data=True) for _ in range(3)]
        house.show()
        house.whep.delete(clients[0].resource)
        await clients[1].close()
        transport.close(transport.sessions[clients[2].resource], "silent")
        for client in clients:
            await client.close()
        house.clients.clear()
        await until(lambda: not transport.sessions and not transport._goodbyes)
        assert not house.whep.channels


def nothing_is_left(house: House) -> bool:
    """Whether nobody but the house itself is there."""
    transport, whep = house.transport, house.whep
    stream = house.hub.get(ROOM)
    assert stream is not None
    return not (
        transport.sessions
        or transport._by_ufrag
        or transport._by_address
        or transport._goodbyes
        or transport.sender._backlog
        or whep._channels
        or whep._reports
        or stream.readers
    )


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
async def test_three_hundred_joins_and_leaves_leave_no_socket_task_timer_or_thread() -> None:
    async with open_house() as house:
        house.publish()
        await asyncio.sleep(0)
        before = sockets(), len(asyncio.all_tasks()), timers()
        threads = threading.active_count()
        await come_and_go(house, 100)
        await until(lambda: (sockets(), len(asyncio.all_tasks()), timers()) == before)
        assert threading.active_count() == threads
        assert nothing_is_left(house)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_nothing_is_left_on_uvloop_either() -> None:
    async def main() -> None:
        async with open_house() as house:
            house.publish()
            await asyncio.sleep(0)
            before = sockets(), len(asyncio.all_tasks())
            await come_and_go(house, 10)
            await until(lambda: (sockets(), len(asyncio.all_tasks())) == before)
            assert nothing_is_left(house)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_a_hundred_offers_without_a_client_leave_nothing() -> None:
    async with open_house() as house:
        stream = house.publish().stream
        before = len(asyncio.all_tasks())
        for _ in range(100):
            house.whep.watch(ROOM, offer().encode())
        for resource in list(house.transport.sessions):
            house.whep.delete(resource)
        await until(lambda: len(asyncio.all_tasks()) == before)
        assert not house.whep.channels
        assert stream.readers == 0
