"""Simulcast by WHIP: which layer is the stream, where the others go, and whom feedback reaches."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.hub import Stream
from mediaserver.ingest.whip import WhipPublisher
from mediaserver.ingest.whip.answer import MAX_LAYERS, Terms, accept
from mediaserver.media import Codec, Packet
from mediaserver.protocol import rtp, sdp
from tests.ingest.layers import CERTIFICATE, RID_ID, SIZES, LayeredClient, LayeredHost
from tests.ingest.whip_publisher import Numbering
from tests.rtc.house import ROOM, House, open_house
from tests.virtual_time import virtual_time


class Pictures:
    """All pictures that a stream carries from now on."""

    def __init__(self, stream: Stream | None) -> None:
        assert stream is not None
        self._reader = stream.subscribe(from_keyframe=False, kinds=frozenset({"video"}))

    async def all(self) -> list[Packet]:
        return await self._reader.read()


def sizes(house: House) -> dict[str, tuple[int, int]]:
    return {
        name: (video.width, video.height)
        for name, stream in house.hub.streams.items()
        if (video := stream.tracks.get("video")) is not None
    }


ALL = {ROOM: SIZES["f"], f"{ROOM}/h": SIZES["h"], f"{ROOM}/q": SIZES["q"]}


# -- the answer ----------------------------------------------------------------------------------


async def offered(*rids: str, without: str = "") -> sdp.Offer:
    client = LayeredClient(CERTIFICATE)
    client.layers, client.extra_rids = {}, rids
    text = client.offer()
    if without:
        text = "\r\n".join(line for line in text.split("\r\n") if without not in line)
    await client.close()
    return sdp.parse(text)


async def test_the_answer_takes_up_to_four_layers_with_what_names_them() -> None:
    (video, _), terms = accept(await offered("a", "b", "c", "d", "e"))
    assert video is not None
    assert video.rids == ("a", "b", "c", "d")
    assert len(terms.layers) == MAX_LAYERS
    assert {sdp.MID_EXTENSION, sdp.RID_EXTENSION} < set(video.extmaps)
    assert (terms.rid, terms.repaired_rid) == (RID_ID, RID_ID + 1)


async def test_a_layer_is_never_called_like_another_rendition_or_too_long() -> None:
    _, terms = accept(await offered("aac", "opus", "x" * 200))
    assert list(terms.layers.values()) == ["layer-aac", "layer-opus", "x" * 64]


@pytest.mark.parametrize(
    ("rids", "without"), [(("f",), ""), (("q", "f"), "a=extmap:4 "), (("q", "f"), "a=simulcast")]
)
async def test_one_layer_or_layers_that_nothing_names_are_no_simulcast(
    rids: tuple[str, ...], without: str
) -> None:
    (video, _), terms = accept(await offered(*rids, without=without))
    assert video is not None
    assert video.rids == ()
    assert terms.layers == {}


async def test_every_codec_that_can_be_read_is_answered_with_its_retransmissions() -> None:
    offer = await offered()
    media = offer.medias[0]
    fb = frozenset({"nack", "nack pli", "transport-cc"})
    names = {45: "AV1", 98: "VP9", 99: "H265", 100: "VP8", 101: "FUTURE"}
    payloads = {
        **media.payloads,
        **{number: sdp.Codec(name, 90_000, rtcp_fb=fb) for number, name in names.items()},
        46: sdp.Codec("rtx", 90_000, fmtp={"apt": "45"}),
    }
    offer = replace(offer, medias=(replace(media, payloads=payloads, rtx={45: 46}),))
    (video,), terms = accept(offer)
    assert video is not None
    assert set(terms.video.values()) == {"h264", "av1", "vp9", "h265", "vp8"}
    assert next(iter(terms.video)) == 96
    assert set(video.payloads) == {96, 45, 46, 98, 99, 100}
    assert terms.repairs == {46: 45}


# -- layers --------------------------------------------------------------------------------------


@virtual_time
async def test_the_largest_layer_is_the_stream_and_the_others_are_its_renditions() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        answer = await host.connect()
        assert answer.medias[0].rids == (("q", "recv"), ("h", "recv"), ("f", "recv"))
        await host.play(2.0)
        assert sizes(house) == ALL
        assert all(layer.named == 5 for layer in host.layers.values())  # SSRCs alone since then
        seen = {name: Pictures(house.hub.get(name)) for name in ALL}
        await host.play(1.0)
        for name, pictures in seen.items():
            packets = await pictures.all()
            assert len(packets) == 30
            assert {(p.track.width, p.track.height) for p in packets} == {ALL[name]}
        assert host.handler.strays == 0


@virtual_time
async def test_layers_agree_on_the_time_of_a_picture_whatever_their_clocks_begin_with() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        host.layers["f"].active = False  # joins later: until it reports its arrival alone ties it
        await host.play(1.0)
        host.layers["f"].active = True
        await host.play(1.5)
        assert sizes(house) == ALL
        seen = [Pictures(house.hub.get(name)) for name in ALL]
        await host.play(0.5)
        times = [[packet.pts for packet in await pictures.all()] for pictures in seen]
        for other in times[1:]:
            apart = [abs(a - b) for a, b in zip(times[0], other, strict=True)]
            assert max(apart) < 500  # of 90,000 a second: what alignment leaves alone
        utc = {packet.timeline.rtp_base for packet in house.hub.streams.values()}
        assert len(utc) == 1


@virtual_time
async def test_the_next_lower_layer_takes_over_when_the_best_falls_silent_and_gives_back() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        await host.play(2.0)
        seen = Pictures(house.hub.get(ROOM))
        await host.play(0.1)
        asked = host.layers["h"].plis
        host.layers["f"].active = False
        await host.play(1.2)
        assert sizes(house) == {ROOM: SIZES["h"], f"{ROOM}/q": SIZES["q"]}
        assert host.layers["h"].plis == asked + 1
        host.layers["f"].active = True
        host.layers["f"].pictures.want = True
        await host.play(1.2)
        assert sizes(house) == ALL
        packets = await seen.all()
        changes = [new for old, new in pairwise(packets) if new.track != old.track]
        assert [(each.track.width, each.keyframe) for each in changes] == [
            (640, True),
            (1280, True),
        ]
        steps = [after.pts - before.pts for before, after in pairwise(packets)]
        assert min(steps) > 0
        assert max(steps) < 90_000  # the 0.7 s, and the way of a keyframe


@virtual_time
async def test_a_rendition_ends_where_its_layer_becomes_the_stream_and_with_the_publisher() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        await host.play(2.0)
        middle, low = house.hub.get(f"{ROOM}/h"), house.hub.get(f"{ROOM}/q")
        assert middle is not None and low is not None
        host.layers["f"].active = False
        await host.play(1.2)
        assert middle.removed and not low.removed
        house.whip.delete(host.client.resource)
        await asyncio.sleep(0.1)
        assert low.removed
        assert set(house.hub.streams) == {ROOM}


@virtual_time
async def test_a_lower_layer_that_falls_silent_ends_as_a_rendition_and_begins_again() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        await host.play(2.0)
        host.layers["q"].active = False
        await host.play(5.0)
        assert sizes(house) == {ROOM: SIZES["f"], f"{ROOM}/h": SIZES["h"]}
        host.layers["q"].active = True
        await host.play(1.0)  # it is asked for a keyframe
        assert sizes(house) == ALL


@virtual_time
async def test_a_silence_of_all_layers_changes_nothing() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        await host.play(2.0)
        await asyncio.sleep(6.0)
        await host.play(0.5)
        assert sizes(house) == ALL


@virtual_time
async def test_a_keyframe_is_asked_of_the_layer_that_wants_it() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        await host.play(8.0)
        for name, rid in ((ROOM, "f"), (f"{ROOM}/h", "h"), (f"{ROOM}/q", "q")):
            before = {rid: layer.plis for rid, layer in host.layers.items()}
            stream = house.hub.get(name)
            assert stream is not None
            stream.request_keyframe(asyncio.get_running_loop().time())
            await host.play(0.2)
            after = {rid: layer.plis for rid, layer in host.layers.items()}
            assert [each for each in after if after[each] > before[each]] == [rid]


@virtual_time
async def test_what_a_layer_lost_is_asked_for_and_mended_by_its_own_retransmissions() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        await host.play(2.0)
        seen = {name: Pictures(house.hub.get(name)) for name in ALL}
        plis = {rid: layer.plis for rid, layer in host.layers.items()}
        for layer in host.layers.values():
            layer.lose = 2
        await host.play(1.0)
        assert host.client.resent >= 6
        assert {rid: layer.plis for rid, layer in host.layers.items()} == plis
        for pictures in seen.values():
            assert len(await pictures.all()) == 30
        assert host.handler.strays == 0


@virtual_time
async def test_every_layer_is_reported_on() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        await host.play(2.5)
        blocks = [
            block.ssrc for report in host.client.reports for block in getattr(report, "reports", ())
        ]
        assert {layer.line.ssrc for layer in host.layers.values()} <= set(blocks)


@virtual_time
async def test_unknown_names_and_sources_are_dropped_and_counted() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        await host.play(1.0)
        dice = random.Random(5)
        for _ in range(200):
            line = Numbering(dice.choice((96, 97, 127)))
            header = rtp.serialize_header(line.payload_type, True, 1, 1, dice.getrandbits(32))
            named = rtp.serialize_extensions({RID_ID: b"\xff\xfe", RID_ID + 1: b"z"})
            header = (
                bytes((header[0] | 0x10,)) + header[1:] + named if dice.random() < 0.5 else header
            )
            packet = rtp.parse(header + b"\x65\x88abc")
            host.handler.on_rtp(packet, asyncio.get_running_loop().time())
        assert host.handler.strays == 200
        assert len(host.handler._by_ssrc) == 3
        assert len(host.handler._by_repair_ssrc) == 0
        await host.play(1.0)
        assert sizes(house) == ALL


@virtual_time
async def test_a_layer_whose_source_changes_again_and_again_keeps_one_entry() -> None:
    async with open_house() as house:
        host = LayeredHost(house)
        await host.connect()
        await host.play(0.5)
        for _ in range(20):
            host.layers["h"].line = Numbering(96)
            host.layers["h"].named = 0
            host.layers["h"].pictures.want = True
            await host.play(0.1)
        assert len(host.handler._by_ssrc) == 3
        await host.play(1.0)
        assert sizes(house) == ALL


EVERY_CODEC = {96: "h264", 98: "vp9", 99: "h265", 100: "vp8", 45: "av1"}


@virtual_time
@pytest.mark.parametrize("layers", [{}, {"q": "q", "f": "f"}], ids=["one", "two"])
async def test_any_rtp_at_all_is_refused_by_name_or_dropped(layers: dict[str, str]) -> None:
    async with open_house() as house:
        codecs: dict[int, Codec] = {**EVERY_CODEC}  # type: ignore[dict-item]
        terms = Terms(
            codecs, frozenset({111}), {97: 96, 46: 45}, {96: 3}, layers, RID_ID, RID_ID + 1
        )
        clock = asyncio.get_running_loop().time
        publisher = WhipPublisher(
            lambda each: house.hub.publish("any", protocol="whip", on_close=lambda reason: None),
            terms,
            clock,
        )
        publisher.publication = house.hub.publish(
            "any", protocol="whip", on_close=lambda reason: None
        )
        dice, refused = random.Random(11), 0
        sequences = dict.fromkeys((1, 2, 3, 4), 0)
        for turn in range(12_000):
            data = any_rtp(dice, sequences)
            try:
                publisher.on_rtp(rtp.parse(data), clock())
            except ProtocolError:
                refused += 1
            if turn % 50 == 0:
                await asyncio.sleep(0.03)
                publisher.every_second(clock())
        assert 0 < refused < 12_000
        assert len(publisher._by_ssrc) + len(publisher._by_repair_ssrc) <= 4
        assert sum(layer.malformed for layer in publisher.layers.values()) > 100
        publisher.on_closed("the end")


def any_rtp(dice: random.Random, sequences: dict[int, int]) -> bytes:
    """Now and then well formed, often in order, with any payload."""
    ssrc = dice.choice((1, 1, 2, 3, 4))
    sequences[ssrc] = sequences[ssrc] + dice.choice((0, 1, 1, 1, 1, 2, 40, 2000)) & 0xFFFF
    values = {RID_ID: dice.choice((b"q", b"f", b"", b"\0\xff")), RID_ID + 1: b"q", 3: b"ab"}
    named = {each: value for each, value in values.items() if value and dice.random() < 0.5}
    header = rtp.serialize_header(
        dice.choice((96, 98, 99, 100, 45, 97, 46, 111, 5)),
        dice.random() < 0.3,
        sequences[ssrc],
        dice.choice((dice.getrandbits(32), sequences[ssrc] * 3000)),
        ssrc,
        dice.random() < 0.05,
        rtp.serialize_extensions(named),
    )
    head = dice.choice((b"", b"\x7c\x85", b"\x78\0\3", b"\x62\1\x93", b"\x10\x10\0\0\x9d\1\x2a"))
    data = header + head + dice.randbytes(dice.choice((0, 1, 2, 3, 8, 60)))
    return data[: dice.randrange(len(data))] if dice.random() < 0.05 else data
