"""A viewer goes from layer to layer: no picture missing or doubled, no number used twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from aiortc.rtcdtlstransport import SRTPProtectionProfile

from mediaserver.media import VIDEO_CLOCK_RATE
from mediaserver.protocol import rtcp, rtp, rtp_rtx
from mediaserver.protocol.h264 import NAL_IDR, nal_type
from mediaserver.rtc.ladder import PULSE_S, SILENT_S
from mediaserver.rtc.layer import Layer
from mediaserver.rtc.viewer import Viewer
from tests.rtc.players import AUDIO_TYPE, CM, GCM, VIDEO_TYPE, Player, gapless, sequences
from tests.rtc.stage import Stage, access_units
from tests.rtc.streams import VIDEO, Pictures
from tests.virtual_time import now, virtual_time

PROFILES = pytest.mark.parametrize("profile", [GCM, CM], ids=["gcm", "aes-cm"])
OURS = 77
RTX_TYPE = 97
FRAME_TICKS = VIDEO_CLOCK_RATE // 30


@dataclass
class Witness(Player):
    """Keeps every datagram, and what came again in a stream of its own."""

    raw: list[bytes] = field(default_factory=list)
    again: list[rtp.RtpPacket] = field(default_factory=list)
    late: list[rtp.RtpPacket] = field(default_factory=list)

    def datagrams(self) -> list[bytes]:
        fresh = super().datagrams()
        self.raw += fresh
        return fresh

    def take(self) -> list[rtp.RtpPacket]:
        fresh = super().take()
        self.again += [each for each in self.audio if each.payload_type == RTX_TYPE]
        self.audio = [each for each in self.audio if each.payload_type != RTX_TYPE]
        return fresh

    def watch(self, stage: Stage, rtx: int = RTX_TYPE) -> Viewer:
        types = (VIDEO_TYPE, AUDIO_TYPE)
        broadcast = stage.broadcast
        send = lambda data: stage.socket.sendto(data, self.address)  # noqa: E731
        viewer = Viewer(broadcast, self.srtp, self.address, types, send, rtx)
        stage.players.append(self)
        broadcast.add(viewer)
        return viewer


def low_pictures(**options: int) -> Pictures:
    track = replace(VIDEO, width=VIDEO.width // 2, height=VIDEO.height // 2)
    return Pictures(track=track, picture_bytes=1_200, keyframe_bytes=6_000, **options)


def is_whole(player: Witness) -> None:
    """Every picture once, in order, undamaged; and no number was used twice for other bytes."""
    units = access_units(player.video)
    assert not any(unit.damaged for unit in units)
    steps = [(after.timestamp - before.timestamp) & 0xFFFFFFFF for before, after in pairwise(units)]
    assert set(steps) == {FRAME_TICKS}
    assert gapless(player.video)
    assert player.failed == player.doubled == 0
    nothing_used_twice(player)


def nothing_used_twice(player: Witness) -> None:
    sealed: dict[tuple[bytes, bytes], bytes] = {}
    for data in player.raw:
        if not rtcp.is_rtcp(data):
            assert sealed.setdefault((data[8:12], data[2:4]), data) == data


def starts_with_keyframe(player: Witness, first: int) -> bool:
    """Whether a keyframe stands at this packet."""
    return nal_type(access_units(player.video[first:])[0].nals[-1]) == NAL_IDR


async def settle(stage: Stage, seconds: int = 4) -> None:
    for _ in range(seconds):
        await stage.play(1.0)
        stage.broadcast.housekeep(now())


def go(viewer: Viewer, layer: Layer) -> None:
    viewer.rises = False
    viewer.layer.follow(viewer, layer)


def shows(stage: Stage, player: Witness) -> str:
    """The name of the layer that the player's newest whole picture is of."""
    newest = access_units(player.video[-60:])[-1].nals[-1]
    for name, rendition in stage.renditions.items():
        if newest in rendition.pictures.payloads:
            return name
    assert newest in stage.pictures.payloads
    return "source"


# -- going over ----------------------------------------------------------------------------------


