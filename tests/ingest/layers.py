"""A publisher of simulcast layers, each with its SSRC, clock and encoder, named by rid at first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.webrtc_client import VIDEO_PAYLOAD_TYPE
from mediaserver.ingest.whip import WhipPublisher as Handler
from mediaserver.ingest.whip.answer import REPAIRED_RID_EXTENSION
from mediaserver.media import Packet, Track
from mediaserver.protocol import rtcp, rtp, rtp_rtx, sdp
from mediaserver.protocol.h264 import video_track
from mediaserver.protocol.rtp_video import packetize
from mediaserver.rtc.dtls import Certificate
from tests.ingest.whip_publisher import Numbering, WhipPublisher
from tests.rtc.house import KEY, House
from tests.rtc.streams import PPS, Pictures, Sound
from tests.virtual_time import now, until

MID_ID, RID_ID, REPAIRED_RID_ID = 1, 4, 5
RTX_PAYLOAD_TYPE = 97
NAMED_PACKETS = 5  # then a report has come, and the rid is left out
CERTIFICATE = Certificate.generateCertificate()
SIZES = {"q": (320, 180), "h": (640, 360), "f": (1280, 720)}


def track(width: int, height: int) -> Track:
    """Of a picture of this size, with the least SPS there can be (ITU-T H.264 §7.3.2.1.1)."""
    columns, rows = -(-width // 16), -(-height // 16)
    bits = "".join(map(_ue, (0, 0, 2, 1))) + "0" + _ue(columns - 1) + _ue(rows - 1) + "11"
    crop = (rows * 16 - height) // 2
    bits += "1" + "".join(map(_ue, (0, 0, 0, crop))) if crop else "0"
    bits += "01"  # no VUI; the stop bit
    bits += "0" * (-len(bits) % 8)
    sps = bytes((0x67, 0x42, 0xC0, 0x1F)) + int(bits, 2).to_bytes(len(bits) // 8, "big")
    return video_track((sps,), (PPS,))


def _ue(value: int) -> str:
    text = f"{value + 1:b}"
    return "0" * (len(text) - 1) + text


@dataclass
class Layer:
    rid: str
    pictures: Pictures
    line: Numbering = field(default_factory=lambda: Numbering(VIDEO_PAYLOAD_TYPE))
    rtx: Numbering = field(default_factory=lambda: Numbering(RTX_PAYLOAD_TYPE))
    active: bool = True
    named: int = 0
    plis: int = 0
    lose: int = 0  # so many of the next packets


class LayeredClient(WhipPublisher):
    """Sends `layers`; answers NACKs by RTX, which names its layer too at first."""

    layers: dict[str, Layer]
    named = True
    extra_rids: tuple[str, ...] = ()

    def offer(self, data: bool = False) -> str:
        rids = [*self.layers, *self.extra_rids]
        lines = [
            "a=mid:0",
            f"a=extmap:{MID_ID} {sdp.MID_EXTENSION}",
            f"a=extmap:{RID_ID} {sdp.RID_EXTENSION}",
            f"a=extmap:{REPAIRED_RID_ID} {REPAIRED_RID_EXTENSION}",
            *(f"a=rid:{rid} send" for rid in rids),
            "a=simulcast:send " + ";".join(rids),
            f"a=rtpmap:{RTX_PAYLOAD_TYPE} rtx/90000",
            f"a=fmtp:{RTX_PAYLOAD_TYPE} apt={VIDEO_PAYLOAD_TYPE}",
        ]
        offer = super().offer(data).replace("a=mid:0", "\r\n".join(lines))
        return offer.replace("RTP/SAVPF 96", f"RTP/SAVPF 96 {RTX_PAYLOAD_TYPE}")

    def show(self, layer: Layer, packet: Packet) -> None:
        for payload, padding, marker in packetize(packet, 1100):
            self._send_of(layer, layer.line, packet.pts, payload, marker, padding, RID_ID)

    def _send_of(
        self,
        layer: Layer,
        line: Numbering,
        pts: int,
        payload: bytes,
        marker: bool,
        padding: bool,
        identifier: int,
    ) -> None:
        extension = b""
        if self.named and layer.named < NAMED_PACKETS:
            values = {MID_ID: b"0", identifier: layer.rid.encode()}
            extension = rtp.serialize_extensions(values)
            layer.named += 1
        timestamp = (line.first_timestamp + pts) & 0xFFFFFFFF
        packet = (
            rtp.serialize_header(
                line.payload_type, marker, line.sequence, timestamp, line.ssrc, padding, extension
            )
            + payload
        )
        line.ring[line.sequence] = packet
        line.sequence = (line.sequence + 1) & 0xFFFF
        if layer.lose:
            layer.lose -= 1
        else:
            self._protect_and_send(packet)

    def datagram_received(self, data: bytes, addr: object) -> None:
        before = len(self.reports)
        super().datagram_received(data, addr)
        for report in self.reports[before:]:
            if isinstance(report, rtcp.Pli):
                for layer in self.layers.values():
                    if layer.line.ssrc == report.media_ssrc:
                        layer.plis += 1
                        layer.pictures.want = True

    def _on_nack(self, nack: rtcp.Nack) -> None:
        for layer in self.layers.values():
            if layer.line.ssrc != nack.media_ssrc:
                continue
            layer.named = 0
            for sequence in nack.sequences:
                original = rtp.parse(layer.line.ring[sequence])
                payload = rtp_rtx.serialize(sequence, original.payload, padding=False)
                pts = original.timestamp - layer.line.first_timestamp
                self._send_of(
                    layer, layer.rtx, pts, payload, original.marker, False, REPAIRED_RID_ID
                )
                self.resent += 1
            layer.named = NAMED_PACKETS


class LayeredHost:
    """Three encoders of one camera in the loop's time; reports tie their clocks to the wall clock."""

    def __init__(self, house: House, client: type[LayeredClient] = LayeredClient) -> None:
        self.house = house
        self.client = client(CERTIFICATE, clock=now)
        self.client.layers = {
            rid: Layer(rid, Pictures(gop=10**6, picture_bytes=500, keyframe_bytes=2000, track=of))
            for rid, of in ((rid, track(*size)) for rid, size in SIZES.items())
        }
        self.layers = self.client.layers
        self.sound = Sound()
        self.reports = True
        self._number = 0
        house.clients.append(self.client)

    @property
    def handler(self) -> Handler:
        handler = self.house.transport.sessions[self.client.resource].handler
        assert isinstance(handler, Handler)
        return handler

    async def connect(self) -> sdp.Offer:
        resource, text = await self.house.whip.publish(KEY, self.client.offer().encode(), "test")
        self.client.resource = resource
        answer = sdp.parse(text)
        await self.client.connect(answer, data=False)
        await until(lambda: self.handler.publication is not None)
        return answer

    async def play(self, seconds: float) -> None:
        for _ in range(round(seconds * 30)):
            self.picture()
            await asyncio.sleep(1 / 30)

    def picture(self) -> None:
        """One picture of the camera by every active encoder."""
        for layer in self.active():
            layer.pictures.number = self._number
            self.client.show(layer, layer.pictures.next())
        if self.reports and self._number % 15 == 7:
            for layer in self.active():
                pts = self._number * 3000
                self.client.report(layer.line, pts, 1_790_000_000_000 + pts / 90)
        self._number += 1

    def active(self) -> Iterator[Layer]:
        return (layer for layer in self.layers.values() if layer.active)
