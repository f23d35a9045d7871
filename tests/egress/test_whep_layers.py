"""Renditions as layers of WHEP viewers: which are read, who gets which, and streams that change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from mediaserver.egress.whep_channel import SOUND_PACKETS
from mediaserver.hub import Stream
from mediaserver.protocol import rtcp, sdp
from mediaserver.protocol.vp8 import video_track as vp8_track
from mediaserver.rtc.ladder import AHEAD_S
from mediaserver.rtc.layer import Layer
from mediaserver.rtc.viewer import Viewer
from tests.egress.rtx_client import RtxClient
from tests.rtc.house import ROOM, House, Received, open_house
from tests.rtc.streams import VIDEO, Pictures
from tests.udp_relay import UdpRelay
from tests.virtual_time import now, until, virtual_time

LOW = replace(VIDEO, width=VIDEO.width // 2, height=VIDEO.height // 2)
REPORT_S = 0.2
CAP_BPS = 1_000_000
VP8_KEYFRAME = b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" + bytes(50)  # 320x240


@dataclass
class LayeredHouse:
    """A house whose stream has lower layers, in step with its pictures."""

    house: House
    layers: dict[Stream, Pictures] = field(default_factory=dict)

    def add(self, suffix: str, picture_bytes: int, **options: int) -> Stream:
        """A rendition that makes a keyframe when it is asked to."""
        assert self.house.publication is not None
        pictures = Pictures(
            track=LOW, picture_bytes=picture_bytes, keyframe_bytes=4 * picture_bytes, **options
        )
        pictures.number = self.house.pictures.number
        stream = self.house.hub.rendition(self.house.publication.stream, suffix, pictures.track)
        stream.on_keyframe_request = lambda: setattr(pictures, "want", True)
        self.layers[stream] = pictures
        return stream

    async def play(self, seconds: float) -> None:
        house = self.house
        for _ in range(round(seconds * 30)):
            house.show()
            for stream, pictures in self.layers.items():
                stream.write(pictures.next())
            while house.sound.number / 50 < house.pictures.number / 30:
                house.sing()
            await asyncio.sleep(1 / 30)

    @property
    def viewer(self) -> Viewer:
        (channel,) = self.house.whep.channels
        (viewer,) = channel.broadcast.viewers
        return viewer

    def layer(self, name: str) -> Layer:
        (channel,) = self.house.whep.channels
        return channel.broadcast.layers[name]


class ReportingClient(RtxClient):
    """Reports as Chromium does: an estimate near what was received, less when packets are lost."""

    received_bytes = 0
    estimate_bps = 300_000.0

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.received_bytes += len(data)
        before = len(self.reports)
        super().datagram_received(data, addr)
        for report in self.reports[before:]:
            if isinstance(report, rtcp.SenderReport) and report.ssrc in self._receivers:
                self._receivers[report.ssrc].on_sender_report(report, now())

    async def report_forever(self) -> None:
        while True:
            before = self.received_bytes
            await asyncio.sleep(REPORT_S)
            self.report_once((self.received_bytes - before) * 8 / REPORT_S)

    def report_once(self, bps: float) -> None:
        blocks = [each.report(now()) for each in self._receivers.values() if each.received]
        if max((block.fraction_lost for block in blocks), default=0) > 25:
            self.estimate_bps = 0.85 * bps
        else:
            self.estimate_bps = min(1.5 * bps, 1.1 * self.estimate_bps + 10_000)
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(self.ssrc, blocks))
        ssrcs = [block.ssrc for block in blocks]
        self.send_rtcp(report + rtcp.serialize_remb(self.ssrc, round(self.estimate_bps), ssrcs))


async def watch(house: House, received: Received, port: int | None = None) -> asyncio.Task[None]:
    """A reporting viewer; ends with its task."""
    client = ReportingClient(house.certificate, received.on_rtp, clock=now)
    house.clients.append(client)
    client.resource, answer = house.whep.watch(ROOM, client.offer(False).encode())
    await client.connect(sdp.parse(answer), port=port, data=False)
    (channel,) = house.whep.channels
    channel.broadcast.utc_s = lambda: 1_790_000_000 + now()
    return asyncio.get_running_loop().create_task(client.report_forever())


# -- what is read --------------------------------------------------------------------------------


@virtual_time
async def test_a_rendition_is_read_only_while_somebody_needs_it() -> None:
    async with open_house() as house:
        house.publish()
        here = LayeredHouse(house)
        low = here.add("low", 1_000, gop=60)
        await house.watch(Received())
        await here.play(3.0)
        viewer = here.viewer
        assert low.readers == 0
        viewer.layer.follow(viewer, here.layer("low"))
        assert low.readers == 1
        await here.play(2.0)
        assert viewer.layer is here.layer("low")
        await here.play(12.0)  # the source was wanted for whoever would have connected
        assert house.publication is not None
        assert house.publication.stream.readers == 1  # its sound
        viewer.layer.follow(viewer, here.layer(""))
        await here.play(AHEAD_S + 2)
        assert low.readers == 0


@virtual_time
async def test_renditions_come_and_go_while_viewers_watch() -> None:
    async with open_house() as house:
        house.publish()
        here = LayeredHouse(house)
        received = Received()
        await house.watch(received)
        await here.play(1.0)
        low = here.add("low", 1_000)
        viewer = here.viewer
        viewer.layer.follow(viewer, here.layer("low"))
        await here.play(1.0)
        assert viewer.layer is here.layer("low")
        del here.layers[low]
        house.hub.end_rendition(low)
        await here.play(1.0)
        assert viewer.layer is here.layer("")
        again = here.add("low", 1_000)
        viewer.layer.follow(viewer, here.layer("low"))
        await here.play(1.0)
        assert viewer.layer is here.layer("low")
        assert again.readers == 1
        assert received.gaps == 0


@virtual_time
async def test_sound_and_other_codecs_are_no_layers_and_neither_is_what_has_b_frames() -> None:
    async with open_house() as house:
        publication = house.publish()
        here = LayeredHouse(house)
        here.add("mixed", 1_000).reordered = True
        house.hub.rendition(publication.stream, "aac")
        house.hub.rendition(publication.stream, "other", vp8_track(VP8_KEYFRAME))
        late = house.hub.rendition(publication.stream, "late")
        await house.watch(Received())
        (channel,) = house.whep.channels
        assert set(channel.broadcast.layers) == {""}
        late.write(Pictures(track=LOW).next())
        await here.play(1.5)
        assert set(channel.broadcast.layers) == {"", "late"}


# -- a thin link ---------------------------------------------------------------------------------


@virtual_time
async def test_a_capped_viewer_goes_down_within_5_s_and_up_within_20() -> None:
    async with open_house() as house:
        house.pictures = Pictures(gop=60, picture_bytes=8_000, keyframe_bytes=24_000)
        house.publish()
        here = LayeredHouse(house)
        here.add("low", 1_400, gop=60)
        address = ("127.0.0.1", house.transport.port)
        async with UdpRelay(address, seed=11, delay_in_s=0.02, delay_out_s=0.02) as relay:
            received = Received()
            reporting = await watch(house, received, relay.port)
            await here.play(6.0)
            viewer = here.viewer
            assert (viewer.layer.name, viewer.moves) == ("", 0)
            relay.set_rate("out", CAP_BPS)
            await here.play(5.0)
            assert viewer.layer.name == "low"
            heard, shown = (len(received.of(ssrc)) for ssrc in ssrcs(here))
            await here.play(30.0)
            assert (viewer.layer.name, viewer.moves) == ("low", 1)
            newly_heard, newly_shown = (len(received.of(ssrc)) for ssrc in ssrcs(here))
            assert newly_heard - heard >= 50 * 30 - 10
            frames = {packet.timestamp for packet in received.of(ssrcs(here)[1])[shown:]}
            assert len(frames) >= 0.97 * 30 * 30
            assert newly_shown > shown
            relay.set_rate("out", 0)
            await here.play(20.0)
            assert (viewer.layer.name, viewer.moves) == ("", 2)
            reporting.cancel()


def ssrcs(here: LayeredHouse) -> tuple[int, int]:
    """Of sound and of video."""
    broadcast = here.viewer.broadcast
    return broadcast.audio.ssrc, broadcast.video.ssrc


@virtual_time
async def test_of_three_layers_the_one_that_fits_is_kept() -> None:
    async with open_house() as house:
        house.pictures = Pictures(gop=60, picture_bytes=10_000, keyframe_bytes=30_000)
        house.publish()
        here = LayeredHouse(house)
        here.add("middle", 2_600, gop=60)
        here.add("low", 1_000, gop=60)
        address = ("127.0.0.1", house.transport.port)
        async with UdpRelay(address, seed=11, delay_in_s=0.02, delay_out_s=0.02) as relay:
            reporting = await watch(house, Received(), relay.port)
            await here.play(6.0)
            relay.set_rate("out", CAP_BPS)
            await here.play(30.0)
            viewer = here.viewer
            before = viewer.moves
            await here.play(30.0)
            assert viewer.layer.name == "middle"
            assert viewer.moves == before <= 4
            relay.set_rate("out", 400_000)
            await here.play(10.0)
            assert viewer.layer.name == "low"
            reporting.cancel()


# -- streams that change -------------------------------------------------------------------------


@virtual_time
async def test_viewers_are_ended_when_the_publisher_changes_its_codec() -> None:
    async with open_house() as house:
        publication = house.publish()
        client = await house.watch()
        await house.play(0.5)
        track = vp8_track(VP8_KEYFRAME)
        publication.close("lost")
        again = house.hub.publish(ROOM, protocol="test", on_close=lambda reason: None)
        again.write(track, 0, VP8_KEYFRAME, keyframe=True, arrival=now())
        await until(lambda: client.closed.done())
        assert not house.whep.channels


async def test_h264_is_accepted_of_a_stream_that_has_no_track_of_video_yet() -> None:
    async with open_house() as house:
        house.publish()
        house.sing()
        assert house.publication is not None
        house.publication.stream.tracks.pop("video")
        client = house.client()
        resource, answer = house.whep.watch(ROOM, client.offer().encode())
        assert sdp.parse(answer).medias[0].port == 9
        house.whep.delete(resource)


@virtual_time
async def test_a_stream_of_sound_alone_is_answered_so_and_ends_when_a_picture_comes() -> None:
    async with open_house() as house:
        publication = house.hub.publish(ROOM, protocol="test", on_close=lambda reason: None)
        house.publication = publication
        for _ in range(SOUND_PACKETS + 1):
            house.sing()
            await asyncio.sleep(0.02)
        received = Received()
        client = house.client(received)
        client.resource, answer = house.whep.watch(ROOM, client.offer(False).encode())
        video, audio = sdp.parse(answer).medias
        assert (video.port, audio.port) == (0, 9)
        for _ in range(5):
            house.sing()
        house.show()
        await asyncio.sleep(1.1)
        await until(lambda: not house.whep.channels)
