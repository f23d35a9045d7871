"""The audio bridge: what goes in at a media time comes out at it, whatever happens in between."""

from __future__ import annotations

import random
from itertools import pairwise

import av
import numpy as np
import pytest

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet, Track
from mediaserver.protocol.aac import AudioSpecificConfig
from mediaserver.protocol.opus import OpusHead, opus_track, packet_duration
from mediaserver.transcode.audio_bridge import MAX_FILL_S, RESYNC_S, AudioBridge
from tests.transcode.sound import EPOCH_MS, Samples, beep, find_beep, play, publish

SOURCES = [
    pytest.param("aac", 48_000, 2, id="AAC 48 kHz stereo"),
    pytest.param("aac", 44_100, 2, id="AAC 44.1 kHz stereo"),
    pytest.param("aac", 44_100, 1, id="AAC 44.1 kHz mono"),
    pytest.param("aac", 22_050, 1, id="AAC 22.05 kHz mono"),
    pytest.param("opus", 48_000, 2, id="Opus stereo"),
    pytest.param("opus", 48_000, 1, id="Opus mono"),
]
FRAME = {"aac": 1024, "opus": 960}


def convert(packets: list[Packet]) -> tuple[AudioBridge, list[Packet]]:
    bridge = AudioBridge(packets[0].track)
    return bridge, [each for packet in packets for each in bridge.convert(packet)]


def heard_at(packets: list[Packet]) -> float:
    begin_s, samples = play(packets)
    return begin_s + find_beep(samples, 48_000)


@pytest.mark.parametrize(("codec", "rate", "channels"), SOURCES)
@pytest.mark.parametrize("begin_s", [0.0, 3 * 3600.0], ids=["at the start", "after three hours"])
def test_a_beep_is_heard_at_its_media_time(
    codec: str, rate: int, channels: int, begin_s: float
) -> None:
    source = publish(codec, beep(0.7, 1.5, rate), rate, channels, begin_s)
    bridge, output = convert(source)
    assert heard_at(output) == pytest.approx(begin_s + 0.7, abs=0.001)
    assert bridge.corrupt == bridge.resyncs == 0


@pytest.mark.parametrize(("codec", "rate", "channels"), SOURCES)
def test_the_output_says_what_it_is(codec: str, rate: int, channels: int) -> None:
    _, output = convert(publish(codec, beep(0.2, 0.5, rate), rate, channels, 1.0))
    track = output[0].track
    assert all(packet.track is track for packet in output)
    assert (track.kind, track.clock_rate, track.channels) == ("audio", 48_000, channels)
    if codec == "aac":
        assert track.codec == "opus"
        head = OpusHead.parse(track.config)
        assert output[0].pts == pytest.approx(48_000 - 1024 * 48_000 / rate - head.pre_skip, abs=1)
        assert {packet_duration(packet.payload) for packet in output} == {960}
    else:
        assert track.codec == "aac"
        config = AudioSpecificConfig.parse(track.config)
        assert (config.object_type, config.sample_rate, config.channels) == (2, 48_000, channels)
        assert output[0].pts == 48_000 - 312 - 1024
    for packet in output:
        assert packet.keyframe
        assert packet.dts == packet.pts
        assert packet.wallclock_ms == pytest.approx(EPOCH_MS + packet.pts / 48, abs=2)


@pytest.mark.parametrize(("codec", "rate", "channels"), SOURCES)
def test_packets_follow_one_another_without_a_seam(codec: str, rate: int, channels: int) -> None:
    _, output = convert(publish(codec, beep(0.2, 2, rate), rate, channels, 0.0))
    size = FRAME[output[0].track.codec]
    assert {after.pts - before.pts for before, after in pairwise(output)} == {size}


@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_lost_packets_become_silence_and_the_rest_keeps_its_time(codec: str) -> None:
    source = publish(codec, beep(0.7, 1.5, 48_000), 48_000, 2, 0.0)
    lost = [packet for number, packet in enumerate(source) if number not in (10, 12, 13, 14)]
    bridge, output = convert(lost)
    assert bridge.resyncs == 2
    assert heard_at(output) == pytest.approx(0.7, abs=0.003)
    size = FRAME[output[0].track.codec]
    assert {after.pts - before.pts for before, after in pairwise(output)} == {size}


def test_a_packet_sent_twice_adds_no_time() -> None:
    source = publish("aac", beep(0.7, 1.5, 48_000), 48_000, 2, 0.0)
    bridge, output = convert([*source[:10], *source[7:]])
    assert bridge.resyncs > 0
    assert heard_at(output) == pytest.approx(0.7, abs=0.003)


@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_after_a_long_pause_output_begins_anew_at_its_time(codec: str) -> None:
    pause_s = MAX_FILL_S + 7
    before = publish(codec, beep(0.2, 0.5, 48_000), 48_000, 2, 0.0)
    after = publish(codec, beep(0.3, 1.0, 48_000), 48_000, 2, 0.5 + pause_s)
    bridge, output = convert(before)
    resumed = [each for packet in after for each in bridge.convert(packet)]
    assert resumed[0].pts > output[-1].pts + pause_s * 0.9 * 48_000
    assert heard_at(resumed) == pytest.approx(0.8 + pause_s, abs=0.003)
    assert resumed[0].track == output[0].track


def drifting(packets: list[Packet], parts_per_million: float) -> list[Packet]:
    """The same packets by a publisher whose clock goes wrong by so much against its samples."""
    factor = 1 + parts_per_million / 1e6
    return [
        Packet(p.track, round(p.pts * factor), round(p.pts * factor), 0, True, p.payload)
        for p in packets
    ]


