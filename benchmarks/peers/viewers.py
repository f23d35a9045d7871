"""Light viewers of any peer, many in one process: they decrypt and count every packet that they read.

The first of them also puts frames together and compares them with those that were published. What
the kernel dropped at a full socket is counted too, so that nothing is missed when the process stands
still. Each sends a receiver report a second, and none asks for a lost packet again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.crowd import JOIN_AT_ONCE, Tally
from benchmarks.loads import Commands
from benchmarks.peers import Way
from benchmarks.picture import GOP_FRAMES, PPS, SPS, Picture
from benchmarks.sinks import UNREAD_RCVBUF_BYTES
from benchmarks.webrtc_client import VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.errors import ProtocolError
from mediaserver.protocol import rtcp, rtp, sdp, stun
from mediaserver.protocol.rtp_h264 import Depacketizer
from mediaserver.rtc.dtls import Certificate, Certificates

REPORT_S = 1.0
JANUS_STREAM = 1
EVENTS = 5  # of Janus, in which its offer must be
SO_MEMINFO = 55  # include/uapi/asm-generic/socket.h
_MEMINFO = struct.Struct("9I")  # include/uapi/linux/sock_diag.h; the last is the drops


@dataclass(frozen=True, slots=True)
class Seen:
    """All viewers together since they joined; `right` and `wrong` are frames at the first one."""

    pid: int
    viewers: int
    gcm: int  # of the viewers
    packets: int
    lost: int
    undecryptable: int
    datagrams: int
    dropped: int
    right: int
    wrong: int
    cpu_s: float

    @property
    def arrived(self) -> int:
        """Datagrams that came to the sockets, read or dropped; RTCP and STUN are among them."""
        return self.datagrams + self.dropped


@dataclass(slots=True)
class Witness:
    """Puts frames together and knows those that were published."""

    right: int = 0
    wrong: int = 0
    _published: frozenset[bytes] = field(
        default_factory=lambda: frozenset(map(Picture().nal, range(GOP_FRAMES)))
    )
    _parts: Depacketizer = field(default_factory=Depacketizer)
    _following: int = -1

    def on_rtp(self, packet: rtp.RtpPacket) -> None:
        """A frame with a gap in it is no evidence."""
        gap = packet.sequence != self._following
        self._following = (packet.sequence + 1) & 0xFFFF
        for unit in self._parts.feed(packet.payload, packet.marker, packet.timestamp, gap=gap):
            if not unit.damaged:
                slices = [bytes(nal) for nal in unit.nals if nal not in (SPS, PPS)]
                right = len(slices) == 1 and slices[0] in self._published
                self.right, self.wrong = self.right + right, self.wrong + (not right)


class Viewer(WebRtcClient):
    """Answers the peer's connectivity checks and offers, and counts what it decrypts."""

    def __init__(self, certificate: Certificate, witness: Witness | None) -> None:
        super().__init__(certificate, nack=False)
        self.tally = Tally()
        self.datagrams = 0
        self._witness = witness

    @property
    def gcm(self) -> bool:
        return self.srtp is not None and self.srtp.aead is not None

    @property
    def dropped(self) -> int:
        """Datagrams that the kernel could not queue."""
        meminfo = self._socket().getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
        dropped: int = _MEMINFO.unpack(meminfo)[-1]
        return dropped

    def narrow(self) -> None:
        """Have the kernel queue next to nothing for this viewer."""
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_RCVBUF_BYTES)

    def answer(self, offer: sdp.Offer) -> str:
        """To an offer of one video track in H.264."""
        mid = offer.medias[0].mid
        lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", f"a=group:BUNDLE {mid}"]
        lines += [f"m=video 9 UDP/TLS/RTP/SAVPF {VIDEO_PAYLOAD_TYPE}", "c=IN IP4 0.0.0.0"]
        lines += [f"a=mid:{mid}", "a=recvonly", "a=rtcp-mux", "a=setup:active"]
        lines += [f"a=ice-ufrag:{self.ufrag}", f"a=ice-pwd:{self.password}"]
        lines += [f"a=fingerprint:sha-256 {self.certificate.fingerprint}"]
        lines += [f"a=rtpmap:{VIDEO_PAYLOAD_TYPE} H264/90000"]
        lines += [
            f"a=rtcp-fb:{VIDEO_PAYLOAD_TYPE} nack",
            f"a=rtcp-fb:{VIDEO_PAYLOAD_TYPE} nack pli",
        ]
        lines += [f"a=fmtp:{VIDEO_PAYLOAD_TYPE} packetization-mode=1;profile-level-id=42e01f"]
        return "\r\n".join(lines) + "\r\n"

    def _socket(self) -> socket.socket:
        assert self._transport is not None
        sock: socket.socket = self._transport.get_extra_info("socket")
        return sock

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.datagrams += 1
        super().datagram_received(data, addr)

    def _on_stun(self, data: bytes) -> None:
        message = stun.parse(data)
        if message.message_type != stun.BINDING_REQUEST:
            super()._on_stun(data)
            return
        assert self._transport is not None
        address = self._transport.get_extra_info("peername")
        key = self.password.encode()
        self._send(stun.binding_success(message.transaction_id, address, key))

    def _on_srtp(self, data: bytes) -> None:
        assert self.srtp is not None
        try:
            if 192 <= data[1] <= 223:  # RTCP (RFC 5761 §4)
                self.srtp.unprotect_rtcp(data)
                return
            packet = rtp.parse(self.srtp.unprotect(data))
        except ProtocolError:
            self.undecryptable += 1
            return
        self.tally.on_rtp(packet, False)
        if self._witness is not None:
            self._witness.on_rtp(packet)

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            lost = self.tally.lost
            blocks = [
                rtcp.ReportBlock(ssrc, 0, lost, highest & 0xFFFFFFFF, 0, 0, 0)
                for ssrc, highest in self.tally.highest.items()
            ]
            report = rtcp.ReceiverReport(self.ssrc, blocks)
            self.send_rtcp(rtcp.serialize_receiver_report(report))


