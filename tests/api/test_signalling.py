"""What WHIP and WHEP say over HTTP beside the offer: preflight, the resource, trickle, ICE restart."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.api import problem
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.whip import WhipApi
from mediaserver.protocol import sdp, sdp_fragment
from mediaserver.protocol.h264 import split_length_prefixed
from mediaserver.protocol.sdp_fragment import MEDIA_TYPE, Credentials, Fragment
from mediaserver.rtc.dtls import Certificate
from mediaserver.rtc.session import Address, Session
from tests.http_house import PRIVATE, TOKEN, HttpHouse, open_http_house
from tests.ingest.whip_publisher import WhipPublisher
from tests.rtc.house import KEY, ROOM, House, Received, open_house
from tests.rtc.players import gapless
from tests.virtual_time import now, until, virtual_time

CERTIFICATE = Certificate.generateCertificate()
FRAGMENT = {"Content-Type": MEDIA_TYPE}
CANDIDATE = (
    "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw"
)
ENDPOINTS = ("/whip", f"/whep/{ROOM}")
NEW = Credentials("ysXw", "vw5LmwG4y/e6dPP/zAP9Gp5k")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> Any:
        return json.loads(self.body)["code"]


@dataclass
class Posted:
    """A session that was posted, and the client whose offer it was."""

    here: HttpHouse
    client: WebRtcClient
    url: str
    etag: str

    @property
    def session(self) -> Session:
        return self.here.house.transport.sessions[self.url.rpartition("/")[2]]

    def fragment(self, credentials: Credentials | None = None, mid: str = "0") -> str:
        """A trickle, or with other credentials than the offer's a restart."""
        mine = credentials or Credentials(self.client.ufrag, self.client.password)
        lines = ["a=group:BUNDLE 0 1", "m=audio 9 UDP/TLS/RTP/SAVPF 111", f"a=mid:{mid}"]
        lines += [f"a=ice-ufrag:{mine.ufrag}", f"a=ice-pwd:{mine.password}", CANDIDATE]
        return "\r\n".join([*lines, "a=end-of-candidates", ""])

    async def patch(
        self, body: str | bytes | None = None, *, tag: str | None = None, **headers: str
    ) -> Reply:
        wanted = FRAGMENT | headers | ({} if tag is None else {"If-Match": tag})
        data = self.fragment() if body is None else body
        return await ask(self.here, "PATCH", self.url, data=data, headers=wanted)

    async def restart(self, credentials: Credentials = NEW, tag: str = "*") -> Reply:
        return await self.patch(self.fragment(credentials), tag=tag)


async def ask(here: HttpHouse, method: str, path: str, **options: Any) -> Reply:
    async with here.http.request(method, here.url + path, **options) as reply:
        return Reply(reply.status, reply.headers, await reply.read())


@asynccontextmanager
async def posted(endpoint: str) -> AsyncIterator[Posted]:
    """A session behind `endpoint` whose client has not connected."""
    async with open_http_house() as here:
        here.house.publish()
        publishes = endpoint == "/whip"
        client = (WhipPublisher if publishes else WebRtcClient)(CERTIFICATE)
        reply = await here.post(endpoint, client.offer(), token=KEY if publishes else None)
        assert reply.status == 201
        yield Posted(here, client, reply.headers["Location"], reply.headers["ETag"])


def listed(header: str) -> set[str]:
    return {each.strip() for each in header.split(",")}


