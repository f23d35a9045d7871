"""WHIP publishers by the hundred in one process: 600 kbit/s each, real sessions, no encoder.

30 pictures of 2,233 bytes a second in two packets each, every 60th a keyframe, and 50 frames of Opus of
160 bytes: 110 RTP packets a second. As browsers do, they number their packets for the whole
transport (transport-cc). Publishers begin one after the other within a picture's time.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from benchmarks.loads import Commands
from benchmarks.picture import PPS, SPS
from benchmarks.webrtc_client import AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE
from mediaserver.protocol import rtcp, rtcp_transport_cc, rtp, stun
from mediaserver.protocol.rtp_h264 import packetize
from mediaserver.protocol.rtp_payload import RtpPayload
from mediaserver.rtc.dtls import Certificate, Certificates

BITRATE_BPS = 600_000
FRAMES_PER_S = 30
FRAMES_OF_SOUND_PER_S = 50
SOUND_BYTES = 160
FRAME_BYTES = (BITRATE_BPS // 8 - SOUND_BYTES * FRAMES_OF_SOUND_PER_S) // FRAMES_PER_S
GOP_FRAMES = 60
MAX_PAYLOAD_BYTES = 1150
STEP_S = 0.002
REPORT_S = 1.0
CONNECT_AT_ONCE = 8
NUMBER_ID = 3
_REPLAYED = 10  # different pictures: enough that none is like the one before it

Target = tuple[str, str]  # a WHIP URL and the key for it


@dataclass(frozen=True, slots=True)
class Sent:
    """By all publishers since they began."""

    rtp_packets: int = 0
    pictures: int = 0
    sounds: int = 0
    keyframes_wanted: int = 0
    nacks: int = 0


@dataclass
class Line:
    """One SSRC."""

    payload_type: int
    ssrc: int = field(default_factory=lambda: secrets.randbits(32))
    sequence: int = field(default_factory=lambda: secrets.randbits(16))
    first_timestamp: int = field(default_factory=lambda: secrets.randbits(32))


@dataclass
class Publisher(WebRtcClient):
    """Sends what is due; see `advance`."""

    numbered: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.video, self.audio = Line(VIDEO_PAYLOAD_TYPE), Line(AUDIO_PAYLOAD_TYPE)
        self.rtp_packets = self.pictures = self.sounds = 0
        self.began_at = 0.0
        self._number = 0
        self._want_keyframe = False
        self.keyframes_wanted = self.nacks = 0

    def offer(self, data: bool = False) -> str:
        offer = super().offer(False).replace("a=recvonly", "a=sendonly")
        extension = f"a=extmap:{NUMBER_ID} {rtcp_transport_cc.EXTENSION}"
        for mid, line in enumerate((self.video, self.audio)):
            added = ["", "a=rtcp-rsize", f"a=msid:bench {mid}", f"a=ssrc:{line.ssrc} cname:bench"]
            if self.numbered:
                added += [extension, f"a=rtcp-fb:{line.payload_type} transport-cc"]
            offer = offer.replace(f"a=mid:{mid}", f"a=mid:{mid}" + "\r\n".join(added))
        return offer

    def advance(self, now: float, frames: Sequence[Sequence[RtpPayload]], sound: bytes) -> None:
        """Send what is due by now."""
        elapsed = now - self.began_at
        while self.pictures <= elapsed * FRAMES_PER_S:
            keyframe = self._want_keyframe or self.pictures % GOP_FRAMES == 0
            self._want_keyframe = False
            number = 0 if keyframe else 1 + self.pictures % _REPLAYED
            timestamp = self.pictures * (VIDEO_CLOCK_RATE // FRAMES_PER_S)
            for payload, padding, marker in frames[number]:
                self._send_rtp(self.video, timestamp, payload, marker, padding)
            self.pictures += 1
        while self.sounds <= elapsed * FRAMES_OF_SOUND_PER_S:
            timestamp = self.sounds * (OPUS_CLOCK_RATE // FRAMES_OF_SOUND_PER_S)
            self._send_rtp(self.audio, timestamp, sound, True, False)
            self.sounds += 1

    def report(self, now: float) -> None:
        """A sender report for each line."""
        ntp = rtcp.ntp_from_utc_ms(time.time() * 1000)
        played_s = now - self.began_at
        lines = (self.video, VIDEO_CLOCK_RATE), (self.audio, OPUS_CLOCK_RATE)
        for line, rate in lines:
            timestamp = (line.first_timestamp + round(played_s * rate)) & 0xFFFFFFFF
            report = rtcp.SenderReport(line.ssrc, ntp, timestamp, 0, 0)
            self.send_rtcp(rtcp.serialize_sender_report(report, "bench"))

    def datagram_received(self, data: bytes, addr: object) -> None:
        super().datagram_received(data, addr)
        for packet in self.reports:
            if isinstance(packet, (rtcp.Pli, rtcp.Fir)):
                self._want_keyframe = True
                self.keyframes_wanted += 1
            elif isinstance(packet, rtcp.Nack):
                self.nacks += 1
        self.reports.clear()

    def _on_stun(self, data: bytes) -> None:
        message = stun.parse(data)
        if message.message_type != stun.BINDING_REQUEST:
            super()._on_stun(data)
            return
        assert self._transport is not None  # a peer with all of ICE checks as well
        address = self._transport.get_extra_info("peername")
        key = self.password.encode()
        self._send(stun.binding_success(message.transaction_id, address, key))

    def _send_rtp(
        self, line: Line, timestamp: int, payload: bytes, marker: bool, padding: bool
    ) -> None:
        assert self.srtp is not None
        extension = b""
        if self.numbered:
            extension = rtp.serialize_extensions({NUMBER_ID: self._number.to_bytes(2, "big")})
            self._number = (self._number + 1) & 0xFFFF
        header = rtp.serialize_header(
            line.payload_type,
            marker,
            line.sequence,
            (line.first_timestamp + timestamp) & 0xFFFFFFFF,
            line.ssrc,
            padding,
            extension,
        )
        self._send(self.srtp.protect(header + payload))
        line.sequence = (line.sequence + 1) & 0xFFFF
        self.rtp_packets += 1


async def publish(commands: Commands, targets: Sequence[Target], numbered: bool) -> None:
    """A publisher to each target; commands are `go`, and `stop`, after which all is sent."""
    certificate = Certificates().current()
    frames = pictures()
    crowd = await _connected(certificate, targets, numbered)
    commands.answer("connected")
    while True:
        await commands.next()
        sending = asyncio.create_task(_send(crowd, frames))
        commands.answer(sent(crowd))
        try:
            await commands.next()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        commands.answer(sent(crowd))


def sent(crowd: Sequence[Publisher]) -> Sent:
    return Sent(
        *(
            sum(getattr(each, what) for each in crowd)
            for what in ("rtp_packets", "pictures", "sounds", "keyframes_wanted", "nacks")
        )
    )


def pictures() -> list[list[RtpPayload]]:
    """A keyframe, and others."""
    head = [SPS, PPS, b"\x65\x88" + secrets.token_bytes(FRAME_BYTES - 2)]
    others = [[b"\x41\x9a" + secrets.token_bytes(FRAME_BYTES - 2)] for _ in range(_REPLAYED)]
    return [packetize(nals, MAX_PAYLOAD_BYTES) for nals in (head, *others)]


async def _connected(
    certificate: Certificate, targets: Sequence[Target], numbered: bool
) -> list[Publisher]:
    crowd = [Publisher(certificate, numbered=numbered) for _ in targets]
    coming = list(zip(crowd, targets, strict=True))

    async def connect(http: aiohttp.ClientSession) -> None:
        while coming:
            publisher, (url, key) = coming.pop()
            await publisher.watch(http, url, key, data=False)

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(connect(http) for _ in range(CONNECT_AT_ONCE)))
    return crowd


async def _send(crowd: Sequence[Publisher], frames: Sequence[Sequence[RtpPayload]]) -> None:
    """In real time from where it was left, a report from each every second."""
    sound = b"\xfc" + secrets.token_bytes(SOUND_BYTES - 1)
    start = time.monotonic()
    for number, publisher in enumerate(crowd):
        played_s = publisher.pictures / FRAMES_PER_S
        publisher.began_at = start + number / len(crowd) / FRAMES_PER_S - played_s
    reported = 0
    while True:
        now = time.monotonic()
        for publisher in crowd:
            publisher.advance(now, frames, sound)
        due = int((now - start) / REPORT_S * len(crowd))
        for number in range(reported, due):
            crowd[number % len(crowd)].report(now)
        reported = due
        await asyncio.sleep(STEP_S)
