"""The WHEP viewers of one process: they join one after the other, watch, and are counted together."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from benchmarks.load.figures import Count, Figures
from benchmarks.load.viewer import LoadViewer
from benchmarks.webrtc_client import Refused
from mediaserver.rtc.dtls import Certificates

TICK_S = 0.02
SILENT_S = 5.0
FIRST_PACKET_S = 10.0
JOINS_AT_ONCE = 16  # in a process: with more, their handshakes time out when it falls behind


class Viewers:
    """`relay_port`, where given, is that of relays that their datagrams go through."""

    def __init__(
        self, http: aiohttp.ClientSession, figures: Figures, relay_port: int | None
    ) -> None:
        self._http = http
        self._figures = figures
        self._relay_port = relay_port
        self._certificate = Certificates().current()
        self._viewers: list[LoadViewer] = []
        self._places = asyncio.Semaphore(JOINS_AT_ONCE)

    async def join(self, viewer: LoadViewer, url: str, token: str | None = None) -> bool:
        """Have it watch `…/whep/room` until its first packet; False, and counted, when it cannot."""
        async with self._places:
            return await self._join(viewer, url, token)

    async def _join(self, viewer: LoadViewer, url: str, token: str | None) -> bool:
        began_at = time.monotonic()
        try:
            await viewer.watch(self._http, url, token)
            viewer.began()
            self._viewers.append(viewer)
            async with asyncio.timeout(FIRST_PACKET_S):
                while not viewer.packets:
                    await asyncio.sleep(TICK_S / 2)
        except Refused as refusal:
            self._figures.errors[f"whep {refusal.status} {refusal.code}"] += 1
        except TimeoutError:
            what = "not connected in time" if viewer.srtp is None else "no packet came"
            self._figures.errors[f"whep: {what}"] += 1
        except (aiohttp.ClientError, ConnectionError, OSError) as error:
            self._figures.errors[f"whep: {type(error).__name__}"] += 1
        else:
            self._figures.time("join", (time.monotonic() - began_at) * 1000)
            return True
        return False

    def new(self) -> LoadViewer:
        """A viewer that has not joined yet."""
        return LoadViewer(self._certificate, figures=self._figures, relay_port=self._relay_port)

    async def tick_forever(self) -> None:
        while True:
            now = time.monotonic()
            for viewer in self._viewers:
                viewer.tick(now)
            await asyncio.sleep(TICK_S)

    def count(self) -> dict[Count, int]:
        """All viewers together since they joined."""
        lines = [line for viewer in self._viewers for line in viewer.lines.values()]
        return {
            "connected": sum(not viewer.closed.done() for viewer in self._viewers),
            "packets": sum(line.packets for line in lines),
            "frames": sum(line.frames for line in lines),
            "lost": sum(line.lost for line in lines),
            "recovered": sum(line.recovered for line in lines),
            "decrypted": sum(viewer.decrypted for viewer in self._viewers),
        }

    def notice(self) -> None:
        """Look who hears nothing any more; called now and then."""
        now = time.monotonic()
        for viewer in self._viewers:
            packets = viewer.packets
            if packets != viewer.heard[0]:
                viewer.heard = packets, now

    def judge(self) -> None:
        """At the end: who was closed, fell silent, or got what cannot be decrypted, is an error."""
        now = time.monotonic()
        for viewer in self._viewers:
            if viewer.closed.done():
                self._figures.errors["whep: closed by the server"] += 1
            elif viewer.heard[0] and now - viewer.heard[1] > SILENT_S:
                self._figures.errors[f"whep: silent for more than {SILENT_S:.0f} s"] += 1
            if viewer.undecryptable:
                self._figures.errors["srtp: undecryptable"] += viewer.undecryptable

    async def close(self) -> None:
        await asyncio.gather(*(viewer.close() for viewer in self._viewers))