@PROFILES
@pytest.mark.parametrize("next_index", [1000, 0x10000 - 6, 0x10000 - 4200])
@pytest.mark.parametrize("behind_s", [0.0, 0.004, 0.21], ids=["together", "after", "behind"])
@virtual_time
async def test_a_viewer_goes_down_and_up_and_misses_nothing(
    behind_s: float, next_index: int, profile: SRTPProtectionProfile
) -> None:
    with Stage(Pictures(gop=45), next_index=next_index) as stage:
        low = stage.add_layer("low", low_pictures(gop=40), behind_s=behind_s)
        stage.feed()
        player = Witness(profile)
        viewer = player.watch(stage)
        await settle(stage)
        for target, name in ((low, "low"), (stage.broadcast.source, "source"), (low, "low")):
            go(viewer, target)
            await stage.play(2.0)
            assert viewer.layer is target
            assert shows(stage, player) == name
        assert viewer.moves == 3
        is_whole(player)


@virtual_time
async def test_the_old_layer_is_shown_until_the_new_ones_keyframe() -> None:
    with Stage() as stage:
        low = stage.add_layer("low", low_pictures(gop=1 << 30), obedient=False)
        low.want(10)
        stage.renditions["low"].pictures.want = False
        player = Witness()
        viewer = player.watch(stage)
        await settle(stage)
        go(viewer, low)
        await stage.play(3.0)
        assert shows(stage, player) == "source"
        stage.renditions["low"].pictures.want = True
        await stage.play(0.2)
        assert shows(stage, player) == "low"
        is_whole(player)


@virtual_time
async def test_a_keyframe_of_before_what_was_shown_is_not_gone_over_to() -> None:
    """Time would go back: a group of pictures from the cache, or of a layer far behind."""
    with Stage() as stage:
        low = stage.add_layer("low", low_pictures(gop=60))
        player = Witness()
        viewer = player.watch(stage)
        await settle(stage)
        old = low_pictures(gop=60)
        old.number = 90
        go(viewer, low)
        for _ in range(20):
            stage.broadcast.feed(old.next(keyframe=old.number == 90), low)
        stage.renditions["low"].pictures.want = False
        assert viewer.cut is None
        await stage.play(2.1)
        assert viewer.layer is low
        is_whole(player)


@virtual_time
async def test_many_go_over_together_and_none_of_them_holds_up_those_who_stay() -> None:
    with Stage() as stage:
        low = stage.add_layer("low", low_pictures(gop=60))
        watching = [(player, player.watch(stage)) for player in (Witness() for _ in range(30))]
        await settle(stage)
        for _, viewer in watching[::2]:
            go(viewer, low)
        await stage.play(3.0)
        for number, (player, viewer) in enumerate(watching):
            assert viewer.layer is (stage.broadcast.source if number % 2 else low)
            is_whole(player)
        for _, viewer in watching:
            stage.broadcast.remove(viewer)
        for layer in stage.broadcast.layers.values():
            assert not layer.cohorts
            assert not (layer.viewers | layer.coming | layer.followers | layer.joiners)


@virtual_time
async def test_who_was_to_go_over_and_stays_misses_nothing() -> None:
    with Stage() as stage:
        low = stage.add_layer("low", low_pictures(gop=1 << 30), obedient=False)
        stage.renditions["low"].pictures.want = False
        player = Witness()
        viewer = player.watch(stage)
        await settle(stage)
        go(viewer, low)
        await stage.play(0.5)
        stage.broadcast.source.stay(viewer)
        await stage.play(1.0)
        assert not low.coming and not stage.broadcast.source.followers
        is_whole(player)


@virtual_time
async def test_who_leaves_on_its_way_leaves_nothing_behind() -> None:
    with Stage() as stage:
        low = stage.add_layer("low", low_pictures(gop=1 << 30), obedient=False)
        stage.renditions["low"].pictures.want = False
        player = Witness()
        viewer = player.watch(stage)
        await settle(stage)
        go(viewer, low)
        await stage.play(0.5)
        stage.broadcast.remove(viewer)
        assert not (low.coming | low.viewers | stage.broadcast.source.viewers)
        assert not low.wishes.open
        assert not low.wanted(now() + 60)