# -- preflight, and what is not there ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "methods", "accepted"),
    [
        *((path, "GET HEAD OPTIONS POST", "Accept-Post") for path in ENDPOINTS),
        *((f"{path}/x", "DELETE GET HEAD OPTIONS PATCH", "Accept-Patch") for path in ENDPOINTS),
    ],
)
async def test_a_browser_may_ask_first_from_any_origin(
    path: str, methods: str, accepted: str
) -> None:
    async with open_http_house() as here:
        reply = await ask(here, "OPTIONS", path)
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert listed(reply.headers["Access-Control-Allow-Methods"]) == set(methods.split())
        assert listed(reply.headers["Allow"]) == set(methods.split())
        asked = listed(reply.headers["Access-Control-Allow-Headers"])
        assert asked == {"Authorization", "Content-Type", "If-Match"}
        kinds = {"Accept-Post": "application/sdp", "Accept-Patch": MEDIA_TYPE}
        assert {each: reply.headers[each] for each in kinds if each in reply.headers} == {
            accepted: kinds[accepted]
        }


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_what_an_endpoint_does_not_do_is_405_with_what_it_does(
    path: str, method: str
) -> None:
    async with open_http_house() as here:
        reply = await ask(here, method, path)
        assert (reply.status, reply.code) == (405, "method_not_allowed")
        assert listed(reply.headers["Allow"]) == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_what_a_session_does_not_do_is_405_with_what_it_does(path: str, method: str) -> None:
    async with open_http_house() as here:
        reply = await ask(here, method, f"{path}/x")
        assert (reply.status, reply.code) == (405, "method_not_allowed")
        assert listed(reply.headers["Allow"]) == {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_endpoint_has_no_representation_and_whep_tells_players_what_it_is(
    method: str,
) -> None:
    async with open_http_house() as here:
        whip = await ask(here, method, "/whip")
        assert (whip.status, whip.body) == (204, b"")
        whep = await ask(here, method, f"/whep/{ROOM}")
        assert (whep.status, whep.body) == (200, b"")
        assert whep.headers["Content-Type"] == "application/sdp"
        assert whep.headers["Cache-Control"] == whip.headers["Cache-Control"] == "no-store"
        assert (await ask(here, method, "/whep/nowhere")).status == 404
        assert (await ask(here, method, f"/whep/{PRIVATE}")).status == 401
        token = {"Authorization": f"Bearer {TOKEN}"}
        assert (await ask(here, method, f"/whep/{PRIVATE}", headers=token)).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_session_has_no_representation_while_it_is_there(
    endpoint: str, method: str
) -> None:
    async with posted(endpoint) as one:
        reply = await ask(one.here, method, one.url)
        assert (reply.status, reply.body) == (204, b"")
        assert await one.here.delete(one.url) == 200
        assert (await ask(one.here, method, one.url)).status == 404


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_delete_ignores_entity_tags_and_a_second_one_finds_nothing(endpoint: str) -> None:
    async with posted(endpoint) as one:
        first = await ask(one.here, "DELETE", one.url, headers={"If-Match": '"of old"'})
        assert (first.status, first.body) == (200, b"")
        assert (await ask(one.here, "DELETE", one.url)).code == "not_found"
        assert (await one.patch(tag="*")).code == "not_found"


async def test_a_session_is_found_under_its_own_protocol_only() -> None:
    async with posted("/whip") as one:
        elsewhere = f"/whep/{ROOM}/{one.session.id}"
        for method in ("GET", "DELETE", "PATCH"):
            reply = await ask(one.here, method, elsewhere, headers=FRAGMENT | {"If-Match": "*"})
            assert (reply.status, reply.code) == (404, "not_found")
        assert (await ask(one.here, "GET", one.url)).status == 204


# -- trickle ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_candidates_with_the_tag_of_the_session_are_taken_without_a_word(
    endpoint: str,
) -> None:
    async with posted(endpoint) as one:
        ufrag = one.session.ufrag
        reply = await one.patch(tag=one.etag)
        assert (reply.status, reply.body) == (204, b"")
        assert "ETag" not in reply.headers
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert one.session.ufrag == ufrag and len(one.session.passwords) == 1


@pytest.mark.parametrize(
    "body",
    [
        "a=end-of-candidates\r\n",
        "m=audio 9 RTP/AVP 0\r\na=mid:0\r\n" + CANDIDATE + "\r\n",
        "m=audio 9 RTP/AVP 0\na=mid:elsewhere\n" + CANDIDATE + "\n",
    ],
)
async def test_candidates_without_credentials_are_those_of_the_session_that_is_matched(
    body: str,
) -> None:
    async with posted("/whip") as one:
        assert (await one.patch(body, tag=one.etag)).status == 204


