"""One SRT publisher, from accept to loss: messages of libsrt through the demuxer into the hub.

Who closes whom: as with RTMP, a publication that the hub closes closes its connection, and a connection
that ends closes its publication; `_publication_closed` is where both meet.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from mediaserver.access import split_key
from mediaserver.errors import PeerError, ProtocolError
from mediaserver.hub import BACKUP, MAIN, Notice, Publication
from mediaserver.ingest.srt.statistics import Statistics
from mediaserver.ingest.srt.stream_id import stream_key
from mediaserver.media import Kind
from mediaserver.protocol.mpegts import CLOCK_RATE, Demuxer, Frame
from mediaserver.rtc.address import shown

if TYPE_CHECKING:
    from mediaserver.ingest.srt.server import SrtServer

log = logging.getLogger("hawker.srt")

MESSAGES_AT_ONCE = 128  # 150 Mbit/s at a reading every 10 ms; more would hold the loop too long
SILENCE_S = 10.0  # without a frame; a connection that is gone is noticed after 5 s
SHOWN_BY_COUNTERS = 2  # messages of seven packets: below the 16 that a continuity counter counts
_SEQUENCES = 0x7FFFFFFF
_CHOOSE: dict[Kind, tuple[str, str, str]] = {
    "video": ("UnsupportedVideo", "H.264", "x264"),
    "audio": ("UnsupportedAudio", "AAC", "AAC"),
}


class Session:
    """A connection that libsrt has accepted; `stream` is what it publishes, once it does."""

    def __init__(self, server: SrtServer, socket: int, address: tuple[str, int]) -> None:
        self.socket = socket
        self.address = address[0]
        self.remote = shown(address)
        self.stream = ""
        self.statistics = Statistics()  # as of the last reading
        self._server = server
        self._demuxer = Demuxer()
        self._publication: Publication | None = None
        self._heard = time.monotonic()
        self._expected = 0  # sequence number of the next message
        self._closed = False

    @property
    def damaged(self) -> int:
        """Pictures and sounds dropped because something of them never came."""
        return self._demuxer.broken

    async def publish(self) -> None:
        """Ask for the key, then go on the air; closed when it may not."""
        server = self._server
        try:
            key, backup = split_key(stream_key(server.sockets.stream_id(self.socket)))
            name = await server.access.publish(key)
            if self._closed:
                return
            server.sockets.watch(self.socket)
        except PeerError as error:
            log.warning("publish from %s refused: %s", self.remote, error.detail)
            self.close(error.detail)
            return
        except OSError:
            self.close("publisher left")
            return
        self._publication = server.hub.publish(
            name,
            protocol="srt",
            remote=self.remote,
            clock_rate=CLOCK_RATE,
            rank=BACKUP if backup else MAIN,
            on_close=self._publication_closed,
        )
        self.stream, self._heard = name, time.monotonic()
        log.info("stream %s: publish from %s started", name, self.remote)

    def read(self, arrival: float) -> None:
        """Take what has come."""
        self._count()
        try:
            for _ in range(MESSAGES_AT_ONCE):
                message = self._server.sockets.receive(self.socket)
                if message is None or self._closed:
                    return
                self._take(*message, arrival)
        except ConnectionError:
            self.close("publisher left")
        except ProtocolError as error:
            log.warning("connection from %s closed: %s", self.remote, error.detail)
            self.close(error.detail)

    def look(self, now: float) -> None:
        """Once a second: end what is silent."""
        if self._publication is not None and now - self._heard > SILENCE_S:
            log.warning("connection from %s closed: it sends no picture or sound", self.remote)
            self.close(f"silent for {SILENCE_S:.0f} s")

    def close(self, reason: str) -> None:
        """End the publication, and with it the connection."""
        if self._publication is not None:
            self._publication.close(reason)
        elif not self._closed:
            self._closed = True
            self._server.forget(self)

    def _take(self, sequence: int, data: bytes, arrival: float) -> None:
        demuxer = self._demuxer
        missing = (sequence - self._expected) & _SEQUENCES
        self._expected = sequence + 1
        if missing > SHOWN_BY_COUNTERS:
            demuxer.lose()
        frames = demuxer.feed(data)
        if demuxer.unsupported:
            self._tell(demuxer.unsupported)
        if frames:
            self._heard = arrival
        for frame in frames:
            self._write(frame, arrival)

    def _write(self, frame: Frame, arrival: float) -> None:
        if self._publication is not None:
            self._publication.write(
                frame.track,
                frame.dts & 0xFFFFFFFF,
                frame.payload,
                keyframe=frame.keyframe,
                composition=frame.composition,
                arrival=arrival,
            )

    def _tell(self, unsupported: dict[Kind, str]) -> None:
        if not self._demuxer.taken:
            names = " and ".join(unsupported.values())
            raise ProtocolError(f"{names}: not supported; choose H.264 and AAC")
        if self._publication is not None:
            for kind, name in unsupported.items():
                self._publication.stream.notice(_not_supported(kind, name))

    def _publication_closed(self, reason: str) -> None:
        publication, self._publication = self._publication, None
        assert publication is not None
        found = self.statistics
        log.info(
            "stream %s: publish from %s ended: %s (packets lost %d, sent again %d, never came %d)",
            publication.stream.name,
            self.remote,
            reason,
            found.lost,
            found.retransmitted,
            found.dropped,
        )
        self.close(reason)

    def _count(self) -> None:
        with suppress(OSError):  # gone: the last figures stand
            self.statistics = self._server.sockets.statistics(self.socket)


def _not_supported(kind: Kind, name: str) -> Notice:
    code, codec, obs = _CHOOSE[kind]
    what, part = {"video": ("picture", "画面"), "audio": ("sound", "声音")}[kind]
    setting, setting_zh = {
        "video": ("Video Encoder", "视频编码器"),
        "audio": ("Audio Encoder", "音频编码器"),
    }[kind]
    return Notice(
        code,
        "error",
        {
            "en": f"The {what} is {name}, which the server does not take by SRT: viewers go without.",
            "zh": f"{part}使用 {name} 编码，服务器无法通过 SRT 接收：观众无法收到{part}。",
        },
        {
            "en": f"Publish {codec}: in OBS choose {obs} in Settings, Output, {setting}, "
            "then start streaming again.",
            "zh": f"请使用 {codec} 推流：在 OBS 的“设置 → 输出 → {setting_zh}”中选择 {obs}，"
            "然后重新开始推流。",
        },
    )