# -- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rtx", [RTX_TYPE, -1], ids=["rtx", "again"])
@virtual_time
async def test_what_was_lost_just_before_going_over_comes_again(rtx: int) -> None:
    with Stage(Pictures(gop=45)) as stage:
        low = stage.add_layer("low", low_pictures(gop=40))
        player = Witness()
        viewer = player.watch(stage, rtx)
        await settle(stage)
        go(viewer, low)
        while viewer.layer is not low:
            await stage.play(0.01)
        await stage.play(0.1)
        assert viewer.video is not None
        first = (viewer.video.offset + viewer._first["video"]) & 0xFFFF
        border = sequences(player.video).index(first)
        wanted = player.video[border - 20 : border + 3]
        player.raw.clear()
        viewer.on_rtcp([rtcp.Nack(OURS, stage.broadcast.video.ssrc, sequences(wanted))], now())
        await asyncio.sleep(0)
        player.take()
        if rtx == RTX_TYPE:
            again = [rtp_rtx.parse(each.payload) for each in player.again]
            assert again == [(each.sequence, each.payload) for each in wanted]
            assert gapless(player.again)
        else:
            numbers = [int.from_bytes(data[2:4], "big") for data in player.raw]
            assert numbers == sequences(wanted)
        assert player.failed == 0


@virtual_time
async def test_retransmissions_go_on_counting_on_another_layer() -> None:
    with Stage(Pictures(gop=45)) as stage:
        low = stage.add_layer("low", low_pictures(gop=40))
        player = Witness()
        viewer = player.watch(stage)
        await settle(stage)
        for target in (low, stage.broadcast.source, low):
            lost = player.video[-1].sequence
            viewer.on_rtcp([rtcp.Nack(OURS, stage.broadcast.video.ssrc, [lost])], now())
            go(viewer, target)
            await stage.play(2.0)
        assert len(player.again) == 3
        assert gapless(player.again)
        nothing_used_twice(player)


@virtual_time
async def test_sender_reports_count_what_the_viewer_got_of_all_layers() -> None:
    with Stage(Pictures(gop=45)) as stage:
        low = stage.add_layer("low", low_pictures(gop=40))
        player = Witness()
        stage.feed()
        viewer = player.watch(stage)
        await stage.play(1.0)
        for target in (low, stage.broadcast.source, low):
            go(viewer, target)
            await stage.play(2.1)
        player.reports.clear()
        viewer.report(stage.broadcast.sender_reports(1.8e9, viewer))
        viewer.report(stage.broadcast.sender_reports(1.8e9))
        player.take()
        own, _, shared, _ = (r for r in player.reports if isinstance(r, rtcp.SenderReport))
        assert own.packet_count == len(player.video)
        assert own.octet_count == sum(len(each.payload) for each in player.video)
        assert (own.ssrc, own.rtp_timestamp) == (shared.ssrc, shared.rtp_timestamp)


# -- a link that chokes --------------------------------------------------------------------------


@virtual_time
async def test_who_chokes_gets_no_more_of_what_chokes_it_and_the_lower_layer_at_once() -> None:
    with Stage(Pictures(gop=1 << 30)) as stage:
        low = stage.add_layer("low", low_pictures(gop=1 << 30))
        low.want(10)
        player = Witness()
        viewer = player.watch(stage)
        await settle(stage)
        lost = sequences(player.video[-100:])
        viewer.on_rtcp([rtcp.Nack(OURS, stage.broadcast.video.ssrc, lost)], now())
        await asyncio.sleep(0)
        seen = len(player.video)
        await stage.play(0.5)
        assert viewer.skips == 1 and viewer.layer is low
        assert not player.again
        fresh = player.video[seen:]
        assert starts_with_keyframe(player, seen)
        assert shows(stage, player) == "low"
        assert gapless(player.video)
        assert ((fresh[0].timestamp - player.video[seen - 1].timestamp) & 0xFFFFFFFF) <= 9000
        heard = len(player.audio)
        await stage.play(1.0)
        assert len(player.audio) >= heard + 50
        nothing_used_twice(player)
        assert player.failed == player.doubled == 0


