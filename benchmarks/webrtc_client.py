"""A light WebRTC client for load and tests: ICE (controlling), DTLS, SRTP, RTCP back, data channels.

It speaks to one host candidate, checks consent, and hands RTP in order to a callback; what doesn't come
is asked for again. It costs a fraction of a peer connection, so that hundreds fit in a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from mediaserver.errors import ProtocolError
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE
from mediaserver.protocol import rtcp, rtp, sdp, stun
from mediaserver.rtc.dtls import Certificate, DataChannels, Dtls, IcePath
from mediaserver.rtc.receiver import RtpReceiver
from mediaserver.rtc.srtp import Srtp

CHECK_S = 0.05
CONSENT_S = 2.5
TICK_S = 0.02
EARLY_DATAGRAMS = 256
PRIORITY = 1853824767  # peer reflexive (RFC 8445 §5.1.2.1)

VIDEO_PAYLOAD_TYPE = 96
AUDIO_PAYLOAD_TYPE = 111


class Refused(Exception):
    """The server answered the offer with an error; `code` is its problem code."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code


@dataclass
class WebRtcClient(asyncio.DatagramProtocol):
    """One viewer. `drop(data)` may lose incoming datagrams; `on_rtp(packet, gap)` gets them in order."""

    certificate: Certificate
    on_rtp: Callable[[rtp.RtpPacket, bool], None] = lambda packet, gap: None
    on_message: Callable[[int, str | bytes], None] = lambda channel, data: None
    drop: Callable[[bytes], bool] = lambda data: False
    nack: bool = True
    clock: Callable[[], float] = time.monotonic
    reports: list[rtcp.RtcpPacket] = field(default_factory=list)
    srtp: Srtp | None = None
    channels: DataChannels | None = None
    undecryptable: int = 0
    nacked: int = 0

    def __post_init__(self) -> None:
        self.ufrag = secrets.token_hex(4)
        self.password = secrets.token_urlsafe(24)
        self.ssrc = secrets.randbits(32)
        self.resource = ""
        self._transport: asyncio.DatagramTransport | None = None
        self._path = IcePath(self._send)
        self._dtls = Dtls(self._path, self.certificate, "client", self._on_closed)
        self._receivers: dict[int, RtpReceiver] = {}
        self._early: deque[bytes] = deque(maxlen=EARLY_DATAGRAMS)
        self._ice_done = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    def offer(self, data: bool = True) -> str:
        """A WHEP offer for H.264, Opus and the data channels."""
        shared = [
            "c=IN IP4 0.0.0.0",
            f"a=ice-ufrag:{self.ufrag}",
            f"a=ice-pwd:{self.password}",
            f"a=fingerprint:sha-256 {self.certificate.fingerprint}",
            "a=setup:active",
        ]
        lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"]
        lines.append("a=group:BUNDLE 0 1 2" if data else "a=group:BUNDLE 0 1")
        video, audio = VIDEO_PAYLOAD_TYPE, AUDIO_PAYLOAD_TYPE
        lines += [f"m=video 9 UDP/TLS/RTP/SAVPF {video}", *shared, "a=mid:0", "a=recvonly"]
        lines += ["a=rtcp-mux", "a=rtcp-rsize", f"a=rtpmap:{video} H264/90000"]
        lines += [f"a=rtcp-fb:{video} nack", f"a=rtcp-fb:{video} nack pli"]
        lines.append(f"a=fmtp:{video} packetization-mode=1;profile-level-id=42e01f")
        lines += [f"m=audio 9 UDP/TLS/RTP/SAVPF {audio}", *shared, "a=mid:1", "a=recvonly"]
        lines += ["a=rtcp-mux", f"a=rtpmap:{audio} opus/48000/2"]
        if data:
            lines += ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", *shared, "a=mid:2"]
            lines += ["a=sctp-port:5000", "a=max-message-size:65536"]
        return "\r\n".join(lines) + "\r\n"

    async def watch(
        self,
        http: aiohttp.ClientSession,
        url: str,
        token: str | None = None,
        *,
        port: int | None = None,
        data: bool = True,
    ) -> None:
        """POST an offer to a WHEP URL and connect; raises Refused or TimeoutError.

        `port` replaces the port of the server's candidate, to go through a relay.
        """
        headers = {"Content-Type": "application/sdp"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with http.post(url, data=self.offer(data), headers=headers) as reply:
            if reply.status != 201:
                problem = await reply.json(content_type=None)
                raise Refused(reply.status, problem.get("code", ""), problem.get("detail", ""))
            self.resource = reply.headers["Location"]
            answer = sdp.parse(await reply.text())
        await self.connect(answer, port=port, data=data)

    async def connect(
        self, answer: sdp.Offer, *, port: int | None = None, data: bool = True
    ) -> None:
        """Check, shake hands, and start to receive; raises TimeoutError."""
        media = answer.medias[0]
        loop = asyncio.get_running_loop()
        self._transport = await self._open(media.candidates, port)
        self._remote = (media.ice_ufrag, media.ice_pwd)
        self._tasks.append(loop.create_task(self._check_forever()))
        async with asyncio.timeout(10):
            await self._ice_done
            keys = await self._dtls.connect(list(media.fingerprints))
        if keys is None:
            raise ConnectionError("DTLS handshake failed")
        self.srtp = Srtp(keys)
        for each, rate in zip(answer.medias, (VIDEO_CLOCK_RATE, OPUS_CLOCK_RATE), strict=False):
            for ssrc in each.ssrcs:
                self._receivers[ssrc] = RtpReceiver(rate, self._deliver, self._ask)
        while self._early:
            self._on_srtp(self._early.popleft())
        if data:
            self.channels = DataChannels(self._dtls, lambda c, d: self.on_message(c, d))
            await self.channels.start(5000, 65536)
        self._tasks.append(loop.create_task(self._tick_forever()))

    async def _open(
        self, candidates: Sequence[sdp.Candidate], port: int | None
    ) -> asyncio.DatagramTransport:
        """Connect to one of the server's candidates."""
        candidate = candidates[0]
        family = socket.AF_INET6 if ":" in candidate.address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.connect((candidate.address, port or candidate.port))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=sock)
        return transport

    async def close(self) -> None:
        """Say goodbye and free the socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.channels is not None:
            await self.channels.stop()
        await self._dtls.stop()
        self._path.close()
        if self._transport is not None:
            self._transport.close()

    def send_rtcp(self, compound: bytes) -> None:
        if self.srtp is not None:
            self._send(self.srtp.protect_rtcp(compound))

    def pli(self, ssrc: int) -> None:
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(self.ssrc, []))
        self.send_rtcp(report + rtcp.serialize_pli(self.ssrc, ssrc))

    # -- asyncio.DatagramProtocol ----------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not data or self.drop(data):
            return
        first = data[0]
        if first < 4:
            self._on_stun(data)
        elif 20 <= first < 64:
            self._path.feed(data)
        elif 128 <= first < 192 and self.srtp is None:
            self._early.append(
                data
            )  # right behind the server's Finished, which is still being read
        elif 128 <= first < 192:
            self._on_srtp(data)

    def _on_stun(self, data: bytes) -> None:
        message = stun.parse(data)
        if message.message_type == stun.BINDING_SUCCESS and not self._ice_done.done():
            self._ice_done.set_result(None)

    def _on_srtp(self, data: bytes) -> None:
        assert self.srtp is not None
        try:
            if 192 <= data[1] <= 223:
                self.reports += rtcp.parse(self.srtp.unprotect_rtcp(data))
                return
            packet = rtp.parse(self.srtp.unprotect(data))
        except ProtocolError:
            self.undecryptable += 1
            return
        receiver = self._receivers.get(packet.ssrc)
        if receiver is not None:
            receiver.receive(packet, self.clock())

    def _deliver(self, packet: rtp.RtpPacket, gap: bool) -> None:
        self.on_rtp(packet, gap)

    def _ask(self, ssrc: int, sequences: list[int]) -> None:
        if self.nack:
            self.nacked += len(sequences)
            report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(self.ssrc, []))
            self.send_rtcp(report + rtcp.serialize_nack(self.ssrc, ssrc, sequences))

    async def _check_forever(self) -> None:
        ufrag, password = self._remote
        username, tie_breaker = f"{ufrag}:{self.ufrag}", secrets.randbits(64)
        while True:
            request = stun.binding_request(
                secrets.token_bytes(12),
                username,
                password.encode(),
                PRIORITY,
                tie_breaker,
                use_candidate=True,
            )
            self._send(request)
            await asyncio.sleep(CONSENT_S if self._ice_done.done() else CHECK_S)

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for receiver in self._receivers.values():
                receiver.tick(self.clock())

    def _send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(OSError):
                self._transport.sendto(data)

    def _on_closed(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
