"""The composition root: the one place that knows media, commerce and overlay together.

`App.start` writes the order in which things come up; `drain` is its reverse, kept by an exit stack:
HTTP takes no more requests, publishers are told, sessions say goodbye, what is left of the streams is
removed, and the store is closed last.
"""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from aiohttp import web

from commerce.errors import AlreadyExists, Refusal
from commerce.store import RedisStore, SqliteStore
from config import Config
from mediaserver.api import figures, problem
from mediaserver.api.access_log import AccessLogger
from mediaserver.api.auth import CALLERS
from mediaserver.api.channel import ChannelApi, play_all
from mediaserver.api.connectivity import ConnectivityApi
from mediaserver.api.forwarded import forwarded
from mediaserver.api.health import HealthApi
from mediaserver.api.hls import HlsApi
from mediaserver.api.ingest import notice
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.metrics import Metrics
from mediaserver.api.obs import ObsApi
from mediaserver.api.openapi import document as openapi
from mediaserver.api.openapi.handler import OpenApi
from mediaserver.api.pages import Pages
from mediaserver.api.renditions import RenditionsApi
from mediaserver.api.restreams import RestreamsApi
from mediaserver.api.rooms import RoomsApi
from mediaserver.api.tls import own_certificate, server_context
from mediaserver.api.whep import WhepApi
from mediaserver.api.whip import WhipApi
from mediaserver.banner import Banner
from mediaserver.child import ChildProcess
from mediaserver.egress.figures import Figures, add, own
from mediaserver.egress.hls import HlsEgress, HlsSettings
from mediaserver.egress.hls_viewers import HlsViewers
from mediaserver.egress.restream import Restreams, Target
from mediaserver.egress.watching import OneProcess, Watching
from mediaserver.egress.whep import WhepEgress
from mediaserver.egress.workers import Workers
from mediaserver.errors import PeerError
from mediaserver.hub import Hub, Stream
from mediaserver.hub.relay import RelayServer
from mediaserver.ingest.channel import Channels
from mediaserver.ingest.doctor import Doctor
from mediaserver.ingest.rtmp import RtmpServer
from mediaserver.ingest.slate import Slate
from mediaserver.ingest.srt import INSTALL, SrtServer, Unavailable
from mediaserver.ingest.testpattern.host import DemoHost
from mediaserver.ingest.whip import WhipIngest
from mediaserver.lifecycle import StartError, binding
from mediaserver.rtc import compiled
from mediaserver.rtc.address import shown
from mediaserver.rtc.candidates import own_addresses
from mediaserver.rtc.transport import Transport
from mediaserver.shop import Shop
from mediaserver.transcode.supervisor import LadderWorker, TranscodeWorker
from overlay.audit import AuditLog
from overlay.channel_plans import ChannelPlan
from overlay.errors import RoomNotFound, Unauthorized
from overlay.rooms import RoomAccess
from overlay.secret_file import load_or_create_secret
from overlay.tokens import Tokens

log = logging.getLogger("hawker.app")

RTMP_APP = "live"
LOOPBACK = "127.0.0.1"
GUEST_TOKENS_PER_S = 50.0  # behind a proxy the whole audience has one address
GUEST_TOKENS_BURST = 1000
HTTP_SHUTDOWN_S = 2.0  # what requests under way may still take; the drain has 9 s in all
DEMO_ROOM = "demo"
VISITOR_ROOM = "live"


class MediaAccess:
    """`mediaserver.access.Access` over the overlay's rooms: its refusals become media's errors."""

    def __init__(self, rooms: RoomAccess) -> None:
        self._rooms = rooms

    async def publish(self, key: str) -> str:
        try:
            return await self._rooms.publish(key)
        except Refusal as refusal:
            raise _peer_error(refusal) from None

    async def watch(self, stream: str, token: str | None) -> None:
        try:
            await self._rooms.watch(stream, token)
        except Refusal as refusal:
            raise _peer_error(refusal) from None


