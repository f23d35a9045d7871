"""A viewer's reports: what a NACK brings back, what it may cost, and who is asked for a keyframe."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from aiortc.rtcdtlstransport import SRTPProtectionProfile

from mediaserver.errors import PeerError
from mediaserver.hub import Hub
from mediaserver.protocol import rtcp, rtp, rtp_rtx
from mediaserver.rtc import budget as budget_module
from mediaserver.rtc.budget import NACK_BURST_BYTES, NACK_SHARE, RESENT_REMEMBERED
from mediaserver.rtc.link import MAX_RTT_S
from mediaserver.rtc.patience import CALM_S, PAUSE_MAX_S, SKIP_PAUSE_S
from mediaserver.rtc.sender import SLICE_S
from mediaserver.rtc.viewer import (
    CUT_OFF_S,
    DEFAULT_RTT_S,
    NACKED_AT_ONCE,
    QUEUE_S,
    Viewer,
)
from tests.rtc.players import AUDIO_TYPE, CM, GCM, VIDEO_TYPE, Player, gapless, sequences
from tests.rtc.stage import Stage, access_units
from tests.rtc.streams import Pictures
from tests.virtual_time import now, until, virtual_time

OURS = 77  # the player's SSRC in its reports
RTX_TYPE = 97
NOWHERE = ("255.255.255.255", 9)  # the kernel refuses to send there


@dataclass
class RtxPlayer(Player):
    """A player that takes retransmissions in a stream of their own, and keeps them apart."""

    again: list[rtp.RtpPacket] = field(default_factory=list)

    def take(self) -> list[rtp.RtpPacket]:
        fresh = super().take()
        self.again += [each for each in self.audio if each.payload_type == RTX_TYPE]
        self.audio = [each for each in self.audio if each.payload_type != RTX_TYPE]
        return fresh

    def watch(self, stage: Stage) -> Viewer:
        viewer = Viewer(
            stage.broadcast,
            self.srtp,
            self.address,
            (VIDEO_TYPE, AUDIO_TYPE),
            lambda data: None,
            RTX_TYPE,
        )
        stage.players.append(self)
        stage.broadcast.add(viewer)
        return viewer


class SteppedClock:
    """Moves on by `step_s` with every look."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.at = 2000.0

    def __call__(self) -> float:
        self.at += self.step_s
        return self.at


async def nack(viewer: Viewer, *lost: int) -> None:
    """Ask for video again; answered in the loop's next turn."""
    await told(viewer, rtcp.Nack(OURS, viewer.broadcast.video.ssrc, list(lost)))


async def told(viewer: Viewer, *reports: rtcp.RtcpPacket) -> None:
    viewer.on_rtcp(reports, now())
    await asyncio.sleep(0)


async def settled(stage: Stage, *, profile: object = GCM) -> tuple[Player, Viewer]:
    """A viewer in its cohort, with the stream's rate measured and nothing waiting on its socket."""
    player, viewer = stage.join(profile)  # type: ignore[arg-type]
    for _ in range(4):
        await stage.play(1.0)
        stage.broadcast.housekeep(now())
    return player, viewer