async def watch(commands: Commands, way: Way, viewers: int) -> None:
    """Have that many watch, and stay; `count` is answered with what was Seen.

    `narrow` too, and from then on sockets hold the least, so that one who stands still reads nothing
    old when he goes on.
    """
    certificate = Certificates().current()
    witness = Witness()
    crowd = [Viewer(certificate, None if number else witness) for number in range(viewers)]
    async with aiohttp.ClientSession() as http:
        for start in range(0, viewers, JOIN_AT_ONCE):
            joining = crowd[start : start + JOIN_AT_ONCE]
            await asyncio.gather(*(_join(http, way, each) for each in joining))
        commands.answer("all watch")
        while True:
            if await commands.next() == "narrow":
                for each in crowd:
                    each.narrow()
            commands.answer(_seen(crowd, witness))


async def _join(http: aiohttp.ClientSession, way: Way, viewer: Viewer) -> None:
    if way.protocol == "janus":
        await join_janus(http, way.url, viewer)
    else:
        await viewer.watch(http, way.url, data=way.data)


async def join_janus(http: aiohttp.ClientSession, url: str, viewer: Viewer) -> None:
    """Janus's HTTP API: a session, a handle of the streaming plugin, its offer, our answer."""
    session = f"{url}/{await _created(http, url, 'create')}"
    handle = f"{session}/{await _created(http, session, 'attach', plugin='janus.plugin.streaming')}"
    await _ask(http, handle, "message", body={"request": "watch", "id": JANUS_STREAM})
    offer = sdp.parse(await _offered(http, session))
    answer = {"type": "answer", "sdp": viewer.answer(offer)}
    await _ask(http, handle, "message", body={"request": "start"}, jsep=answer)
    await viewer.connect(offer, data=False)


async def _created(http: aiohttp.ClientSession, url: str, what: str, **more: Any) -> int:
    reply = await _ask(http, url, what, **more)
    return int(reply["data"]["id"])


async def _ask(http: aiohttp.ClientSession, url: str, what: str, **more: Any) -> dict[str, Any]:
    async with http.post(url, json={"janus": what, "transaction": what, **more}) as reply:
        told: dict[str, Any] = await reply.json(content_type=None)
    if told["janus"] == "error":
        raise ConnectionError(f"Janus refuses {what}: {told['error']['reason']}")
    return told


async def _offered(http: aiohttp.ClientSession, session: str) -> str:
    for _ in range(EVENTS):
        async with http.get(session, params={"maxev": "1"}) as reply:
            event = await reply.json(content_type=None)
        if "jsep" in event:
            return str(event["jsep"]["sdp"])
    raise ConnectionError("Janus offers nothing")


def _seen(crowd: list[Viewer], witness: Witness) -> Seen:
    return Seen(
        pid=os.getpid(),
        viewers=len(crowd),
        gcm=sum(each.gcm for each in crowd),
        packets=sum(each.tally.packets for each in crowd),
        lost=sum(each.tally.lost for each in crowd),
        undecryptable=sum(each.undecryptable for each in crowd),
        datagrams=sum(each.datagrams for each in crowd),
        dropped=sum(each.dropped for each in crowd),
        right=witness.right,
        wrong=witness.wrong,
        cpu_s=time.process_time(),
    )