@pytest.mark.parametrize(
    ("tag", "status"),
    [
        (None, 428),
        ('"of another session"', 412),
        ("", 412),
        ("without quotes", 412),
        ('W/"{}"', 412),  # RFC 9110 §13.1.1: strong comparison
        ('"{}"', 204),
        ('"other", "{}"', 204),
        ("*", 204),
    ],
)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_trickle_says_which_ice_session_it_is_for(
    endpoint: str, tag: str | None, status: int
) -> None:
    async with posted(endpoint) as one:
        wanted = tag.format(one.etag.strip('"')) if tag is not None else None
        reply = await one.patch(tag=wanted)
        assert reply.status == status
        if status >= 400:
            assert reply.code == {412: "stale", 428: "if_match_missing"}[status]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "malformed"),
        ("hello", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        ("m=audio\r\n", 400, "malformed"),
        ("a=ice-ufrag:abcd\r\n", 400, "malformed"),
        ("a=ice-ufrag:abcd\r\na=ice-pwd:short\r\n", 400, "malformed"),
        (CANDIDATE, 400, "malformed"),
        ("a=x\r\n" * 10_000, 413, "too_large"),
    ],
)
async def test_what_is_no_fragment_changes_nothing(
    body: str | bytes, status: int, code: str
) -> None:
    async with posted("/whip") as one:
        reply = await one.patch(body, tag="*")
        assert (reply.status, reply.code) == (status, code)
        assert f'"{one.session.ufrag}"' == one.etag


@pytest.mark.parametrize("kind", ["application/sdp", "text/plain", "application/octet-stream"])
async def test_another_type_is_415_with_the_one_that_is_taken(kind: str) -> None:
    async with posted(ENDPOINTS[1]) as one:
        reply = await one.patch(tag="*", **{"Content-Type": kind})
        assert (reply.status, reply.code) == (415, "unsupported_media_type")
        assert reply.headers["Accept-Patch"] == MEDIA_TYPE


async def test_a_packed_fragment_is_refused() -> None:
    async with posted("/whip") as one:
        reply = await one.patch(b"\x1f\x8b", tag="*", **{"Content-Encoding": "gzip"})
        assert (reply.status, reply.code) == (415, "unsupported_coding")


async def test_a_precondition_is_looked_at_before_what_is_in_the_body() -> None:
    async with posted("/whip") as one:
        assert (await one.patch("nonsense")).status == 428
        assert (await one.patch("nonsense", tag='"old"')).status == 412


# -- ICE restart ------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_other_credentials_restart_ice_and_are_answered_with_ours(endpoint: str) -> None:
    async with posted(endpoint) as one:
        old = Credentials(one.session.ufrag, one.session.password)
        reply = await one.restart()
        assert reply.status == 200
        assert reply.headers["Content-Type"] == MEDIA_TYPE
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["ETag"] == f'"{one.session.ufrag}"' != one.etag
        assert "ETag" in listed(reply.headers["Access-Control-Expose-Headers"])
        told = sdp_fragment.parse(reply.body)
        assert told.credentials == Credentials(one.session.ufrag, one.session.password)
        assert told.credentials.ufrag != old.ufrag and told.credentials.password != old.password
        assert told.ice_lite
        assert told.candidates == tuple(one.here.house.transport.candidates())
        bundle = ("0", "1") if endpoint == "/whip" else ("0", "1", "2")
        (section,) = told.sections
        assert told.bundle == bundle and section.mid == "0" and section.end_of_candidates
        assert section.media.startswith("video 9 UDP/TLS/RTP/SAVPF ")


@pytest.mark.parametrize(
    "changed",
    [
        lambda mine: Credentials("ysXw", mine.password),
        lambda mine: Credentials(mine.ufrag, NEW.password),
    ],
)
async def test_either_of_the_credentials_changed_is_a_restart(changed: Any) -> None:
    async with posted("/whip") as one:
        mine = Credentials(one.client.ufrag, one.client.password)
        assert (await one.restart(changed(mine))).status == 200


