"""HLS from the hub to real players, over a real HTTP server."""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import pytest
from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from mediaserver.api import problem
from mediaserver.api.hls import HlsApi
from mediaserver.egress import hls
from mediaserver.egress.hls import HlsEgress, HlsSettings
from mediaserver.egress.hls_viewers import HlsViewers
from mediaserver.errors import NotFound, Unauthorized
from mediaserver.hub import Hub, Publication, Stream
from mediaserver.media import Packet
from mediaserver.protocol.opus import opus_track
from tests.packager.boxes import read_samples
from tests.packager.encoding import Encode, at, encode
from tests.packager.reading import Playlist, read_playlist
from tests.packager.streams import video

PLAYER_S = 60


class Doors:
    """Rooms and the token each wants, if any."""

    def __init__(self, rooms: dict[str, str | None]) -> None:
        self.rooms = rooms

    async def publish(self, key: str) -> str:
        raise Unauthorized("no such key")

    async def watch(self, stream: str, token: str | None) -> None:
        if stream not in self.rooms:
            raise NotFound("no such room")
        if self.rooms[stream] not in (None, token):
            raise Unauthorized("this room wants a token")


@dataclass
class House:
    hub: Hub
    egress: HlsEgress
    viewers: HlsViewers
    client: ClientSession
    url: str
    asked: list[str]

    async def get(self, path: str, **options: object) -> ClientResponse:
        response = await self.client.get(f"{self.url}/hls/{path}", **options)  # type: ignore[arg-type]
        await response.read()
        return response

    async def playlist(self, path: str) -> Playlist:
        response = await self.get(path)
        assert response.status == 200
        return read_playlist(await response.read())


@asynccontextmanager
async def house(
    settings: HlsSettings | None = None,
    *,
    grace_s: float = 30.0,
    on_request: Callable[[str], None] = lambda path: None,
) -> AsyncIterator[House]:
    hub = Hub(grace_s)
    egress = HlsEgress(hub, settings or HlsSettings())
    egress.start()
    asked: list[str] = []

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked.append(request.path)
        on_request(request.path)
        return await handler(request)

    app = web.Application(middlewares=[note])
    problem.install(app)
    viewers = HlsViewers()
    doors = Doors({"show": None, "vip": "a b&c", "quiet": None})
    app.add_routes(HlsApi(egress, doors, viewers).routes())
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        async with ClientSession() as client:
            yield House(hub, egress, viewers, client, str(server.make_url("")).rstrip("/"), asked)
    finally:
        await server.close()
        hub.drain()
        await egress.close()


def publish(hub: Hub, name: str = "show") -> Publication:
    return hub.publish(name, protocol="test", on_close=lambda reason: None)


def write(publication: Publication, packets: list[Packet], began: float | None = None) -> None:
    """Write packets as if each arrived at its decode time after `began`, monotonic seconds."""
    began = time.monotonic() if began is None else began
    for packet in packets:
        rate = packet.track.clock_rate
        publication.write(
            packet.track,
            packet.dts & 0xFFFFFFFF,
            packet.payload,
            keyframe=packet.keyframe,
            composition=packet.pts - packet.dts,
            arrival=began + packet.dts / rate,
        )