@virtual_time
async def test_on_the_lowest_layer_it_pauses_as_without_layers() -> None:
    with Stage(Pictures(gop=1 << 30)) as stage:
        low = stage.add_layer("low", low_pictures(gop=1 << 30))
        player = Witness()
        viewer = player.watch(stage)
        await settle(stage)
        stage.broadcast.ladder.fall(viewer, low)
        await settle(stage)
        assert viewer.layer is low
        for _ in range(3):
            ssrc = stage.broadcast.video.ssrc
            viewer.on_rtcp([rtcp.Nack(OURS, ssrc, sequences(player.video[-160:]))], now())
            await stage.play(1.3)
        assert viewer.layer is low
        assert viewer.skips >= 1
        nothing_used_twice(player)


# -- layers that fall silent, come and go --------------------------------------------------------


@virtual_time
async def test_the_viewers_of_a_layer_that_falls_silent_go_to_another() -> None:
    with Stage(Pictures(gop=60)) as stage:
        low = stage.add_layer("low", low_pictures(gop=60))
        players = [Witness() for _ in range(5)]
        viewers = [player.watch(stage) for player in players]
        await settle(stage)
        stage.silent = True
        await stage.play(SILENT_S + 2 * PULSE_S + 0.3)
        assert {viewer.layer for viewer in viewers} == {low}
        for player in players:
            assert shows(stage, player) == "low"
            assert gapless(player.video)
            nothing_used_twice(player)


@virtual_time
async def test_while_no_layer_is_heard_of_everybody_stays() -> None:
    with Stage(Pictures(gop=60)) as stage:
        stage.add_layer("low", low_pictures(gop=60))
        player = Witness()
        viewer = player.watch(stage)
        await settle(stage)
        stage.silent = stage.renditions["low"].silent = True
        await stage.play(8.0)
        assert viewer.moves == 0
        stage.silent = stage.renditions["low"].silent = False
        await stage.play(1.0)
        assert shows(stage, player) == "source"


@virtual_time
async def test_the_viewers_of_a_rendition_that_ends_go_to_another() -> None:
    with Stage(Pictures(gop=30)) as stage:
        low = stage.add_layer("low", low_pictures(gop=30))
        staying, leaving, coming = (Witness() for _ in range(3))
        viewers = [player.watch(stage) for player in (staying, leaving, coming)]
        await settle(stage)
        go(viewers[1], low)
        await stage.play(1.5)
        go(viewers[2], low)
        stage.broadcast.remove_layer(low)
        del stage.renditions["low"]
        await stage.play(1.5)
        assert {viewer.layer for viewer in viewers} == {stage.broadcast.source}
        for player in (staying, leaving, coming):
            assert shows(stage, player) == "source"
            assert gapless(player.video)
            nothing_used_twice(player)
        is_whole(coming)


@virtual_time
async def test_who_joins_starts_on_the_source() -> None:
    with Stage(Pictures(gop=30)) as stage:
        stage.add_layer("low", low_pictures(gop=30)).want(10)
        await settle(stage)
        player = Witness()
        player.watch(stage)
        await stage.play(1.0)
        assert shows(stage, player) == "source"
        is_whole(player)


@virtual_time
async def test_a_layer_is_wanted_while_somebody_has_it_or_is_to_have_it() -> None:
    with Stage(Pictures(gop=1 << 30)) as stage:
        low = stage.add_layer("low", low_pictures(gop=1 << 30))
        player = Witness()
        viewer = player.watch(stage)
        await settle(stage)
        assert not low.wanted(now()) and not low.running
        assert stage.broadcast.source.wanted(now())
        go(viewer, low)
        assert low.wanted(now()) and low.running
        await stage.play(1.0)
        assert viewer.layer is low
        assert not stage.broadcast.source.wanted(now())
        stage.broadcast.remove(viewer)
        assert not low.wanted(now())