@pytest.mark.parametrize("parts_per_million", [-300, 300])
@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_a_clock_that_drifts_is_followed_without_a_cut(
    codec: str, parts_per_million: float
) -> None:
    length_s = 60.0
    beep_s = 59.0
    source = publish(codec, beep(beep_s, length_s, 48_000), 48_000, 1, 0.0)
    bridge, output = convert(drifting(source, parts_per_million))
    drift_s = beep_s * parts_per_million / 1e6
    assert abs(drift_s) > 0.015  # what would be heard too early or too late
    assert heard_at(output) == pytest.approx(beep_s + drift_s, abs=0.004)
    assert bridge.resyncs == 0


def test_jitter_of_timestamps_is_not_followed() -> None:
    source = publish("aac", beep(1.5, 2.0, 48_000), 48_000, 2, 0.0)
    dice = random.Random(1)
    limit = int(RESYNC_S * 48_000)
    jittery = []
    for packet in source:
        pts = packet.pts + dice.randint(-limit // 3, limit // 3)
        jittery.append(Packet(packet.track, pts, pts, 0, True, packet.payload))
    jittery[0].pts = jittery[0].dts = source[0].pts
    bridge, output = convert(jittery)
    assert bridge.resyncs == 0
    assert heard_at(output) == pytest.approx(1.5, abs=0.004)


@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_a_corrupt_packet_is_counted_and_passed_over(codec: str) -> None:
    source = publish(codec, beep(0.7, 1.5, 48_000), 48_000, 2, 0.0)
    for number, payload in ((5, b""), (9, b"\xff" * 50), (13, b"\xff" * 3)):
        source[number].payload = payload
    bridge, output = convert(source)
    assert bridge.corrupt == 3
    assert heard_at(output) == pytest.approx(0.7, abs=0.003)


@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_whatever_the_payload_the_bridge_goes_on(codec: str) -> None:
    dice = random.Random(7)
    source = publish(codec, beep(0.7, 8.0, 48_000), 48_000, 2, 0.0)
    good = [packet.payload for packet in source]
    for packet in source[10:-40]:
        damaged = bytearray(packet.payload)
        for _ in range(dice.randint(0, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        packet.payload = bytes(damaged[: dice.randint(1, len(damaged))])
    bridge, output = convert(source)
    assert bridge.corrupt > 0
    assert output[-1].pts == pytest.approx(source[-1].pts, abs=4096)
    assert good[0] == source[0].payload


def test_sound_of_another_form_in_the_same_track_is_taken() -> None:
    """HE-AAC that is not announced turns up as another sample rate; here mono becomes stereo."""
    mono = publish("aac", beep(0.2, 0.5, 48_000), 48_000, 1, 0.0)
    stereo = publish("aac", beep(0.2, 1.0, 48_000), 48_000, 2, 0.5)
    bridge = AudioBridge(mono[0].track)
    output = [each for packet in [*mono, *stereo] for each in bridge.convert(packet)]
    assert all(before.pts < after.pts for before, after in pairwise(output))
    assert (output[0].track.channels, output[-1].track.channels) == (1, 2)
    later = [packet for packet in output if packet.track == output[-1].track]
    assert heard_at(later) == pytest.approx(0.7, abs=0.003)


def test_no_number_that_a_decoder_makes_up_reaches_the_encoder() -> None:
    """A sound at full scale clips, it does not end the bridge."""
    loud: Samples = np.sign(beep(0.1, 0.5, 48_000)) * np.float32(3.0)
    bridge, output = convert(publish("aac", loud, 48_000, 2, 0.0))
    _, samples = play(output)
    assert np.abs(samples).max() <= 1.5
    assert bridge.corrupt == 0


def test_a_track_that_cannot_be_bridged_is_refused() -> None:
    with pytest.raises(ValueError, match="h264"):
        AudioBridge(Track("video", "h264", 90_000, b""))


def test_the_opus_that_comes_out_is_what_the_track_says() -> None:
    """A decoder that is given the OpusHead drops exactly the pre-skip that pts allows for."""
    _, output = convert(publish("aac", beep(0.3, 1.0, 48_000), 48_000, 2, 0.0))
    head = OpusHead.parse(output[0].track.config)
    decoder = av.CodecContext.create("libopus", "r")
    decoder.extradata = output[0].track.config
    first = decoder.decode(av.Packet(output[0].payload))[0]
    assert first.samples == 960 - head.pre_skip


def latency_ms(source: list[Packet]) -> list[float]:
    """Media time of the end of what had come in, minus the end of what a decoder has by then."""
    bridge = AudioBridge(source[0].track)
    rate, size = source[0].track.clock_rate, FRAME[source[0].track.codec]
    latencies = []
    for packet in source:
        came_ms = (packet.pts + size) * 1000 / rate
        for each in bridge.convert(packet):
            latencies.append(came_ms - (each.pts + FRAME[each.track.codec]) / 48)
    return latencies


@pytest.mark.parametrize(
    ("codec", "rate", "most_ms"), [("aac", 48_000, 23), ("aac", 44_100, 27), ("opus", 48_000, 65)]
)
def test_the_latency_it_adds_is_bounded(codec: str, rate: int, most_ms: float) -> None:
    """Before the source's own codec delay: frames of unlike length, and the encoder's look-ahead."""
    latencies = latency_ms(publish(codec, beep(0.5, 3.0, rate), rate, 2, 0.0))
    assert min(latencies) >= 0
    assert max(latencies) < most_ms


def test_a_configuration_that_no_decoder_takes_is_an_error_of_its_own() -> None:
    with pytest.raises((av.FFmpegError, ProtocolError)):
        bridge = AudioBridge(Track("audio", "aac", 48_000, b"\xff\xff", channels=2))
        bridge.convert(Packet(bridge.track, 0, 0, 0, True, b"\x21\x10"))
    assert AudioBridge(opus_track(2)).track.channels == 2