@pytest.fixture
def generous(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that no test exhausts."""
    monkeypatch.setattr(budget_module, "NACK_BURST_BYTES", 1 << 30)


# -- retransmission ------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [GCM, CM], ids=["gcm", "aes-cm"])
@virtual_time
async def test_a_lost_packet_comes_again_once_per_round_trip(profile: object) -> None:
    with Stage() as stage:
        player, viewer = await settled(stage, profile=profile)
        viewer.rtt_s = 0.1
        lost = player.video[-3].sequence
        await nack(viewer, lost)
        assert len(player.datagrams()) == 1
        for _ in range(9):
            await stage.rest(0.01)
            await nack(viewer, lost)
            assert player.datagrams() == []
        await stage.rest(0.011)
        await nack(viewer, lost)
        assert len(player.datagrams()) == 1
        assert viewer.resent == 2
        assert viewer.nacked == 11


@virtual_time
async def test_a_player_that_lost_packets_is_mended() -> None:
    with Stage() as stage:
        await settled(stage)
        await stage.play(0.5)
        player, viewer = stage.join()
        player.lose = 3
        await stage.play(1.0)
        first = player.video[0].sequence
        await nack(viewer, *((first - back) & 0xFFFF for back in (1, 2, 3)))
        assert sequences(player.take()) == [first - 1, first - 2, first - 3]
        in_order = sorted(player.video, key=lambda packet: packet.sequence)
        assert gapless(in_order)
        assert not any(unit.damaged for unit in access_units(in_order))


@pytest.mark.parametrize("before_wrap", [6, 5000])
@virtual_time
async def test_packets_lost_around_the_wrap_come_again(before_wrap: int, generous: None) -> None:
    """Both for a viewer that crosses the wrap with its cohort, and for one with its own numbers."""
    with Stage(next_index=0x10000 - before_wrap) as stage:
        stage.feed()
        player, viewer = stage.join()
        assert viewer.video is not None
        assert (viewer.video.offset != 0) == (before_wrap == 6)
        await stage.play(0.5, sound=False)
        while stage.broadcast.video.next_index < 0x10000 + 60:
            stage.feed(size=200_000)
            await stage.play(0.1, sound=False)
        wanted = [packet.sequence for packet in player.video[-100:]]
        await nack(viewer, *wanted)
        again = player.datagrams()
        assert len(again) == 100
        assert [int.from_bytes(data[2:4], "big") for data in again] == wanted


@virtual_time
async def test_what_was_never_sent_to_this_viewer_is_not_sent_again() -> None:
    with Stage() as stage:
        await settled(stage)
        player, viewer = stage.join()
        await stage.play(1.5)
        start = player.video[0].sequence
        newest = player.video[-1].sequence
        player.datagrams()
        before_the_start = [(start - back) & 0xFFFF for back in range(1, 50)]
        after_the_end = [(newest + ahead) & 0xFFFF for ahead in range(1, 50)]
        await nack(viewer, *before_the_start, *after_the_end, 0, 0x8000)
        assert player.datagrams() == []
        assert viewer.resent == 0


@virtual_time
async def test_what_is_still_queued_is_not_sent_ahead_of_its_turn() -> None:
    with Stage() as stage:
        player, viewer = await settled(stage)
        stage.feed(keyframe=False, size=200_000)
        assert stage.broadcast.source._pending
        player.datagrams()
        await nack(viewer, stage.broadcast.video.released & 0xFFFF)
        assert player.datagrams() == []


@virtual_time
async def test_a_nack_for_another_ssrc_is_ignored() -> None:
    with Stage() as stage:
        player, viewer = await settled(stage)
        viewer.on_rtcp([rtcp.Nack(OURS, 12345, [player.video[-1].sequence])], now())
        assert player.datagrams() == []
        assert viewer.nacked == 0


@virtual_time
async def test_lost_sound_comes_again() -> None:
    with Stage() as stage:
        player, viewer = await settled(stage)
        lost = player.audio[-2]
        await told(viewer, rtcp.Nack(OURS, stage.broadcast.audio.ssrc, [lost.sequence]))
        (again,) = player.datagrams()
        assert int.from_bytes(again[2:4], "big") == lost.sequence
        assert again[1] & 0x7F == lost.payload_type


# -- a stream of their own -----------------------------------------------------------------------


@pytest.mark.parametrize("profile", [GCM, CM], ids=["gcm", "aes-cm"])
@pytest.mark.parametrize("next_index", [1000, 0x10000 - 6], ids=["shared", "own-numbers"])
@virtual_time
async def test_rtx_brings_the_number_and_the_payload_of_the_original(
    profile: SRTPProtectionProfile, next_index: int, generous: None
) -> None:
    with Stage(next_index=next_index) as stage:
        stage.feed()
        player = RtxPlayer(profile)
        viewer = player.watch(stage)
        await stage.play(0.5)
        wanted = player.video[5:25]
        await nack(viewer, *sequences(wanted))
        player.take()
        assert [rtp_rtx.parse(each.payload) for each in player.again] == [
            (each.sequence, each.payload) for each in wanted
        ]
        assert [(each.timestamp, each.marker) for each in player.again] == [
            (each.timestamp, each.marker) for each in wanted
        ]
        assert {each.ssrc for each in player.again} == {stage.broadcast.rtx_ssrc}
        assert stage.broadcast.rtx_ssrc not in (
            stage.broadcast.video.ssrc,
            stage.broadcast.audio.ssrc,
        )
        assert gapless(player.again)
        assert player.failed == player.doubled == 0


@virtual_time
async def test_each_viewer_has_a_numbering_of_its_own_and_a_packet_may_go_again() -> None:
    with Stage() as stage:
        players = [RtxPlayer(), RtxPlayer()]
        viewers = [player.watch(stage) for player in players]
        await stage.play(1.0)
        for lost in players[0].video[-4:]:
            await nack(viewers[0], lost.sequence)
        await nack(viewers[1], players[1].video[-1].sequence)
        await stage.rest(1.0)
        await nack(viewers[0], players[0].video[-1].sequence)
        await stage.rest(0.0)
        for player in players:
            player.take()
        assert [len(player.again) for player in players] == [5, 1]
        assert gapless(players[0].again)
        assert players[0].again[-1].payload == players[0].again[-2].payload
        assert players[0].failed == players[0].doubled == 0


@pytest.mark.parametrize("profile", [GCM, CM], ids=["gcm", "aes-cm"])
@virtual_time
async def test_a_number_is_spent_even_where_its_packet_did_not_leave(
    profile: SRTPProtectionProfile,
) -> None:
    """Sealed once and not sent, it would else be sealed again over another packet."""
    with Stage() as stage:
        player = RtxPlayer(profile)
        viewer = player.watch(stage)
        await stage.play(1.0)
        *_, one, other, third = player.video
        await nack(viewer, one.sequence)
        viewer.move(NOWHERE)
        await nack(viewer, other.sequence)
        viewer.move(player.address)
        await nack(viewer, third.sequence)
        player.take()
        first, second = player.again
        assert [rtp_rtx.parse(each.payload)[0] for each in player.again] == [
            one.sequence,
            third.sequence,
        ]
        assert second.sequence - first.sequence == 2
        assert stage.sender.errors == 1


@virtual_time
async def test_sound_comes_again_as_it_was_with_rtx_too() -> None:
    with Stage() as stage:
        player = RtxPlayer()
        viewer = player.watch(stage)
        await stage.play(1.0)
        lost = player.audio[-1]
        await told(viewer, rtcp.Nack(OURS, stage.broadcast.audio.ssrc, [lost.sequence]))
        (again,) = player.datagrams()
        assert (again[1] & 0x7F, int.from_bytes(again[2:4], "big")) == (AUDIO_TYPE, lost.sequence)


@virtual_time
async def test_what_was_asked_for_before_a_pause_is_not_sent_after_it(generous: None) -> None:
    """By then the viewer's numbers may stand for other packets."""
    with Stage() as stage:
        player, viewer = await settled(stage)
        asked = [packet.sequence for packet in player.video[-5:]]
        viewer.on_rtcp([rtcp.Nack(OURS, stage.broadcast.video.ssrc, asked)], now())
        stage.broadcast.skip_to_keyframe(viewer)
        await stage.rest(0.1)
        assert viewer.resent == 0


@virtual_time
async def test_who_has_left_is_sent_nothing_again() -> None:
    with Stage() as stage:
        player, viewer = await settled(stage)
        asked = [packet.sequence for packet in player.video[-5:]]
        viewer.on_rtcp([rtcp.Nack(OURS, stage.broadcast.video.ssrc, asked)], now())
        stage.broadcast.remove(viewer)
        await stage.rest(0.1)
        assert viewer.resent == 0


@virtual_time
async def test_a_burst_of_nacks_is_answered_in_slices_and_live_video_goes_on() -> None:
    with Stage() as stage:
        watching = [(player, player.watch(stage)) for player in (RtxPlayer() for _ in range(30))]
        await stage.play(1.0)
        clock = SteppedClock(SLICE_S / 50)  # 25 us for a packet, or for a look
        stage.broadcast.clock = stage.broadcast.source.clock = stage.sender._clock = clock
        for player, viewer in watching:
            asked = sequences(player.video[-30:])
            viewer.on_rtcp([rtcp.Nack(OURS, stage.broadcast.video.ssrc, asked)], now())
        assert stage.sender.resent == 0  # nothing in the turn that reads the NACKs
        before, live = stage.sender.packets, stage.broadcast.video.next_index
        stage.feed(keyframe=False, size=1000)
        steps: list[int] = []

        def all_mended() -> bool:
            steps.append(stage.sender.packets - before)
            return stage.sender.resent == 900

        await until(all_mended)
        assert max(after - begun for begun, after in pairwise(steps)) <= 50 + 30
        for player, _ in watching:
            fresh = player.take()
            assert fresh[-1].sequence == live & 0xFFFF
            assert len(player.again) == 30


# -- the budget ----------------------------------------------------------------------------------


async def _lossy(stage: Stage, player: Player, viewer: Viewer, seconds: float, each: int) -> int:
    """Every packet in `each` is asked for, once; returns the bytes that came again."""
    resent_bytes = 0
    for _ in range(round(seconds / 0.1)):
        await stage.play(0.1)
        recent = player.video[-20:]
        lost = [packet.sequence for packet in recent if packet.sequence % each == 0]
        await nack(viewer, *lost)
        resent_bytes += sum(len(data) for data in player.datagrams())
        stage.broadcast.housekeep(now())
    return resent_bytes


@virtual_time
async def test_mending_stays_within_a_fifth_of_the_rate() -> None:
    with Stage(Pictures(gop=1 << 30)) as stage:
        player, viewer = await settled(stage)
        seconds = 8
        resent_bytes = await _lossy(stage, player, viewer, seconds, each=2)
        allowed = NACK_SHARE * stage.broadcast.bytes_per_s * seconds + NACK_BURST_BYTES
        assert resent_bytes <= allowed * 1.05  # headers and tags are not counted
        assert viewer.skips > 0


@virtual_time
async def test_light_loss_is_mended_without_a_skip() -> None:
    with Stage() as stage:
        player, viewer = await settled(stage)
        await _lossy(stage, player, viewer, 8, each=20)
        assert viewer.skips == 0
        assert viewer.resent > 50
        assert not stage.broadcast.waits(viewer)


@virtual_time
async def test_over_budget_the_viewer_skips_to_the_next_keyframe_and_keeps_its_sound() -> None:
    with Stage(Pictures(gop=1 << 30)) as stage:
        player, viewer = await settled(stage)
        asked = stage.asked
        await stage.play(1.0)
        await nack(viewer, *(packet.sequence for packet in player.video[-100:]))
        assert viewer.skips == 1
        assert stage.broadcast.waits(viewer)
        assert stage.asked == asked + 1
        player.datagrams()
        skipped_from = player.video[-1].sequence
        pictures, sounds = len(player.video), len(player.audio)
        await stage.play(1.0)
        assert len(player.video) == pictures
        assert len(player.audio) == sounds + 50
        await nack(viewer, *range(skipped_from - 50, skipped_from))
        assert player.datagrams() == []  # while it waits, nothing is mended
        stage.pictures.want = True
        first_shown = stage.pictures.number
        await stage.play(1.0)
        shown = access_units(player.video[pictures:])
        assert [unit.nals[-1] for unit in shown] == stage.pictures.payloads[first_shown:]


@virtual_time
async def test_nothing_that_was_skipped_on_purpose_is_ever_sent(generous: None) -> None:
    with Stage(Pictures(gop=1 << 30)) as stage:
        player, viewer = await settled(stage)
        stage.broadcast.skip_to_keyframe(viewer)
        skipped = stage.broadcast.video.next_index
        await stage.play(0.5)
        stage.pictures.want = True
        floor = stage.broadcast.video.next_index
        await stage.play(0.2)
        assert floor - skipped > 50
        await nack(viewer, *(index & 0xFFFF for index in range(skipped - 50, floor)))
        assert player.datagrams() == []
        await nack(viewer, floor & 0xFFFF)
        assert len(player.datagrams()) == 1


@virtual_time
async def test_a_viewer_skips_at_most_once_in_a_while() -> None:
    with Stage(obedient=True) as stage:
        player, viewer = await settled(stage)
        began = now()
        for _ in range(100):
            await stage.play(0.05)
            await nack(viewer, *(packet.sequence for packet in player.video[-100:]))
        assert 2 <= viewer.skips <= (now() - began) / SKIP_PAUSE_S + 1


@virtual_time
async def test_one_thin_viewer_asks_ever_less_often_and_pauses_ever_longer() -> None:
    with Stage(Pictures(gop=1 << 30), obedient=True) as stage:
        player, viewer = await settled(stage)
        asked_at: list[float] = []
        stage.broadcast.source.wishes.request = lambda: asked_at.append(now()) or stage._ask()  # type: ignore[func-returns-value]
        for _ in range(1200):
            await stage.play(0.05)
            await nack(viewer, *sequences(player.video[-100:]))
            if viewer.skips:
                viewer.on_rtcp([rtcp.Pli(OURS, stage.broadcast.video.ssrc)], now())
        waits = [after - before for before, after in pairwise(asked_at)]
        assert len(asked_at) <= 8  # of a minute
        for wait, least in zip(waits, (1, 2, 4, 8, 16, 16), strict=False):
            assert wait >= least, waits
        assert max(waits) <= PAUSE_MAX_S + SKIP_PAUSE_S + 2


@virtual_time
async def test_a_thin_viewer_does_not_go_on_with_a_keyframe_of_others() -> None:
    with Stage(Pictures(gop=15)) as stage:
        player, viewer = await settled(stage)
        for _ in range(2):
            await stage.play(SKIP_PAUSE_S)
            await nack(viewer, *sequences(player.video[-100:]))
        assert viewer.skips == 2
        seen, heard = len(player.video), len(player.audio)
        await stage.play(1.9)
        assert len(player.video) == seen
        assert len(player.audio) == heard + 95
        await stage.play(1.0)
        assert len(player.video) > seen


@virtual_time
async def test_after_a_calm_time_a_skip_is_the_first_again() -> None:
    with Stage(Pictures(gop=1 << 30), obedient=True) as stage:
        player, viewer = await settled(stage)
        for _ in range(3):
            for _ in range(round(CALM_S) + 2):
                await stage.play(1.0)
                viewer.on_rtcp([rtcp.ReceiverReport(OURS)], now())
            asked = stage.asked
            await nack(viewer, *sequences(player.video[-100:]))
            assert stage.asked == asked + 1
            await stage.play(0.2)
            assert not stage.broadcast.waits(viewer)
        assert viewer.skips == 3


@virtual_time
async def test_who_was_cut_off_goes_on_at_once_each_time() -> None:
    with Stage(Pictures(gop=1 << 30), obedient=True) as stage:
        player, viewer = await settled(stage)
        for skips in range(1, 4):
            for _ in range(4):
                await stage.play(1.0)
                viewer.on_rtcp([rtcp.ReceiverReport(OURS)], now())
            await stage.play(CUT_OFF_S + 1)
            await nack(viewer, *sequences(player.video[-100:]))
            assert viewer.skips == skips
            await stage.play(0.1)
            assert not stage.broadcast.waits(viewer)


@virtual_time
async def test_when_video_is_over_budget_sound_is_still_mended() -> None:
    with Stage(Pictures(gop=1 << 30)) as stage:
        player, viewer = await settled(stage)
        video, audio = stage.broadcast.video.ssrc, stage.broadcast.audio.ssrc
        await stage.play(0.5)
        lost = sequences(player.audio[-5:])
        await told(
            viewer,
            rtcp.Nack(OURS, video, sequences(player.video[-100:])),
            rtcp.Nack(OURS, audio, lost),
        )
        assert [int.from_bytes(each[2:4], "big") for each in player.datagrams()] == lost
        assert viewer.skips == 1


@virtual_time
async def test_asking_for_sound_does_not_spend_what_video_earned() -> None:
    with Stage() as stage:
        player, viewer = await settled(stage)
        viewer._budget._tokens = 0.0
        viewer._budget._tokens_at = now()
        for _ in range(10):
            await stage.play(0.1)
            await told(viewer, rtcp.Nack(OURS, stage.broadcast.audio.ssrc, [1]))
        earned = NACK_SHARE * stage.broadcast.bytes_per_s * 1.0
        assert viewer._budget._tokens == pytest.approx(earned, rel=0.01)
        assert player.failed == 0


@virtual_time
async def test_a_flood_of_nacks_is_looked_at_in_part_and_remembered_within_bounds() -> None:
    with Stage() as stage:
        _, viewer = await settled(stage)
        for _ in range(50):
            await nack(viewer, *range(0x10000))
        assert viewer.nacked == 50 * NACKED_AT_ONCE
        for index in range(3 * RESENT_REMEMBERED):
            viewer._budget._remember((True, index), now())
        assert len(viewer._budget._sent) <= RESENT_REMEMBERED + 1


# -- reports -------------------------------------------------------------------------------------


def receiver_report(ssrc: int, rtt_s: float, delay_s: float = 0.5) -> rtcp.ReceiverReport:
    sent_ntp = rtcp.ntp_from_utc_ms((time.time() - rtt_s - delay_s) * 1000)
    block = rtcp.ReportBlock(ssrc, 0, 0, 0, 0, rtcp.compact_ntp(sent_ntp), round(delay_s * 65536))
    return rtcp.ReceiverReport(OURS, [block])


@virtual_time
async def test_the_round_trip_is_learnt_from_receiver_reports() -> None:
    with Stage() as stage:
        _, viewer = await settled(stage)
        assert viewer.rtt_s == DEFAULT_RTT_S
        for _ in range(30):
            viewer.on_rtcp([receiver_report(stage.broadcast.video.ssrc, 0.25)], now())
        assert viewer.rtt_s == pytest.approx(0.25, abs=0.02)
        for _ in range(30):
            viewer.on_rtcp([receiver_report(stage.broadcast.audio.ssrc, 0.05)], now())
        assert viewer.rtt_s == pytest.approx(0.05, abs=0.02)


@virtual_time
async def test_a_report_that_cannot_be_true_changes_nothing() -> None:
    with Stage() as stage:
        _, viewer = await settled(stage)
        ssrc = stage.broadcast.video.ssrc
        no_report_yet = rtcp.ReportBlock(ssrc, 0, 0, 0, 0, 0, 0)
        foreign = receiver_report(ssrc ^ 1, 3.0)
        viewer.on_rtcp(
            [
                rtcp.ReceiverReport(OURS, [no_report_yet]),
                receiver_report(ssrc, MAX_RTT_S + 1),
                foreign,
            ],
            now(),
        )
        assert viewer.rtt_s == DEFAULT_RTT_S


@pytest.mark.parametrize(
    ("grown_s", "remb_bps", "skips"),
    [
        (QUEUE_S + 0.1, 700_000, 1),
        (QUEUE_S + 0.1, 0, 0),
        (QUEUE_S + 0.1, 50_000_000, 0),
        (QUEUE_S - 0.1, 700_000, 0),
    ],
    ids=["thin", "told-nothing", "wide", "quick"],
)
@virtual_time
async def test_video_pauses_when_packets_queue_up_in_a_thin_link(
    grown_s: float, remb_bps: int, skips: int
) -> None:
    with Stage() as stage:
        _, viewer = await settled(stage)
        ssrc = stage.broadcast.video.ssrc
        viewer.on_rtcp([receiver_report(ssrc, 0.05)], now())
        viewer.on_rtcp([rtcp.Remb(OURS, remb_bps, [ssrc])], now())
        viewer.on_rtcp([receiver_report(ssrc, 0.05 + grown_s)], now())
        assert viewer.skips == skips
        assert stage.broadcast.waits(viewer) == bool(skips)


@virtual_time
async def test_feedback_alone_is_understood() -> None:
    """Reduced size (RFC 5506): no report stands before it."""
    with Stage() as stage:
        player, viewer = await settled(stage)
        ssrc, asked = stage.broadcast.video.ssrc, stage.asked
        lost = player.video[-1].sequence
        await told(viewer, *rtcp.parse(rtcp.serialize_nack(OURS, ssrc, [lost])))
        assert len(player.datagrams()) == 1
        await told(viewer, *rtcp.parse(rtcp.serialize_pli(OURS, ssrc)))
        assert stage.asked == asked + 1


@virtual_time
async def test_picture_loss_asks_for_a_keyframe_and_only_of_our_video() -> None:
    with Stage() as stage:
        _, viewer = await settled(stage)
        video, audio = stage.broadcast.video.ssrc, stage.broadcast.audio.ssrc
        asked = stage.asked
        viewer.on_rtcp([rtcp.Pli(OURS, audio), rtcp.Pli(OURS, 9), rtcp.Fir(OURS, [(9, 1)])], now())
        assert (viewer.plis, stage.asked) == (0, asked)
        viewer.on_rtcp([rtcp.Pli(OURS, video), rtcp.Fir(OURS, [(9, 1), (video, 2)])], now())
        assert (viewer.plis, stage.asked) == (2, asked + 1)


@virtual_time
async def test_the_hub_merges_the_requests_of_many_viewers() -> None:
    hub = Hub()
    asked: list[float] = []
    publication = hub.publish("show", protocol="whip", on_close=lambda reason: None)
    publication.stream.on_keyframe_request = lambda: asked.append(now())
    with Stage() as stage:
        stage.broadcast.source.wishes.request = lambda: publication.stream.request_keyframe(now())
        await stage.play(0.5)
        viewers = [stage.join()[1] for _ in range(20)]
        for turn in range(40):
            await stage.play(0.05)
            for viewer in viewers[turn % 20 :: 20]:
                viewer.on_rtcp([rtcp.Pli(OURS, stage.broadcast.video.ssrc)], now())
    assert 4 <= len(asked) <= 5
    assert all(after - before >= 0.5 for before, after in pairwise(asked))
    hub.drain()


@virtual_time
async def test_the_receivers_estimate_is_kept() -> None:
    with Stage() as stage:
        _, viewer = await settled(stage)
        viewer.on_rtcp([rtcp.Remb(OURS, 1_500_000, [stage.broadcast.video.ssrc])], now())
        assert viewer.remb_bps == 1_500_000


# -- anything at all -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@virtual_time
async def test_mutated_reports_raise_nothing_but_the_peers_errors(seed: int) -> None:
    """As after decryption: bytes that were changed, cut or joined."""
    with Stage(obedient=True) as stage:
        player, viewer = await settled(stage)
        video, audio = stage.broadcast.video.ssrc, stage.broadcast.audio.ssrc
        newest = player.video[-1].sequence
        blocks = [rtcp.ReportBlock(ssrc, 9, 9, newest, 9, 9, 9) for ssrc in (video, audio)]
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(OURS, blocks))
        genuine = [
            report,
            report + rtcp.serialize_nack(OURS, video, [newest - back for back in range(30)]),
            report + rtcp.serialize_nack(OURS, audio, list(range(0, 60, 7))),
            rtcp.serialize_pli(OURS, video) + rtcp.serialize_fir(OURS, video, 3),
            report + rtcp.serialize_remb(OURS, 2_000_000, [video, audio]),
            report + rtcp.serialize_sdes(OURS, "somebody") + rtcp.serialize_bye([OURS], "bye"),
        ]
        dice = random.Random(seed)
        refused = 0
        for turn in range(4000):
            data = bytearray(dice.choice(genuine))
            for _ in range(dice.randrange(4)):
                data[dice.randrange(len(data))] = dice.getrandbits(8)
            if dice.random() < 0.2:
                data = data[: dice.randrange(len(data))] + dice.randbytes(dice.randrange(6))
            try:
                viewer.on_rtcp(rtcp.parse(bytes(data)), now())
            except PeerError:
                refused += 1
            if turn % 400 == 0:
                await stage.play(0.1)
        assert 0 < refused < 4000
        before = len(player.video)
        await stage.play(2.5)
        assert len(player.video) - before > 200
        assert player.failed == 0
