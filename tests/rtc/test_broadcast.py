"""A broadcast and its joiners: where they start, how they catch up, and that nothing is renumbered."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from aiortc.rtcdtlstransport import SRTPProtectionProfile

from mediaserver.errors import ProtocolError
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE
from mediaserver.protocol import rtcp
from mediaserver.protocol.h264 import NAL_IDR, NAL_PPS, NAL_SPS, join_length_prefixed, nal_type
from mediaserver.protocol.h264 import video_track as make_track
from mediaserver.rtc import line as line_module
from mediaserver.rtc import viewer as viewer_module
from mediaserver.rtc.broadcast import Broadcast, Estimates
from mediaserver.rtc.layer import (
    CATCH_UP_SPEED,
    DATAGRAM_BYTES,
    DRAIN_TICKS,
    GROUP_PACKETS,
    TICK_S,
)
from mediaserver.rtc.line import RING_S
from mediaserver.rtc.sender import SLICE_S, Sender
from mediaserver.rtc.viewer import WRAP_GUARD, Viewer
from tests.rtc.players import CM, GCM, VIDEO_TYPE, Player, gapless, udp_socket
from tests.rtc.stage import Stage, access_units, slices
from tests.rtc.streams import EPOCH_MS, PPS, SPS, Pictures, packet
from tests.virtual_time import now, virtual_time

PROFILES = pytest.mark.parametrize("profile", [GCM, CM], ids=["gcm", "aes-cm"])


def shows_everything(player: Player, stage: Stage, first_picture: int) -> None:
    """The player has every picture from this one on, once, in order and undamaged."""
    units = access_units(player.video)
    assert not any(unit.damaged for unit in units)
    assert slices(units) == stage.pictures.payloads[first_picture:]
    assert gapless(player.video)
    assert player.doubled == player.failed == 0


def routes_of(broadcast: Broadcast, viewer: Viewer) -> int:
    return sum(
        routes.count(viewer.video) for routes in broadcast.source.cohorts.values() if viewer.video
    )


# -- joining -------------------------------------------------------------------------------------


@PROFILES
@virtual_time
async def test_a_joiner_in_mid_gop_starts_at_its_keyframe_catches_up_and_misses_nothing(
    profile: SRTPProtectionProfile,
) -> None:
    with Stage() as stage:
        await stage.play(3.2)  # keyframes at 0 and 2 s
        player, viewer = stage.join(profile)
        assert viewer in stage.broadcast.source.joiners
        await stage.play(1.2 / (CATCH_UP_SPEED - 1) + 0.1)
        assert viewer not in stage.broadcast.source.joiners
        assert routes_of(stage.broadcast, viewer) == 1
        await stage.play(2.0)
        shows_everything(player, stage, first_picture=60)
        assert stage.asked == 0


@virtual_time
async def test_catching_up_is_paced_at_three_times_real_time() -> None:
    with Stage() as stage:
        await stage.play(2.0, sound=False)
        player, viewer = stage.join()
        joined_at = now()
        while viewer in stage.broadcast.source.joiners:
            await stage.play(0.01, sound=False)
            shown = (player.video[-1].timestamp - player.video[0].timestamp) % (1 << 32)
            assert shown / VIDEO_CLOCK_RATE <= CATCH_UP_SPEED * (now() - joined_at) + 1e-6
        assert now() - joined_at <= 2.0 / (CATCH_UP_SPEED - 1) + 0.1


@virtual_time
async def test_who_joins_upon_a_keyframe_gets_it_once() -> None:
    """All of the group is due at once: the joiner is in its cohort immediately, and only once."""
    with Stage(Pictures(keyframe_bytes=5_000)) as stage:
        stage.feed()
        player, viewer = stage.join()
        assert routes_of(stage.broadcast, viewer) == 1
        await stage.play(1.0)
        assert routes_of(stage.broadcast, viewer) == 1
        shows_everything(player, stage, first_picture=0)


@virtual_time
async def test_many_join_at_once_and_each_sees_everything() -> None:
    with Stage() as stage:
        await stage.play(2.9)
        joined = [stage.join(CM if number % 5 == 0 else GCM) for number in range(30)]
        await stage.play(1.5)
        for player, viewer in joined:
            shows_everything(player, stage, first_picture=60)
            assert routes_of(stage.broadcast, viewer) == 1
        for _, viewer in joined:
            stage.broadcast.remove(viewer)
        assert not stage.broadcast.source.cohorts
        assert not stage.broadcast.viewers


@virtual_time
async def test_joiners_at_one_picture_are_served_together() -> None:
    with Stage() as stage:
        await stage.play(2.9, sound=False)
        joined = [stage.join() for _ in range(40)]
        passes, line = stage.sender.passes, stage.broadcast.video
        packets = line.packets_before(line.released) - line.packets_before(line.keyframe_index)
        await stage.play(1.0, sound=False)
        assert not stage.broadcast.source.joiners
        assert stage.sender.passes - passes < packets + 100  # and not one for each of the 40
        for player, _ in joined:
            shows_everything(player, stage, first_picture=60)


@virtual_time
async def test_all_who_wait_for_a_keyframe_begin_with_it_however_few_begin_in_one_turn() -> None:
    with Stage() as stage:
        waiting = [stage.join() for _ in range(12)]
        looks = itertools.count()
        layer = stage.broadcast.source
        layer.clock = lambda: now() + next(looks) * SLICE_S / 4
        stage.feed()
        begun = sum(routes_of(stage.broadcast, viewer) for _, viewer in waiting)
        assert 0 < begun < 12
        assert layer.line.released == layer.line.keyframe_index  # nobody has any of it yet
        await stage.play(0.5)
        assert not layer.joiners
        for player, viewer in waiting:
            assert routes_of(stage.broadcast, viewer) == 1
            shows_everything(player, stage, first_picture=0)


@virtual_time
async def test_joiners_by_gcm_share_headers_and_those_by_aes_cm_read_the_same() -> None:
    with Stage() as stage:
        await stage.play(0.1)
        first, second, third = (stage.join(each)[0] for each in (GCM, GCM, CM))
        await stage.play(1.0)
        assert [(p.sequence, p.timestamp, p.ssrc, p.payload) for p in first.video] == [
            (p.sequence, p.timestamp, p.ssrc, p.payload) for p in third.video
        ]
        assert first.video == second.video


@virtual_time
async def test_a_group_too_long_is_not_replayed_the_joiner_asks_and_waits() -> None:
    with Stage(Pictures(gop=120)) as stage:
        await stage.play(3.0)
        player, viewer = stage.join()
        assert stage.broadcast.waits(viewer)
        assert stage.asked == 1
        await stage.play(0.9)
        assert player.video == []
        assert player.audio  # sound does not wait
        await stage.play(1.0)
        assert not stage.broadcast.waits(viewer)
        shows_everything(player, stage, first_picture=120)


@virtual_time
async def test_a_group_too_large_is_not_replayed() -> None:
    with Stage(Pictures(picture_bytes=60_000), obedient=True) as stage:
        await stage.play(1.5, sound=False)
        assert stage.broadcast.video.gop_bytes > line_module.GOP_BYTES
        player, viewer = stage.join()
        assert stage.broadcast.waits(viewer)
        wanted = stage.pictures.number
        await stage.play(0.5, sound=False)
        shows_everything(player, stage, first_picture=wanted)


@virtual_time
async def test_a_keyframe_request_that_was_lost_is_made_again() -> None:
    with Stage(Pictures(gop=10_000)) as stage:
        await stage.play(3.0)
        _, viewer = stage.join()
        for again in range(1, 4):
            await stage.rest(1.0)
            assert stage.asked == 1 + again
        stage.broadcast.remove(viewer)
        await stage.rest(5.0)
        assert stage.asked == 4


@virtual_time
async def test_a_joiner_whose_packets_were_let_go_meanwhile_asks_for_a_keyframe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Stage(obedient=True) as stage:
        await stage.play(1.9, sound=False)
        player, viewer = stage.join()
        assert viewer in stage.broadcast.source.joiners
        monkeypatch.setattr(line_module, "RING_BYTES", 20_000)
        await stage.play(0.05, sound=False)
        assert viewer not in stage.broadcast.source.joiners
        assert stage.asked == 1
        wanted = stage.pictures.number - 1
        monkeypatch.undo()
        before = len(player.video)
        await stage.play(1.0, sound=False)
        assert slices(access_units(player.video[before:]))[-1] == stage.pictures.payloads[-1]
        assert stage.pictures.payloads[wanted] in slices(access_units(player.video))
        assert player.doubled == player.failed == 0
        assert routes_of(stage.broadcast, viewer) == 1


@virtual_time
async def test_many_joiners_whose_packets_were_let_go_are_told_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Stage(obedient=True) as stage:
        await stage.play(1.9, sound=False)
        joined = [stage.join() for _ in range(12)]
        layer, looks = stage.broadcast.source, itertools.count()
        layer.clock = lambda: now() + next(looks) * SLICE_S / 4
        monkeypatch.setattr(line_module, "RING_BYTES", 20_000)
        left = set()
        for _ in range(40):
            await stage.play(TICK_S, sound=False)
            left.add(len(layer.joiners))
        assert left & set(range(1, 12))  # not all in one turn of the loop
        assert 0 in left
        monkeypatch.undo()
        await stage.play(1.0, sound=False)
        for player, viewer in joined:
            assert routes_of(stage.broadcast, viewer) == 1
            assert slices(access_units(player.video))[-1] == stage.pictures.payloads[-1]


@virtual_time
async def test_a_viewer_of_sound_alone_neither_waits_nor_asks() -> None:
    with Stage(Pictures(gop=10_000)) as stage:
        await stage.play(3.0)
        player = Player()
        stage.players.append(player)
        viewer = Viewer(stage.broadcast, player.srtp, player.address, (-1, 111), lambda data: None)
        stage.broadcast.add(viewer)
        await stage.play(1.0)
        assert stage.asked == 0
        assert not stage.broadcast.waits(viewer)
        assert len(player.audio) == 50
        assert player.video == []


@virtual_time
async def test_who_joins_while_the_publisher_is_away_sees_the_last_group() -> None:
    with Stage() as stage:
        await stage.play(3.0, sound=False)
        for _ in range(20):
            await stage.rest(1.0)
            stage.broadcast.housekeep(now())
        player, _ = stage.join()
        await stage.rest(1.0)
        shows_everything(player, stage, first_picture=60)


@virtual_time
async def test_who_leaves_gets_no_more_and_leaves_no_timer_behind() -> None:
    with Stage() as stage:
        await stage.play(1.9)
        player, viewer = stage.join()
        stage.broadcast.remove(viewer)
        stage.broadcast.remove(viewer)
        await stage.play(0.5)
        before = len(player.video)
        await stage.play(0.5)
        assert len(player.video) == before
        await stage.rest(1.0)
        assert stage.broadcast.source._timer is None


# -- the wrap ------------------------------------------------------------------------------------


@PROFILES
@pytest.mark.parametrize("before_wrap", [1, 6, 12, 20, 1000, WRAP_GUARD])
@virtual_time
async def test_a_joiner_near_the_wrap_that_loses_its_first_packets_reads_all_that_follow(
    before_wrap: int, profile: SRTPProtectionProfile
) -> None:
    with Stage(next_index=0x10000 - before_wrap) as stage:
        stage.feed()
        player, viewer = stage.join(profile, lose=12)
        await stage.play(1.0, sound=False)
        sent = stage.broadcast.video.next_index - (0x10000 - before_wrap)
        assert len(player.video) == sent - 12
        assert gapless(player.video)
        assert player.failed == 0
        assert viewer.video is not None and viewer.video.offset == before_wrap


@virtual_time
async def test_without_the_guard_the_same_joiner_would_stay_black(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(viewer_module, "WRAP_GUARD", 0)
    with Stage(next_index=0x10000 - 6) as stage:
        stage.feed()
        player, _ = stage.join(lose=12)
        await stage.play(1.0, sound=False)
        assert player.video == []
        assert player.failed > 100


@PROFILES
@virtual_time
async def test_a_viewer_goes_on_over_the_wrap(profile: SRTPProtectionProfile) -> None:
    with Stage(next_index=0x10000 - WRAP_GUARD - 1) as stage:
        stage.feed()
        player, viewer = stage.join(profile)
        assert viewer.video is not None and viewer.video.offset == 0
        stage.pictures.picture_bytes = 60_000
        await stage.play(3.0, sound=False)
        assert stage.broadcast.video.next_index > 0x10000 + 100
        shows_everything(player, stage, first_picture=0)


@PROFILES
@virtual_time
async def test_a_joiner_after_several_roll_overs_starts_at_roll_over_0(
    profile: SRTPProtectionProfile,
) -> None:
    with Stage(next_index=5 * 0x10000 + 77) as stage:
        await stage.play(1.0)
        player, _ = stage.join(profile, lose=3)
        await stage.play(1.0)
        assert player.failed == 0
        assert player.video[-1].sequence == (stage.broadcast.video.next_index - 1) & 0xFFFF


@PROFILES
@virtual_time
async def test_a_group_that_spans_the_wrap_is_replayed(profile: SRTPProtectionProfile) -> None:
    with Stage(next_index=2 * 0x10000 - 100) as stage:
        await stage.play(1.5)
        assert stage.broadcast.video.next_index > 2 * 0x10000 + 50
        player, _ = stage.join(profile, lose=12)
        await stage.play(1.5)
        assert player.failed == player.doubled == 0
        assert gapless(player.video)


async def _skip_far(stage: Stage, viewer: Viewer, packets: int) -> None:
    """The viewer waits while this many packets go by, until a keyframe comes."""
    stage.broadcast.skip_to_keyframe(viewer)
    stage.pictures.gop = 1 << 30
    goal = stage.broadcast.video.next_index + packets
    while stage.broadcast.video.next_index < goal:
        stage.feed(keyframe=False, size=200_000)
        await stage.rest(0.05)
    assert stage.broadcast.waits(viewer)
    stage.pictures.want = True
    await stage.play(0.5, sound=False)


@PROFILES
@virtual_time
async def test_a_viewer_that_skipped_for_long_reads_on(profile: SRTPProtectionProfile) -> None:
    """Half the number space unsent would make it guess the roll-over count wrong for ever."""
    with Stage(next_index=40_000) as stage:
        stage.feed()
        player, viewer = stage.join(profile)
        await stage.play(1.0, sound=False)
        seen = len(player.video)
        last = player.video[-1].sequence
        await _skip_far(stage, viewer, 0x9000)
        assert len(player.video) > seen
        assert player.video[seen].sequence == (last + 1) & 0xFFFF
        assert player.failed == player.doubled == 0
        await _skip_far(stage, viewer, 0x5000)  # and once more
        assert gapless(player.video)
        assert player.failed == player.doubled == 0


@PROFILES
@virtual_time
async def test_a_viewer_that_skipped_for_long_after_its_wrap_reads_on(
    profile: SRTPProtectionProfile,
) -> None:
    with Stage(next_index=0x10000 - WRAP_GUARD - 1) as stage:
        stage.feed()
        player, viewer = stage.join(profile)
        while stage.broadcast.video.next_index < 0x10000 + 100:
            stage.feed(keyframe=False, size=200_000)
            await stage.rest(0.05)
        await _skip_far(stage, viewer, 0x9000)
        assert gapless(player.video)
        assert player.failed == player.doubled == 0
        assert player.video[-1].sequence < 2000


@virtual_time
async def test_a_viewer_told_to_skip_twice_still_knows_where_it_stopped() -> None:
    with Stage(next_index=40_000) as stage:
        stage.feed()
        player, viewer = stage.join()
        await stage.play(1.0, sound=False)
        stage.broadcast.skip_to_keyframe(viewer)
        stage.pictures.gop = 1 << 30
        while stage.broadcast.video.next_index < 40_000 + 0x9000:
            stage.feed(keyframe=False, size=200_000)
            await stage.rest(0.05)
        await _skip_far(stage, viewer, 100)
        assert gapless(player.video)
        assert player.failed == player.doubled == 0


@virtual_time
async def test_without_going_on_counting_the_same_viewer_would_stay_black(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(viewer_module, "RENUMBER_AFTER", 1 << 40)
    with Stage(next_index=40_000) as stage:
        stage.feed()
        player, viewer = stage.join()
        await stage.play(1.0, sound=False)
        seen = len(player.video)
        await _skip_far(stage, viewer, 0x9000)
        assert len(player.video) == seen
        assert player.failed > 100


# -- pacing, bounds ------------------------------------------------------------------------------


@virtual_time
async def test_a_keyframe_is_spread_over_twenty_milliseconds() -> None:
    with Stage(Pictures(keyframe_bytes=300_000)) as stage:
        stage.feed(size=1000)
        player, _ = stage.join()
        await stage.rest(0.5)
        before = len(player.video)
        stage.feed(keyframe=True)
        total = stage.broadcast.video.next_index - 1000 - before
        assert total > 200
        bursts = [len(player.take())]
        while sum(bursts) < total:
            await asyncio.sleep(TICK_S)
            bursts.append(len(player.take()))
        assert max(bursts) <= -(-total // DRAIN_TICKS)
        assert 4 <= len(bursts) <= 20
        assert gapless(player.video)


@virtual_time
async def test_who_waits_for_a_keyframe_gets_nothing_of_what_was_queued_before_it() -> None:
    with Stage(Pictures(gop=1 << 30)) as stage:
        await stage.play(3.0, sound=False)
        player, viewer = stage.join()
        stage.feed(keyframe=False, size=200_000)
        assert stage.broadcast.source._pending
        wanted = stage.pictures.number
        stage.feed(keyframe=True)
        assert not stage.broadcast.waits(viewer)
        await stage.rest(0.5)
        shows_everything(player, stage, first_picture=wanted)


@virtual_time
async def test_a_small_frame_leaves_at_once() -> None:
    with Stage() as stage:
        stage.feed(size=1000)
        player, _ = stage.join()
        player.take()
        stage.feed(size=15_000)
        assert 1 < len(player.take()) <= GROUP_PACKETS


@virtual_time
async def test_no_datagram_is_longer_than_a_path_carries() -> None:
    with Stage() as stage:
        player, _ = stage.join()
        stage.feed(size=100_000)
        await asyncio.sleep(0.1)
        assert max(map(len, player.datagrams())) <= DATAGRAM_BYTES


@virtual_time
async def test_the_ring_keeps_a_group_and_a_second_and_no_more() -> None:
    with Stage() as stage:
        for _ in range(30):
            await stage.play(1.0)
            stage.broadcast.housekeep(now())
        per_s = stage.broadcast.video.bytes_per_s
        assert per_s == pytest.approx(30 * 6_400, rel=0.1)
        assert stage.broadcast.video.ring_bytes <= per_s * (RING_S + 2.1)
        assert stage.broadcast.video.ring_bytes == sum(
            len(each.payload) for each in stage.broadcast.video.ring.values()
        )
        assert len(stage.broadcast.audio.ring) <= (RING_S + 0.1) / 0.02
        for _ in range(3):
            await stage.rest(1.0)
            stage.broadcast.housekeep(now())
        assert not stage.broadcast.audio.ring


# -- what a player needs -------------------------------------------------------------------------


@virtual_time
async def test_parameter_sets_stand_before_every_idr_and_follow_a_change() -> None:
    with Stage() as stage:
        player, _ = stage.join()
        await stage.play(2.5)
        stage.pictures.track = make_track((SPS,), (PPS, b"\x68\x4b\x8c\xb2"))
        stage.pictures.want = True
        await stage.play(2.0)
        units = access_units(player.video)
        idrs = [unit for unit in units if nal_type(unit.nals[-1]) == NAL_IDR]
        assert [[nal_type(nal) for nal in unit.nals] for unit in idrs] == [
            [NAL_SPS, NAL_PPS, NAL_IDR],
            [NAL_SPS, NAL_PPS, NAL_IDR],
            [NAL_SPS, NAL_PPS, NAL_PPS, NAL_IDR],
            [NAL_SPS, NAL_PPS, NAL_PPS, NAL_IDR],
        ]


@virtual_time
async def test_sender_reports_tie_both_tracks_to_the_publishers_clock() -> None:
    with Stage() as stage:
        player, viewer = stage.join()
        await stage.play(2.0)
        for behind_ms in (0, 180):  # reports that come at once and later than the last packet
            utc_s = (EPOCH_MS + 2_000 + behind_ms) / 1000
            viewer.report(stage.broadcast.sender_reports(utc_s))
            player.reports.clear()
            player.take()
            video, audio = (r for r in player.reports if isinstance(r, rtcp.SenderReport))
            for report, rate, packets, each_ms in (
                (video, VIDEO_CLOCK_RATE, player.video, 1000 / 30),
                (audio, OPUS_CLOCK_RATE, player.audio, 20),
            ):
                assert report.ssrc == packets[0].ssrc
                reported_ms = rtcp.utc_ms_from_ntp(report.ntp) - EPOCH_MS
                first = packets[0].timestamp
                media_ms = (report.rtp_timestamp - first) % (1 << 32) / rate * 1000
                assert media_ms == pytest.approx(reported_ms, abs=1.1)
                assert each_ms > 0
        cnames = [r.cnames for r in player.reports if isinstance(r, rtcp.Sdes)]
        assert len({name for each in cnames for name in each.values()}) == 1


@virtual_time
async def test_sender_reports_count_packets_and_bytes_of_payload_without_padding() -> None:
    with Stage() as stage:
        player, viewer = stage.join()
        await stage.play(2.0)
        uneven = [b"\x41\x88" + bytes(size) for size in (3000, 2800, 2650)]
        stage.broadcast.feed(
            packet(stage.pictures.track, 181_000, join_length_prefixed(uneven), False)
        )
        assert any(each.padding for each in stage.broadcast.video.ring.values())
        player.reports.clear()
        viewer.report(stage.broadcast.sender_reports(1.8e9))
        player.take()
        video, audio = (r for r in player.reports if isinstance(r, rtcp.SenderReport))
        assert video.packet_count == len(player.video)
        assert video.octet_count == sum(len(each.payload) for each in player.video)
        assert audio.octet_count == sum(len(each.payload) for each in player.audio)


@virtual_time
async def test_the_viewers_estimates_are_summed_up() -> None:
    with Stage() as stage:
        assert stage.broadcast.estimates() is None
        viewers = [stage.join()[1] for _ in range(5)]
        assert stage.broadcast.estimates() is None
        for viewer, bps in zip(viewers, (3_000_000, 500_000, 1_000_000, 2_000_000), strict=False):
            viewer.on_rtcp([rtcp.Remb(1, bps, [stage.broadcast.video.ssrc])], now())
        assert stage.broadcast.estimates() == Estimates(4, 500_000, 1_000_000)


@virtual_time
async def test_the_two_tracks_never_share_an_ssrc() -> None:
    with udp_socket() as sock:
        for _ in range(50):
            one = Broadcast(Sender(sock), lambda: None, now)
            assert one.video.ssrc != one.audio.ssrc
            assert one.video.ssrc and one.audio.ssrc


@virtual_time
async def test_a_malformed_packet_is_refused_and_the_next_goes_out() -> None:
    with Stage() as stage:
        player, _ = stage.join()
        stage.feed()
        broken = packet(stage.pictures.track, 1, b"\0\0\0\xffshort", False)
        with pytest.raises(ProtocolError):
            stage.broadcast.feed(broken)
        bad_track = make_track((SPS,), (PPS,))
        bad_track = type(bad_track)("video", "h264", VIDEO_CLOCK_RATE, b"\x01")
        with pytest.raises(ProtocolError):
            stage.broadcast.feed(
                packet(bad_track, 2, join_length_prefixed([b"\x65\x88data"]), True)
            )
        await stage.play(1.0)
        shows_everything(player, stage, first_picture=0)
        assert {each.payload_type for each in player.video} == {VIDEO_TYPE}


@virtual_time
async def test_who_waits_begins_with_the_keyframe_even_in_a_turn_that_has_too_many() -> None:
    with Stage(Pictures(gop=1000)) as stage:
        await stage.play(0.5)
        joined = [stage.join() for _ in range(5)]
        await stage.play(1.0)
        for _, viewer in joined:
            stage.broadcast.skip_to_keyframe(viewer)
        source = stage.broadcast.source
        steps = iter(range(1000))
        source.clock = lambda: now() + next(steps) * SLICE_S / 3  # each step takes so long
        stage.feed(keyframe=True, size=1000)
        assert 0 < len(source.waiting) < 5
        source.clock = now
        await stage.play(0.5)
        assert not source.waiting
        for player, _ in joined:
            shown = slices(access_units(player.video))
            assert shown[-16:] == stage.pictures.payloads[-16:]  # the keyframe and all after it
            assert player.failed == player.doubled == 0