async def relay(publication: Publication, bridge: Stream, packets: list[Packet]) -> None:
    """Write packets in steps of 0.2 s of media time, AAC to the bridge's rendition."""
    began = time.monotonic()
    for step in range(-1, 100):
        now = [p for p in packets if step <= p.dts / p.track.clock_rate * 5 < step + 1]
        write(publication, [p for p in now if p.track.codec != "aac"], began)
        for packet in now:
            if packet.track.codec == "aac":
                bridge.write(packet)
        await asyncio.sleep(0)


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, as other tasks run."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def run(*command: str) -> str:
    """The standard output of a program that succeeds."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PLAYER_S)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def frames(ffmpeg: str, url: str, kind: str) -> list[float]:
    """Times of all frames that ffmpeg decodes from the first segment on, in seconds."""
    source = ("-live_start_index", "0", "-i", url)
    checked = await run(
        *(ffmpeg, "-hide_banner", "-loglevel", "error", "-xerror", "-copyts", *source),
        *("-map", f"0:{kind}", "-fps_mode", "passthrough", "-f", "framecrc", "-"),
    )
    base = re.search(r"#tb 0: (\d+)/(\d+)", checked)
    assert base
    tick = Fraction(int(base[1]), int(base[2]))
    lines = [line for line in checked.splitlines() if not line.startswith("#")]
    return [float(int(line.split(",")[2]) * tick) for line in lines]


def of(packets: list[Packet], kind: str) -> list[Packet]:
    return [packet for packet in packets if packet.track.kind == kind]


@pytest.mark.parametrize("b_frames", [0, 2])
async def test_ffmpeg_plays_every_frame_of_a_show_in_sync(ffmpeg: str, b_frames: int) -> None:
    packets = encode(Encode(9, b_frames=b_frames))
    async with house() as here:
        write(publish(here.hub), packets)
        here.hub.drain()
        url = f"{here.url}/hls/show/index.m3u8"
        pictures = await frames(ffmpeg, url, "v")
        sound = await frames(ffmpeg, url, "a")
    assert len(pictures) == 270
    assert pictures == pytest.approx([pictures[0] + n / 30 for n in range(270)], abs=0.0001)
    # All the audio from the first picture on, less what came after the last.
    assert len(sound) in range(420, 424)
    assert sound == pytest.approx(
        [sound[0] + n * 1024 / 48_000 for n in range(len(sound))], abs=1e-4
    )
    assert abs(sound[0] - pictures[0]) < 1024 / 48_000


async def test_pyav_reads_both_tracks_as_they_were_sent() -> None:
    packets = encode(Encode(5, b_frames=2))
    async with house() as here:
        write(publish(here.hub), packets)
        here.hub.drain()
        url = f"{here.url}/hls/show/index.m3u8"

        def read() -> dict[str, list[tuple[Fraction, bytes]]]:
            found: dict[str, list[tuple[Fraction, bytes]]] = {"video": [], "audio": []}
            with av.open(url) as container:
                for packet in container.demux():
                    if packet.pts is not None:
                        found[packet.stream.type].append(
                            (packet.pts * packet.time_base, bytes(packet))
                        )
            return found

        found = await asyncio.to_thread(read)
    sent = of(packets, "video")
    assert [payload for _, payload in found["video"]] == [packet.payload for packet in sent]
    offset = found["video"][0][0] - Fraction(sent[0].pts, 90_000)
    assert [when for when, _ in found["video"]] == [Fraction(p.pts, 90_000) + offset for p in sent]
    by_payload = {payload: when for when, payload in found["audio"]}
    heard = [p for p in of(packets, "audio") if p.payload in by_payload]
    assert len(heard) > 225
    for packet in heard:
        late = by_payload[packet.payload] - Fraction(packet.pts, 48_000) - offset
        assert abs(late) < Fraction(1, 1000)


async def test_a_live_show_is_followed_through_its_reloads(ffmpeg: str) -> None:
    """The show goes on by a second whenever the player asks again; its playlists keep the rules."""
    packets = encode(Encode(10, gop=15))
    seconds = [
        [p for p in packets if n <= p.dts / p.track.clock_rate < n + 1] for n in range(-1, 10)
    ]
    texts: dict[str, list[Playlist]] = {"video.m3u8": [], "audio.m3u8": []}
    ahead = iter(seconds)
    began = time.monotonic()

    def on_request(path: str) -> None:
        if path.endswith("/video.m3u8"):
            for name, seen in texts.items():
                text = here.egress.playlist("show", name)
                assert text is not None
                seen.append(read_playlist(text))
            goes_on()

    def goes_on() -> None:
        second = next(ahead, None)
        if second is None:
            here.hub.drain()
        else:
            write(publication, second, began)

    async with house(HlsSettings(segment_ms=1000, window_s=4), on_request=on_request) as here:
        publication = publish(here.hub)
        for _ in range(4):
            goes_on()
        await settled(lambda: here.egress.playlist("show", "index.m3u8") is not None)
        pictures = await frames(ffmpeg, f"{here.url}/hls/show/index.m3u8", "v")
    assert len(pictures) == 300
    for playlists in texts.values():
        assert len(playlists) > 5
        assert {each.target_s for each in playlists} == {1}
        first = [each.entries[0].sequence for each in playlists]
        assert first == sorted(first)
        assert first[-1] > 0
        kept: dict[int, tuple[str, int, float]] = {}
        for each in playlists:
            for entry in each.entries:
                told = (entry.uri, entry.utc_ms, entry.duration_s)
                assert kept.setdefault(entry.sequence, told) == told
        dates = [kept[number][1] for number in sorted(kept)]
        assert dates == sorted(set(dates))


async def test_dates_are_the_hubs_and_segments_begin_with_an_idr() -> None:
    async with house() as here:
        publication = publish(here.hub)
        reader = publication.stream.subscribe()
        write(publication, encode(Encode(7, b_frames=2)))
        packets = await reader.read()
        await settled(lambda: here.egress.playlist("show", "video.m3u8") is not None)
        now_ms = time.time() * 1000
        by_payload = {p.payload: p.wallclock_ms for p in packets if p.track.kind == "video"}
        text = await here.playlist("show/video.m3u8")
        assert len(text.entries) == 3
        for entry in text.entries:
            data = await (await here.get(f"show/{entry.uri}")).read()
            first = read_samples(data)[0]
            assert first.sync
            nal_types = []
            view = io.BytesIO(first.payload)
            while size := int.from_bytes(view.read(4), "big"):
                nal_types.append(view.read(size)[0] & 31)
            assert 5 in nal_types
            assert abs(entry.utc_ms - by_payload[first.payload]) <= 1
        assert abs(text.entries[0].utc_ms - now_ms) < 5000


async def test_opus_is_heard_through_the_aac_rendition(ffmpeg: str) -> None:
    packets = encode(Encode(7))
    opus = [at(opus_track(2), n * 960, n * 960, b"\xfc", keyframe=True) for n in range(350)]
    async with house() as here:
        publication = publish(here.hub)
        bridge = here.hub.rendition(publication.stream, "aac")
        await relay(publication, bridge, packets + opus)
        await settled(lambda: here.egress.playlist("show", "audio.m3u8") is not None)
        index = await (await here.get("show/index.m3u8")).text()
        assert "mp4a.40.2" in index
        here.hub.drain()
        sound = await frames(ffmpeg, f"{here.url}/hls/show/index.m3u8", "a")
    assert len(sound) > 320


async def test_the_bridge_may_have_been_there_first() -> None:
    async with house() as here:
        await here.egress.close()
        publication = publish(here.hub)
        bridge = here.hub.rendition(publication.stream, "aac")
        here.egress.start()
        await relay(publication, bridge, encode(Encode(5)))
        await settled(lambda: here.egress.playlist("show", "audio.m3u8") is not None)


async def test_a_publisher_that_sends_keyframes_on_request_is_asked_for_them() -> None:
    """A browser that answers half a second late, in media time; its own interval is endless."""
    async with house() as here:
        publication = publish(here.hub)
        requests = []
        publication.stream.on_keyframe_request = lambda: requests.append(True)
        frames = [replace(p, keyframe=n in (0, 72)) for n, p in enumerate(video(0, 6))]
        began, asked_at = time.monotonic(), []
        for number, frame in enumerate(frames):
            write(publication, [frame], began)
            await asyncio.sleep(0)
            if requests and not asked_at:
                asked_at.append(number)
        assert asked_at == [57]
        assert len(requests) == 1  # merged by the hub: the test took less than its interval
        text = await here.playlist("show/video.m3u8")
        assert text.entries[0].duration_s == 2.4
        assert text.target_s == 3


async def test_a_publisher_that_returns_goes_on_in_the_same_playlists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hls, "OFFLINE_FLUSH_S", 0.0)
    packets = encode(Encode(5))
    async with house() as here:
        began = time.monotonic()
        publication = publish(here.hub)
        write(publication, packets, began)
        await settled(lambda: here.egress.playlist("show", "video.m3u8") is not None)
        before = await here.playlist("show/video.m3u8")
        assert len(before.entries) == 2
        publication.close("lost")

        def listed() -> int:
            return (here.egress.playlist("show", "video.m3u8") or b"").count(b"#EXTINF")

        await settled(lambda: listed() == 3)  # all that came is shown
        write(publish(here.hub), packets, began + 15)
        await settled(lambda: listed() == 5)
        video = await here.playlist("show/video.m3u8")
        audio = await here.playlist("show/audio.m3u8")
    assert [entry.uri for entry in video.entries[:2]] == [entry.uri for entry in before.entries]
    assert [entry.discontinuity for entry in video.entries] == [0, 0, 0, 1, 1]
    assert [entry.discontinuity for entry in audio.entries][:4] == [0, 0, 0, 1]
    assert video.entries[3].utc_ms - video.entries[0].utc_ms == pytest.approx(15_000, abs=50)
    assert len({entry.init for entry in video.entries}) == 1
    assert not video.ended


async def test_a_stream_that_is_removed_ends_its_playlists_and_then_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hls, "ENDED_S", 0.3)
    async with house(grace_s=0.0) as here:
        publication = publish(here.hub)
        write(publication, encode(Encode(5)))
        publication.close("stopped")
        await settled(lambda: b"ENDLIST" in (here.egress.playlist("show", "video.m3u8") or b""))
        video = await here.playlist("show/video.m3u8")
        audio = await here.playlist("show/audio.m3u8")
        assert video.ended
        assert audio.ended
        assert (await here.get(f"show/{video.entries[-1].uri}")).status == 200
        await settled(lambda: here.egress.playlist("show", "video.m3u8") is None)
        for name in ("index.m3u8", "video.m3u8", video.entries[-1].uri):
            assert (await here.get(f"show/{name}")).status == 404


async def test_the_next_show_in_a_room_shares_no_name_with_the_last() -> None:
    async with house(grace_s=0.0) as here:
        names = []
        for _ in range(2):
            publication = publish(here.hub)
            write(publication, encode(Encode(5)))
            await settled(lambda: here.egress.playlist("show", "video.m3u8") is not None)
            text = await here.playlist("show/video.m3u8")
            assert not text.ended
            names.append({entry.uri for entry in text.entries})
            publication.close("stopped")
            await settled(lambda: b"ENDLIST" in (here.egress.playlist("show", "video.m3u8") or b""))
        assert names[0].isdisjoint(names[1])


async def test_closing_leaves_no_task_and_no_muxer() -> None:
    hub = Hub()
    egress = HlsEgress(hub, HlsSettings())
    before = asyncio.all_tasks()
    egress.start()
    publication = publish(hub)
    hub.rendition(publication.stream, "aac")
    await settled(lambda: publication.stream.readers == 1)
    assert len(asyncio.all_tasks()) == len(before) + 2
    await egress.close()
    assert asyncio.all_tasks() == before
    assert publication.stream.readers == 0
    assert egress.playlist("show", "index.m3u8") is None
    publish(hub, "other")
    assert asyncio.all_tasks() == before
    hub.drain()


# Over HTTP


async def test_files_have_their_types_caching_and_cors() -> None:
    async with house() as here:
        write(publish(here.hub), encode(Encode(5)))
        await settled(lambda: here.egress.playlist("show", "index.m3u8") is not None)
        picture = (await here.playlist("show/video.m3u8")).entries[0]
        sound = (await here.playlist("show/audio.m3u8")).entries[0]
        for name, content_type, caching in [
            ("index.m3u8", "application/vnd.apple.mpegurl", "no-cache"),
            ("video.m3u8", "application/vnd.apple.mpegurl", "no-cache"),
            (picture.init, "video/mp4", "max-age=31536000, immutable"),
            (picture.uri, "video/mp4", "max-age=31536000, immutable"),
            (sound.init, "audio/mp4", "max-age=31536000, immutable"),
            (sound.uri, "audio/mp4", "max-age=31536000, immutable"),
        ]:
            response = await here.get(f"show/{name}")
            assert response.status == 200
            assert response.headers["Content-Type"] == content_type
            assert response.headers["Cache-Control"] == caching
            assert response.headers["Access-Control-Allow-Origin"] == "*"
        head = await here.client.head(f"{here.url}/hls/show/{picture.uri}")
        assert head.status == 200
        data = here.egress.segment("show", picture.uri)
        assert data is not None
        assert head.headers["Content-Length"] == str(len(data))
        preflight = await here.client.options(f"{here.url}/hls/show/index.m3u8")
        assert preflight.status == 204
        assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    "path", ["nowhere/index.m3u8", "quiet/index.m3u8", "show/other.m3u8", "show/v00_0.m4s"]
)
async def test_what_is_not_there_is_a_problem_that_any_page_can_read(path: str) -> None:
    async with house() as here:
        write(publish(here.hub), encode(Encode(3)))
        response = await here.get(path)
        assert response.status == 404
        assert response.content_type == "application/problem+json"
        assert (await response.json())["code"] == "not_found"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Cache-Control"] == "no-store"


async def test_a_token_in_the_query_opens_every_file_and_is_carried_on(ffmpeg: str) -> None:
    async with house() as here:
        write(publish(here.hub, "vip"), encode(Encode(5)))
        await settled(lambda: here.egress.playlist("vip", "index.m3u8") is not None)
        here.hub.drain()
        await settled(lambda: b"ENDLIST" in (here.egress.playlist("vip", "video.m3u8") or b""))
        for name in ("index.m3u8", "video.m3u8", "audio.m3u8"):
            response = await here.get(f"vip/{name}", params={"token": "a b&c"})
            text = await response.text()
            uris = [line for line in text.splitlines() if not line.startswith("#")]
            uris += re.findall(r'URI="([^"]+)"', text)
            assert uris
            assert all(uri.endswith("?token=a%20b%26c") for uri in uris)
            assert (await here.get(f"vip/{name}")).status == 401
            assert (await here.get(f"vip/{name}?token=wrong")).status == 401
            segment = uris[0].partition("?")[0]
            assert (await here.get(f"vip/{segment}")).status == 401
        url = f"{here.url}/hls/vip/index.m3u8?token=a%20b%26c"
        assert len(await frames(ffmpeg, url, "v")) == 150


async def test_who_asks_for_playlists_is_counted_once_and_who_may_not_is_not() -> None:
    async with house() as here:
        write(publish(here.hub, "vip"), encode(Encode(5)))
        await settled(lambda: here.egress.playlist("vip", "index.m3u8") is not None)
        await here.get("vip/index.m3u8")
        assert here.viewers.count("vip") == 0
        for name in ("index.m3u8", "video.m3u8", "audio.m3u8", "video.m3u8"):
            await here.get(f"vip/{name}?token=a%20b%26c")
        assert here.viewers.count("vip") == 1


async def test_a_token_in_the_header_is_not_put_into_playlists() -> None:
    async with house() as here:
        write(publish(here.hub, "vip"), encode(Encode(5)))
        await settled(lambda: here.egress.playlist("vip", "index.m3u8") is not None)
        headers = {"Authorization": "Bearer a b&c"}
        response = await here.get("vip/video.m3u8", headers=headers)
        assert response.status == 200
        assert "token" not in await response.text()


async def test_a_query_cannot_write_into_a_playlist() -> None:
    async with house() as here:
        write(publish(here.hub), encode(Encode(5)))
        await settled(lambda: here.egress.playlist("show", "index.m3u8") is not None)
        plain = await (await here.get("show/video.m3u8")).text()
        response = await here.get("show/video.m3u8", params={"token": 'x"\n#EXT-X-ENDLIST\n\0'})
        text = await response.text()
        assert len(text.splitlines()) == len(plain.splitlines())
        assert re.sub(r"\?token=[%\w-]+", "", text) == plain


def test_encodes_differ_by_their_start() -> None:
    """What the tests above stand on: a shifted encode is the same pictures at later times."""
    early, late = encode(Encode(0.2)), encode(Encode(0.2, start_s=5))
    assert [p.payload for p in early] == [p.payload for p in late]
    assert late[0] == replace(
        early[0],
        pts=early[0].pts + 240_000,
        dts=early[0].dts + 240_000,
        wallclock_ms=early[0].wallclock_ms + 5000,
    )