class App:
    """One server process, from `start` to `drain`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.hub = Hub(config.limits.publisher_grace_s)
        self._webrtc: dict[str, Any] = {
            "host": config.webrtc.host,
            "port": config.webrtc.port,
            "public_addresses": config.webrtc.public_addresses,
            "max_sessions": config.limits.webrtc_sessions,
            "max_per_address": config.limits.webrtc_sessions_per_address,
        }
        self.transport = Transport(**self._webrtc, carrier=compiled.chosen())
        self._workers: Workers | None = None
        self._srt: SrtServer | None = None  # where there is no libsrt
        self.http_port = config.http.port
        self.https_port = config.http.https_port
        self._hls_viewers = HlsViewers()
        self._stack = AsyncExitStack()
        self._visitor_key = ""
        self.new_admin_token: str | None = None  # where this start has made it: printed once

    async def start(self) -> None:
        """Open everything; raises StartError."""
        directory = self.config.data.dir
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"data.dir: {directory}: {error.strerror}") from error
        await self._start_shop(directory)
        await self._start_media()
        await self._start_http(directory)
        if self.config.demo.enabled:
            await self._start_demo(directory)

    def quiet(self) -> bool:
        """Whether nobody watches, publishes by WebRTC or listens to a room's events."""
        watched = self._hls_viewers.total() or self.shop.sessions.opened
        return not watched and not self.transport.sessions

    async def drain(self) -> None:
        """Take no new sessions, tell the publishers, close everything; also after a failed start."""
        await self._stack.aclose()

    def ready_line(self) -> dict[str, object]:
        """What the contract's ready line says."""
        http = self.config.http
        scheme = "https" if http.tls_cert else "http"
        rtmp = self._rtmp
        return {
            "ready": True,
            "http": f"{scheme}://{_reachable(http.host)}:{self.http_port}",
            "https": f"https://{_reachable(http.host)}:{self.https_port}"
            if self._own_tls
            else None,
            "rtmp": f"rtmp://{_reachable(rtmp.host)}:{rtmp.port}/{RTMP_APP}",
            "rtmps": f"rtmps://{_reachable(rtmp.host)}:{rtmp.tls_port}/{RTMP_APP}"
            if self.config.rtmps.port >= 0
            else None,
            "webrtc": [
                shown((each.address, each.port))
                for each in self.transport.candidates()
                if each.protocol == "udp"
            ]
            + [*(self._workers.addresses if self._workers else ())],
            "srt": f"srt://{_reachable(self._srt.host)}:{self._srt.port}" if self._srt else None,
        }

    def banner(self) -> Banner:
        """What a person who started the demo needs."""
        base = self.ready_line()["http"]
        lan = _lan_address()
        fragment = f"#key={self._visitor_key}"
        secure = self.https_origin(lan) if lan else None
        configured = self.config.auth.admin_token.get_secret_value()
        return Banner(
            watch_url=f"{base}/watch/{DEMO_ROOM}",
            studio_url=f"{base}/studio/{VISITOR_ROOM}{fragment}",
            https_studio_url=secure and f"{secure}/studio/{VISITOR_ROOM}{fragment}",
            rtmp_server=f"rtmp://{lan or LOOPBACK}:{self._rtmp.port}/{RTMP_APP}",
            stream_key=self._visitor_key,
            admin_token=self.new_admin_token,
            admin_token_file=None if configured else str(self.config.data.dir / "admin-token"),
        )

    # -- the parts, in the order of their start ---------------------------------------------------

    async def _start_shop(self, directory: Path) -> None:
        auth = self.config.auth
        with _secret("auth.admin_token"):
            admin_token = auth.admin_token.get_secret_value()
            if not admin_token:
                made = not (directory / "admin-token").exists()
                admin_token = load_or_create_secret(directory / "admin-token")
                self.new_admin_token = admin_token if made else None
            self._admin_token = admin_token
        with _secret("auth.viewer_secret"):
            viewer_secret = auth.viewer_secret.get_secret_value()
            viewer_secret = viewer_secret or load_or_create_secret(directory / "viewer-secret")
            tokens = Tokens(viewer_secret)
        try:
            self.store = await self._open_store()
        except Refusal as refusal:
            raise StartError(f"store.url: {refusal.detail}") from refusal
        self._stack.push_async_callback(self.store.close)
        with _secret("data.dir"):
            self.shop = Shop(
                self.config,
                self.store,
                tokens,
                admin_token,
                viewer_secret,
                self,
                demo_rooms=frozenset({DEMO_ROOM} if self.config.demo.enabled else ()),
            )
        self.access = MediaAccess(self.shop.room_access)

    async def _open_store(self) -> RedisStore | SqliteStore:
        store = self.config.store
        if not store.in_redis:
            return await SqliteStore.open(store.sqlite_path)
        return await RedisStore.open(
            store.url, replicas=store.replicas, allow_unsafe=store.allow_unsafe
        )

    async def _start_media(self) -> None:
        config, hub = self.config, self.hub
        self._stack.callback(hub.drain)
        self.hls = HlsEgress(
            hub,
            HlsSettings(segment_ms=config.hls.segment_ms, window_s=config.hls.window_s),
            {f"{rung.height}p": rung.bitrate_kbps * 1000 for rung in config.transcode.ladder},
        )
        self.hls.start()
        self._stack.push_async_callback(self.hls.close)
        with binding("webrtc.port", config.webrtc.host, config.webrtc.port):
            await self.transport.start()
        self._stack.push_async_callback(self.transport.stop)
        self._relay = RelayServer(hub)
        await self._relay.start()
        self._stack.push_async_callback(self._relay.close)
        self.watching = await self._start_viewing()
        self._stack.callback(self.shop.channels.close)
        self._stack.callback(hub.listen(self._tell_room))
        self.whip = WhipIngest(hub, self.transport, self.access)
        self._stack.callback(self.whip.close)
        if config.transcode.enabled:
            worker = TranscodeWorker(self._relay.path)
            await worker.start()
            self._stack.push_async_callback(worker.stop)
            await self._start_ladder()
        self._rtmp = RtmpServer(
            hub,
            self.access,
            config.rtmp.host,
            config.rtmp.port,
            tls=self._rtmps_tls(),
            tls_port=config.rtmps.port,
            max_connections=config.limits.rtmp_connections,
        )
        with binding("rtmp.port", config.rtmp.host, config.rtmp.port):
            await self._rtmp.start()
        self._stack.push_async_callback(self._rtmp.stop)
        self._start_rtmps()
        await self._start_srt()
        self.restreams = Restreams(
            hub, self._restream_targets, allow_private=config.restream.allow_private
        )
        self.restreams.start()
        self._stack.push_async_callback(self.restreams.close)
        self.channels = Channels(hub, config.channel.folder(config.data.dir))
        self._stack.push_async_callback(self.channels.close)
        if config.slate.enabled:
            slate = Slate(hub, config.slate.path)
            slate.start()
            self._stack.push_async_callback(slate.close)
        self.doctor = Doctor(
            hub,
            bitrate_kbps=config.limits.publisher_bitrate_kbps,
            tell=lambda room, found: self.shop.noticed(room, notice(found)),
        )
        self.doctor.start()
        self._stack.callback(self.doctor.close)

    def _rtmps_tls(self) -> ssl.SSLContext | None:
        if self.config.rtmps.port < 0:
            return None
        configured = self._configured_tls()
        return configured or own_certificate(self.config.data.dir, own_addresses("0.0.0.0"))

    def _start_rtmps(self) -> None:
        """RTMPS stands beside RTMP, so a taken port is no reason not to start."""
        try:
            self._rtmp.start_tls()
        except OSError as error:
            log.warning("rtmps.port: %s; RTMPS takes a free port", error.strerror or error)
            self._rtmp.tls_port = 0
            with binding("rtmps.port", self._rtmp.host, 0):
                self._rtmp.start_tls()

    async def _start_srt(self) -> None:
        """SRT is for publishers on bad networks: what it lacks is no reason not to start."""
        srt = self.config.srt
        try:
            server = SrtServer(
                self.hub,
                self.access,
                srt.host,
                srt.port,
                passphrase=srt.passphrase.get_secret_value(),
                latency_ms=srt.latency_ms,
            )
            await server.start()
        except Unavailable as why:
            log.warning("SRT is off: %s (%s)", why, INSTALL)
        except OSError as error:
            log.warning("SRT is off: srt.port %d: %s", srt.port, error.strerror)
        else:
            self._stack.push_async_callback(server.stop)
            self._srt = server

    async def _start_ladder(self) -> None:
        transcode = self.config.transcode
        rungs = [rung.model_dump() for rung in transcode.ladder]
        always = transcode.mode == "always"
        ladder = LadderWorker(self._relay.path, rungs, always=always, threads=transcode.threads)
        await ladder.start()
        self._stack.push_async_callback(ladder.stop)

    async def _start_viewing(self) -> Watching:
        """WebRTC viewers: in this process, or in workers of their own."""
        config, channels = self.config, self.shop.channels
        most = config.limits.room_viewers
        if config.workers == 1:
            whep = WhepEgress(self.hub, self.transport, channels, most)
            self._stack.callback(whep.close)
            return OneProcess(whep, self.hub)
        admission = self.transport.admission
        workers = self._workers = Workers(
            config.workers,
            self._relay.path,
            channels,
            self._webrtc,
            admission,
            most,
            lambda: len(self.transport.sessions),
        )
        self.transport.elsewhere = workers.sessions
        self._stack.push_async_callback(workers.stop)
        with binding("webrtc.port", config.webrtc.host, config.webrtc.port):
            await workers.start()
        return workers

    async def _start_http(self, directory: Path) -> None:
        http = self.config.http
        runner = web.AppRunner(
            self._web(),
            access_log_class=AccessLogger,
            shutdown_timeout=HTTP_SHUTDOWN_S,
            auto_decompress=False,  # see api/body.py
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        self._stack.push_async_callback(self.shop.sessions.close)
        self._own_tls = not http.tls_cert and http.https_port >= 0
        configured = self._configured_tls()
        with binding("http.port", http.host, http.port):
            site = web.TCPSite(runner, http.host, http.port, ssl_context=configured)
            await site.start()
        self.http_port = _port(runner)
        if self._own_tls:
            await self._start_https(runner, directory)
        self._stack.push_async_callback(self.shop.stop)
        try:
            await self.shop.start(str(self.ready_line()["http"]))
            await play_all(self.channels, self.shop.channel_plans)
        except Refusal as refusal:
            raise StartError(f"store.url: {refusal.detail}") from refusal
        self._stack.callback(log.info, "draining")

    async def _start_https(self, runner: web.AppRunner, directory: Path) -> None:
        """https beside http is for phones, so a taken port is no reason not to start."""
        http = self.config.http
        context = own_certificate(directory, own_addresses("0.0.0.0"))
        try:
            await web.TCPSite(runner, http.host, http.https_port, ssl_context=context).start()
        except OSError as error:
            log.warning("http.https_port: %s; https takes a free port", error.strerror or error)
            with binding("http.https_port", http.host, 0):
                await web.TCPSite(runner, http.host, 0, ssl_context=context).start()
        self.https_port = _port(runner)

    def _web(self) -> web.Application:
        limits = self.config.limits
        app = web.Application(middlewares=[forwarded(self.config.http.trusted_proxies)])
        app[CALLERS] = self.shop.callers
        problem.install(app)
        limiter, buys = (
            _by_the_minute(limits.posts_per_minute),
            _by_the_minute(limits.orders_per_minute),
        )
        guests = AddressLimiter(per_s=GUEST_TOKENS_PER_S, burst=GUEST_TOKENS_BURST)
        rooms = RoomsApi(
            self.shop.rooms,
            self.shop.room_access,
            hub=self.hub,
            doctor=self.doctor,
            stop_channel=self.channels.stop,
            restream=self.restreams.refresh,
            viewers=self.viewers,
            guest_limiter=guests,
            audit=AuditLog(self.shop.store),
        )
        overlay = Path(str(files("overlay")))
        pages = Pages(
            overlay / "pages",
            overlay / "web/node_modules/hls.js/dist/hls.min.js",
            room_exists=self.shop.rooms.exists,
            rtmp_server=lambda host: f"rtmp://{host}:{self._rtmp.port}/{RTMP_APP}",
            srt_server=lambda host: f"srt://{host}:{self._srt.port}" if self._srt else None,
            https_origin=self.https_origin,
        )
        for part in (
            pages,
            rooms,
            RenditionsApi(self.hub, self.shop.rooms.exists),
            ChannelApi(self.shop.channel_plans, self.channels, ChannelPlan),
            RestreamsApi(self.shop.restream_targets, self.restreams),
            WhipApi(self.whip, limiter),
            WhepApi(self.watching, self.access, limiter),
            HlsApi(self.hls, self.access, self._hls_viewers),
            HealthApi(
                {
                    "store": lambda: self.store.load(["ready"]),
                    "rtmp": lambda: _listening(self._rtmp),
                    "webrtc": self._webrtc_listens,
                }
            ),
            ConnectivityApi(self.transport, limiter),
            ObsApi(
                self.access,
                limiter,
                [(rung.height, rung.bitrate_kbps) for rung in self.config.transcode.ladder],
                self._rtmp_servers,
            ),
            self._metrics(),
        ):
            app.add_routes(part.routes())
        app.add_routes(self.shop.routes(limiter, buys))
        app.add_routes(OpenApi(openapi.document(app, version=version("hawker"))).routes())
        return app

    def _metrics(self) -> Metrics:
        metrics = Metrics()
        figures.add_media(metrics, self.hub, self._figures)
        metrics.gauge(
            "hawker_viewers", "Viewers connected.", self._viewers_by_protocol, ["protocol"]
        )
        figures.add_process(metrics, lambda: len(self.shop.sessions.opened))
        if self._workers is not None:
            figures.add_workers(metrics, self._workers)
        return metrics

    # -- questions the parts ask ------------------------------------------------------------------

    def viewers(self, room: str) -> int:
        """Viewers of a room over all protocols."""
        return self.watching.viewers(room) + self._hls_viewers.count(room)

    def epoch_ms(self, room: str) -> int | None:
        """UTC ms of media time 0 in a room that is on the air."""
        stream = self.hub.get(room)
        return round(stream.epoch_ms) if stream is not None and stream.live else None

    def rtp_base(self, room: str) -> int | None:
        """The RTP timestamp of media time 0 in the video that WebRTC viewers of a room get."""
        stream = self.hub.get(room)
        return stream.timeline.rtp_base if stream is not None and stream.live else None

    async def _restream_targets(self, room: str) -> list[Target]:
        """Where a room is to be sent besides; a rehearsal nowhere."""
        try:
            if (await self.shop.rooms.get(room)).access == "rehearsal":
                return []
            kept = await self.shop.restream_targets.list(room)
        except RoomNotFound:
            return []
        except Refusal as refusal:
            raise _peer_error(refusal) from None
        return [
            Target(each.id, each.url, each.key, each.rendition, each.enhanced)
            for each in kept
            if each.enabled
        ]

    def _rtmp_servers(self, host: str) -> dict[str, str]:
        """What OBS may be sent to, by protocol; RTMPS where its certificate is one that OBS trusts."""
        servers = {"RTMP": f"rtmp://{host}:{self._rtmp.port}/{RTMP_APP}"}
        if self.config.http.tls_cert and self.config.rtmps.port >= 0:
            servers["RTMPS"] = f"rtmps://{host}:{self._rtmp.tls_port}/{RTMP_APP}"
        return servers

    def _tell_room(self, event: str, stream: Stream) -> None:
        if event in ("online", "offline") and "/" not in stream.name:
            slate = event == "online" and stream.protocol == "slate"
            self.shop.went("slate" if slate else event, stream.name)

    def https_origin(self, host: str) -> str | None:
        """Where https is served under this host name, if it is."""
        if self.config.http.tls_cert:
            return f"https://{host}:{self.http_port}"
        return f"https://{host}:{self.https_port}" if self._own_tls else None

    def _viewers_by_protocol(self) -> dict[str | tuple[str, ...], float]:
        webrtc = sum(self.watching.figures().viewers.values())
        return {"webrtc": webrtc, "hls": self._hls_viewers.total()}

    def _figures(self) -> Figures:
        """Of all processes that have a WebRTC port."""
        served = self.watching.figures()
        return served if self._workers is None else add([own(self.transport, self.hub), served])

    async def _webrtc_listens(self) -> None:
        await _listening(self.transport)
        if self._workers is not None and not self._workers.ready:
            raise ConnectionError("no worker is ready")

    def _configured_tls(self) -> ssl.SSLContext | None:
        http = self.config.http
        if not http.tls_cert:
            return None
        try:
            return server_context(Path(http.tls_cert), Path(http.tls_key))
        except (OSError, ssl.SSLError) as error:
            raise StartError(f"http.tls_cert: {http.tls_cert}: {error}") from error

    async def _start_demo(self, directory: Path) -> None:
        rtmp = f"rtmp://{LOOPBACK}:{self._rtmp.port}/{RTMP_APP}"
        demo_key = await self._room_key(DEMO_ROOM, "The demo show", directory)
        self._visitor_key = await self._room_key(VISITOR_ROOM, "Your own show", directory)
        host = DemoHost(rtmp, demo_key)
        await host.start()
        self._stack.push_async_callback(host.stop)
        url = str(self.ready_line()["http"])
        command = [sys.executable, "-m", "overlay.demo", "--url", url, "--room", DEMO_ROOM]
        show = ChildProcess("demo show", command, secret=self._admin_token)
        await show.start()
        self._stack.push_async_callback(show.stop)

    async def _room_key(self, room: str, title: str, directory: Path) -> str:
        """The key of a room of the demo, kept in a file so that OBS stays set up over restarts."""
        path = directory / f"stream-key-{room}"
        try:
            _, key = await self.shop.rooms.create(title, id=room)
        except AlreadyExists:
            kept = path.read_text("utf-8").strip() if path.exists() else ""
            try:
                if kept and await self.shop.room_access.publish(kept) == room:
                    return kept
            except Unauthorized:
                log.info("the key of room %s was rotated: making another", room)
            key = await self.shop.rooms.rotate_key(room)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"{key}\n", "utf-8")
        return key


def _peer_error(refusal: Refusal) -> PeerError:
    error = PeerError(
        refusal.detail, code=refusal.code, headers=refusal.headers, extra=refusal.extra
    )
    error.status, error.title = refusal.status, refusal.title
    return error


@contextmanager
def _secret(key: str) -> Iterator[None]:
    """Turn what is wrong with a file of secrets into a StartError that names the key."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise StartError(f"{key}: {error}") from error


def _by_the_minute(requests: int) -> AddressLimiter:
    """So many from one address, a tenth of them at once."""
    return AddressLimiter(per_s=requests / 60, burst=max(10, requests // 10))


async def _listening(part: RtmpServer | Transport) -> None:
    if not part.listening:
        raise ConnectionError("its port is closed")


def _reachable(host: str) -> str:
    return LOOPBACK if host in ("0.0.0.0", "") else host


def _port(runner: web.AppRunner) -> int:
    """The port of the site added last."""
    return int(runner.addresses[-1][1])


def _lan_address() -> str | None:
    return next((each for each in own_addresses("0.0.0.0") if not each.startswith("127.")), None)