@pytest.mark.parametrize(
    ("tag", "status"), [(None, 428), ('"of old"', 412), ("*", 200), ('"*"', 200), ('"{}"', 200)]
)
async def test_a_restart_wants_if_match_too(tag: str | None, status: int) -> None:
    async with posted("/whip") as one:
        wanted = tag.format(one.etag.strip('"')) if tag is not None else None
        reply = await one.patch(one.fragment(NEW), tag=wanted)
        assert reply.status == status
        assert (f'"{one.session.ufrag}"' == one.etag) == (status != 200)


@pytest.mark.parametrize(
    ("spoil", "bundle", "mid", "media"),
    [
        (lambda sdp: sdp.replace("H264", "H999"), ("1", "2"), "1", "audio 9 UDP/TLS/RTP/SAVPF 111"),
        (
            lambda sdp: re.sub("a=(group|mid).*\r\n", "", sdp),
            (),
            "",
            "video 9 UDP/TLS/RTP/SAVPF 96",
        ),
    ],
)
async def test_the_answer_to_a_restart_stands_under_the_m_line_that_had_the_candidates(
    spoil: Any, bundle: tuple[str, ...], mid: str, media: str
) -> None:
    async with open_http_house() as here:
        here.house.publish()
        client = WebRtcClient(CERTIFICATE)
        reply = await here.post(f"/whep/{ROOM}", spoil(client.offer()))
        assert reply.status == 201
        one = Posted(here, client, reply.headers["Location"], reply.headers["ETag"])
        told = sdp_fragment.parse((await one.restart()).body)
        (section,) = told.sections
        assert (told.bundle, section.mid, section.media) == (bundle, mid, media)


async def test_who_patches_too_often_is_told_when_to_come_again() -> None:
    async with open_house() as house:
        app = web.Application()
        problem.install(app)
        app.add_routes(WhipApi(house.whip, AddressLimiter(per_s=0.1, burst=1)).routes())
        async with TestClient(TestServer(app)) as client:
            statuses = [(await client.patch("/whip/nobody")).status for _ in range(2)]
            assert statuses == [404, 429]
            assert (await client.patch("/whip/nobody")).headers["Retry-After"] == "10"


async def test_after_a_restart_the_old_tag_is_stale_and_the_new_credentials_trickle() -> None:
    async with posted(ENDPOINTS[1]) as one:
        restarted = await one.restart()
        late = await one.patch(tag=one.etag)  # of the session before, on its way for longer
        assert (late.status, late.code) == (412, "stale")
        reply = await one.patch(one.fragment(NEW), tag=restarted.headers["ETag"])
        assert (reply.status, reply.body) == (204, b"")


async def test_tags_of_restarts_are_all_different() -> None:
    async with posted("/whip") as one:
        tags = {one.etag}
        for turn in range(20):
            reply = await one.restart(Credentials(f"user{turn}", NEW.password))
            tags.add(reply.headers["ETag"])
        assert len(tags) == 21


# -- media through an ICE restart -------------------------------------------------------------------


@asynccontextmanager
async def roaming(client: WebRtcClient, answer: Fragment) -> AsyncIterator[Address]:
    """The client checks from another socket with the credentials of the answer, and sends from there.

    Yields its new address. The old socket is heard on, too, as by browsers.
    """
    assert answer.credentials is not None and client._transport is not None
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect((answer.candidates[0].address, answer.candidates[0].port))
    loop = asyncio.get_running_loop()
    left = client._transport
    client._tasks.pop(0).cancel()  # the checks with the old credentials
    client._transport, _ = await loop.create_datagram_endpoint(lambda: client, sock=sock)
    client._remote = answer.credentials.ufrag, answer.credentials.password
    client._tasks.insert(0, loop.create_task(client._check_forever()))
    try:
        yield sock.getsockname()
    finally:
        left.close()


async def play_on(house: House, received: Received, count: int = 100) -> None:
    """Publish pictures until so many more packets have come."""
    wanted = len(received.packets) + count
    while len(received.packets) < wanted:
        house.show()
        await asyncio.sleep(1 / house.pictures.fps)


