"""A viewer's reports: what a NACK brings back, what it may cost, and who is asked for a keyframe."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from mediaserver.errors import PeerError
from mediaserver.hub import Hub
from mediaserver.protocol import rtcp
from mediaserver.rtc import viewer as viewer_module
from mediaserver.rtc.viewer import (
    DEFAULT_RTT_S,
    MAX_RTT_S,
    NACK_BURST_BYTES,
    NACK_SHARE,
    NACKED_AT_ONCE,
    RESENT_REMEMBERED,
    SKIP_PAUSE_S,
    Viewer,
)
from tests.rtc.players import CM, GCM, Player, gapless, sequences
from tests.rtc.stage import Stage, access_units
from tests.rtc.streams import Pictures
from tests.virtual_time import now, virtual_time

OURS = 77  # the player's SSRC in its reports


def nack(viewer: Viewer, *lost: int) -> None:
    viewer.on_rtcp([rtcp.Nack(OURS, viewer.broadcast.video.ssrc, list(lost))], now())


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
    monkeypatch.setattr(viewer_module, "NACK_BURST_BYTES", 1 << 30)


# -- retransmission ------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [GCM, CM], ids=["gcm", "aes-cm"])
@virtual_time
async def test_a_lost_packet_comes_again_once_per_round_trip(profile: object) -> None:
    with Stage() as stage:
        player, viewer = await settled(stage, profile=profile)
        viewer.rtt_s = 0.1
        lost = player.video[-3].sequence
        nack(viewer, lost)
        assert len(player.datagrams()) == 1
        for _ in range(9):
            await stage.rest(0.01)
            nack(viewer, lost)
            assert player.datagrams() == []
        await stage.rest(0.011)
        nack(viewer, lost)
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
        nack(viewer, *((first - back) & 0xFFFF for back in (1, 2, 3)))
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
        nack(viewer, *wanted)
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
        nack(viewer, *before_the_start, *after_the_end, 0, 0x8000)
        assert player.datagrams() == []
        assert viewer.resent == 0


@virtual_time
async def test_what_is_still_queued_is_not_sent_ahead_of_its_turn() -> None:
    with Stage() as stage:
        player, viewer = await settled(stage)
        stage.feed(keyframe=False, size=200_000)
        assert stage.broadcast._pending
        player.datagrams()
        nack(viewer, stage.broadcast.video.released & 0xFFFF)
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
        viewer.on_rtcp([rtcp.Nack(OURS, stage.broadcast.audio.ssrc, [lost.sequence])], now())
        (again,) = player.datagrams()
        assert int.from_bytes(again[2:4], "big") == lost.sequence
        assert again[1] & 0x7F == lost.payload_type


# -- the budget ----------------------------------------------------------------------------------


async def _lossy(stage: Stage, player: Player, viewer: Viewer, seconds: float, each: int) -> int:
    """Every packet in `each` is asked for, once; returns the bytes that came again."""
    resent_bytes = 0
    for _ in range(round(seconds / 0.1)):
        await stage.play(0.1)
        recent = player.video[-20:]
        lost = [packet.sequence for packet in recent if packet.sequence % each == 0]
        nack(viewer, *lost)
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
        nack(viewer, *(packet.sequence for packet in player.video[-100:]))
        assert viewer.skips == 1
        assert stage.broadcast.waits(viewer)
        assert stage.asked == asked + 1
        player.datagrams()
        skipped_from = player.video[-1].sequence
        pictures, sounds = len(player.video), len(player.audio)
        await stage.play(1.0)
        assert len(player.video) == pictures
        assert len(player.audio) == sounds + 50
        nack(viewer, *range(skipped_from - 50, skipped_from))
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
        nack(viewer, *(index & 0xFFFF for index in range(skipped - 50, floor)))
        assert player.datagrams() == []
        nack(viewer, floor & 0xFFFF)
        assert len(player.datagrams()) == 1


@virtual_time
async def test_a_viewer_skips_at_most_once_in_a_while() -> None:
    with Stage(obedient=True) as stage:
        player, viewer = await settled(stage)
        began = now()
        for _ in range(100):
            await stage.play(0.05)
            nack(viewer, *(packet.sequence for packet in player.video[-100:]))
        assert 2 <= viewer.skips <= (now() - began) / SKIP_PAUSE_S + 1


@virtual_time
async def test_asking_for_sound_does_not_spend_what_video_earned() -> None:
    with Stage() as stage:
        player, viewer = await settled(stage)
        viewer._tokens = 0.0
        viewer._tokens_at = now()
        for _ in range(10):
            await stage.play(0.1)
            viewer.on_rtcp([rtcp.Nack(OURS, stage.broadcast.audio.ssrc, [1])], now())
        earned = NACK_SHARE * stage.broadcast.bytes_per_s * 1.0
        assert viewer._tokens == pytest.approx(earned, rel=0.01)
        assert player.failed == 0


@virtual_time
async def test_a_flood_of_nacks_is_looked_at_in_part_and_remembered_within_bounds() -> None:
    with Stage() as stage:
        _, viewer = await settled(stage)
        for _ in range(50):
            nack(viewer, *range(0x10000))
        assert viewer.nacked == 50 * NACKED_AT_ONCE
        for index in range(3 * RESENT_REMEMBERED):
            viewer._remember(1, index, now())
        assert len(viewer._sent_again) <= RESENT_REMEMBERED + 1


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


@virtual_time
async def test_picture_loss_asks_for_a_keyframe_and_only_of_our_video() -> None:
    with Stage() as stage:
        _, viewer = await settled(stage)
        video, audio = stage.broadcast.video.ssrc, stage.broadcast.audio.ssrc
        asked = stage.asked
        viewer.on_rtcp([rtcp.Pli(OURS, audio), rtcp.Pli(OURS, 9), rtcp.Fir(OURS, [(9, 1)])], now())
        assert (viewer.plis, stage.asked) == (0, asked)
        viewer.on_rtcp([rtcp.Pli(OURS, video), rtcp.Fir(OURS, [(9, 1), (video, 2)])], now())
        assert (viewer.plis, stage.asked) == (2, asked + 2)


@virtual_time
async def test_the_hub_merges_the_requests_of_many_viewers() -> None:
    hub = Hub()
    asked: list[float] = []
    publication = hub.publish("show", protocol="whip", on_close=lambda reason: None)
    publication.stream.on_keyframe_request = lambda: asked.append(now())
    with Stage() as stage:
        stage.broadcast.request_keyframe = lambda: publication.stream.request_keyframe(now())
        viewers = [stage.join()[1] for _ in range(20)]
        for _ in range(40):
            await stage.play(0.05)
            for viewer in viewers:
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