async def test_a_viewer_restarts_ice_by_patch_and_the_picture_comes_to_its_new_socket() -> None:
    async with open_http_house() as here:
        house, received = here.house, Received()
        house.publish()
        client = house.client(received)
        await client.watch(here.http, f"{here.url}/whep/{ROOM}")
        session = house.transport.sessions[client.resource.rpartition("/")[2]]
        one = Posted(here, client, client.resource, f'"{session.ufrag}"')
        await play_on(house, received)
        reply = await one.restart()
        assert reply.status == 200
        srtp, channels = session.srtp, session.channels
        async with roaming(client, sdp_fragment.parse(reply.body)) as address:
            await play_on(house, received)
            assert session.address == address
            assert gapless(received.of(next(iter(client._receivers))))
            assert (received.gaps, client.nacked, client.undecryptable) == (0, 0, 0)
            assert (session.srtp, session.channels) == (srtp, channels)
            assert list(house.transport._by_ufrag) == [session.ufrag]
            late = await one.patch(tag=one.etag)
            assert late.code == "stale"


@virtual_time
async def test_no_packet_and_no_message_is_lost_while_a_viewer_restarts_ice_again_and_again() -> (
    None
):
    async with open_house() as house, AsyncExitStack() as sockets:
        house.publish()
        received = Received()
        client = await house.watch(received, data=True)
        session = house.transport.sessions[client.resource]
        (channel,) = house.whep.channels
        for turn in range(5):
            await house.play(0.5)
            answer = house.transport.restart_ice(session, Credentials(f"user{turn}", "p" * 22))
            await house.play(0.1)  # the answer is on its way: the old credentials do
            address = await sockets.enter_async_context(roaming(client, answer))
            await house.play(0.5)
            assert session.address == address
            theirs = client.channels
            assert theirs is not None and theirs.send(0, f"hello {turn}")
        await house.play(1.0)
        video = channel.broadcast.video
        seen = received.of(video.ssrc)
        assert gapless(seen) and seen[-1].sequence == (video.next_index - 1) & 0xFFFF
        assert (received.gaps, client.nacked, client.undecryptable) == (0, 0, 0)
        assert [data for _, data in received.messages] == [f"hello {turn}" for turn in range(5)]
        assert len(session.passwords) == 1
        assert not client.closed.done()


@virtual_time
async def test_a_publisher_restarts_ice_and_the_stream_goes_on_whole() -> None:
    async with open_house() as house:
        publisher = WhipPublisher(CERTIFICATE, clock=now)
        house.clients.append(publisher)
        resource, answer = await house.whip.publish(KEY, publisher.offer().encode(), "test")
        await publisher.connect(sdp.parse(answer), data=False)
        session = house.transport.sessions[resource]
        await until(lambda: house.hub.get(ROOM) is not None)
        stream = house.hub.get(ROOM)
        assert stream is not None
        reader = stream.subscribe()
        for _ in range(30):
            publisher.publish(house.pictures.next())
            await asyncio.sleep(1 / 30)
        told = house.transport.restart_ice(session, NEW)
        async with roaming(publisher, told) as address:
            await until(lambda: session.address == address)  # nobody sends over an unchecked pair
            for _ in range(30):
                publisher.publish(house.pictures.next())
                await asyncio.sleep(1 / 30)
        shown = [split_length_prefixed(packet.payload)[-1] for packet in await reader.read()]
        assert list(map(bytes, shown)) == house.pictures.payloads
        assert (publisher.resent, publisher.undecryptable) == (0, 0)
        reader.close()


@virtual_time
async def test_who_restarts_ice_and_guesses_the_password_gets_no_media() -> None:
    async with open_house() as house:
        house.publish()
        received = Received()
        client = await house.watch(received)
        session = house.transport.sessions[client.resource]
        selected = session.address
        await house.play(0.5)
        answer = house.transport.restart_ice(session, NEW)
        assert answer.credentials is not None
        guessed = replace(answer, credentials=Credentials(answer.credentials.ufrag, "x" * 32))
        refused = house.transport.dropped.bad_stun
        async with roaming(client, guessed) as address:
            await house.play(3.0)
            assert session.address == selected and address not in session.addresses
            assert house.transport.dropped.bad_stun > refused
            (channel,) = house.whep.channels
            seen = received.of(channel.broadcast.video.ssrc)  # by its old socket
            assert gapless(seen) and len(seen) > 300
