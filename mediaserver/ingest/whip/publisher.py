"""One WHIP session's media on its way into a stream, and the feedback about it.

Packets find their receiver by payload type; those of simulcast layers by SSRC, which the layer's name
in a header extension has told of (RFC 8852): browsers leave the name out once it was acknowledged. So
a table of SSRCs has at most two entries per layer, its media and its retransmissions.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence

from mediaserver.hub import Publication
from mediaserver.ingest.whip.answer import Terms
from mediaserver.ingest.whip.layer import VideoLayer
from mediaserver.ingest.whip.simulcast import Simulcast
from mediaserver.media import OPUS_CLOCK_RATE, Track
from mediaserver.protocol import rtcp, rtcp_transport_cc, rtp, rtp_rtx
from mediaserver.protocol.opus import opus_track
from mediaserver.protocol.rtp_video import CodedFrame
from mediaserver.rtc.address import Address
from mediaserver.rtc.receiver import RtpReceiver
from mediaserver.rtc.session import Session

TICK_S = 0.005  # while something is missing
TRANSPORT_FEEDBACK_S = 0.1  # as libwebrtc's own; half of it costs a publisher a third more CPU
REMB_BPS = 8_000_000  # what the publisher may use, where it takes no transport-wide feedback
TOGETHER_S = 0.01  # publishers are told in common turns: fewer wake-ups of the loop
AUDIO_WAIT_S = 0.1  # browsers don't answer a NACK for audio, and Opus conceals a lost frame


class WhipPublisher:
    """The handler of a publisher's session; `publish` begins its turn once it has connected."""

    def __init__(
        self,
        publish: Callable[[WhipPublisher], Publication],
        terms: Terms,
        clock: Callable[[], float],
    ) -> None:
        self.session: Session | None = None
        self.publication: Publication | None = None
        self.finished = False  # the publisher has said so
        self.strays = 0  # packets of layers or payload types that were not agreed on
        self._publish = publish
        self._terms = terms
        self._numbering = terms.numbering
        self._clock = clock
        self._ssrc = secrets.randbits(32)
        self._arrivals = rtcp_transport_cc.Arrivals()
        self._came = self._arrivals.came.append
        self._now = clock()
        self._timer: asyncio.TimerHandle | None = None
        self._feedback_timer: asyncio.TimerHandle | None = None
        self._audio_track = opus_track(2)
        self.audio = RtpReceiver(
            OPUS_CLOCK_RATE, self._on_audio, self.nack, AUDIO_WAIT_S, AUDIO_WAIT_S
        )
        self._simulcast = Simulcast(lambda: self.publication)
        self.layers = {rid: self._layer(name) for rid, name in terms.layers.items()}
        self._receivers = dict.fromkeys(terms.audio, self.audio)  # by payload type
        if not self.layers and terms.video:
            self._simulcast.shown = self.layers[""] = self._layer("")
            self._receivers |= dict.fromkeys(terms.video, self.layers[""].receiver)
        self._simulcast.layers = tuple(self.layers.values())
        self._by_ssrc: dict[int, VideoLayer] = {}
        self._by_repair_ssrc: dict[int, VideoLayer] = {}

    # -- rtc.session.Handler ---------------------------------------------------------------------

    def on_connected(self, session: Session) -> None:
        """Only now is an earlier publisher taken over: who can't connect disturbs nobody."""
        self.session = session
        self.publication = self._publish(self)
        self.publication.on_keyframe_request = self.request_keyframe

    def on_rtp(self, packet: rtp.RtpPacket, now: float) -> None:
        if self.publication is None:
            return
        self._now = now
        payload_type = packet.payload_type
        identifier = self._numbering.get(payload_type)
        if identifier is not None:
            number = packet.extension_u16(identifier)
            if number is not None:
                self._came((number, now))
                if self._feedback_timer is None:
                    self._arm_feedback()
        receiver = self._receivers.get(payload_type) or self._find(packet)
        if receiver is None:
            return
        receiver.receive(packet, now)
        if receiver.missing and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None:
        for packet in packets:
            if not isinstance(packet, rtcp.SenderReport) or self.publication is None:
                continue
            for line, receiver in self._lines():
                if receiver.ssrc == packet.ssrc and receiver.received:
                    receiver.on_sender_report(packet, now)
                    utc_s = rtcp.utc_ms_from_ntp(packet.ntp) / 1000
                    self.publication.align(line, packet.rtp_timestamp, utc_s)

    def on_message(self, channel: int, data: str | bytes) -> None:
        """Publishers have nothing to say over data channels yet: dropped."""

    def on_moved(self, address: Address) -> None:
        """The session already sends to the new address."""

    def on_closed(self, reason: str) -> None:
        for timer in (self._timer, self._feedback_timer):
            if timer is not None:
                timer.cancel()
        if self.publication is not None:
            self.publication.close(reason, finished=self.finished)
        self.session = None

    # -- feedback --------------------------------------------------------------------------------

    def request_keyframe(self) -> None:
        """Somebody downstream wants one of the stream itself."""
        self._simulcast.request_keyframe()

    def every_second(self, now: float) -> None:
        if self.session is None:
            return
        ssrcs = [receiver.ssrc for _, receiver in self._lines() if receiver.received]
        if ssrcs:
            remb = rtcp.serialize_remb(self._ssrc, REMB_BPS, ssrcs) if self._terms.remb else b""
            self.session.send_rtcp(self._compound(now) + remb)
        for layer in self.layers.values():
            layer.every_second()
        if self._terms.layers:
            self._simulcast.every_second(now)

    def nack(self, ssrc: int, sequences: list[int]) -> None:
        self._send_feedback(rtcp.serialize_nack(self._ssrc, ssrc, sequences), self._now)

    def pli(self, ssrc: int, now: float) -> None:
        self._send_feedback(rtcp.serialize_pli(self._ssrc, ssrc), now)

    def _compound(self, now: float) -> bytes:
        blocks = [receiver.report(now) for _, receiver in self._lines() if receiver.received]
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(self._ssrc, blocks))
        return report + rtcp.serialize_sdes(self._ssrc, "hawker")

    def _send_feedback(self, feedback: bytes, now: float) -> None:
        if self.session is not None:
            report = b"" if self._terms.reduced_size else self._compound(now)
            self.session.send_rtcp(report + feedback)

    def _arm_feedback(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + TRANSPORT_FEEDBACK_S
        self._feedback_timer = loop.call_at(due - due % TOGETHER_S, self._tell_arrivals)

    def _tell_arrivals(self) -> None:
        self._feedback_timer = None
        now = self._clock()
        media_ssrc = next((each.ssrc for _, each in self._lines() if each.received), 0)
        for feedback in self._arrivals.feedbacks(self._ssrc, media_ssrc, now):
            self._send_feedback(rtcp_transport_cc.serialize(feedback), now)

    def _tick(self) -> None:
        self._timer = None
        self._now = self._clock()
        waiting = False
        for _, receiver in self._lines():
            receiver.tick(self._now)
            waiting = waiting or bool(receiver.missing)
        if waiting:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _lines(self) -> Iterator[tuple[str, RtpReceiver]]:
        """Every stream of RTP by the name that its clock has on the timeline."""
        for layer in self.layers.values():
            yield layer.line, layer.receiver
        yield "audio", self.audio

    # -- packets of layers, and those that come again --------------------------------------------

    def _find(self, packet: rtp.RtpPacket) -> RtpReceiver | None:
        """The receiver of a layer's packet; retransmissions are handed on from here."""
        if packet.payload_type in self._terms.repairs:
            if packet.payload:  # padding: a probe of the path
                self._on_repair(packet)
            return None
        layer = None
        if packet.payload_type in self._terms.video:
            layer = self._by_ssrc.get(packet.ssrc)
            layer = layer or self._learn(packet, self._terms.rid, self._by_ssrc)
        if layer is None:
            self.strays += 1
            return None
        if packet.payload:
            layer.arrived_at = self._now
            layer.arrived_bytes += len(packet.payload)
        return layer.receiver

    def _learn(
        self, packet: rtp.RtpPacket, identifier: int, known: dict[int, VideoLayer]
    ) -> VideoLayer | None:
        """The layer whose name stands in this packet; its SSRC alone will do from now on."""
        rid = packet.extension(identifier)
        layer = self.layers.get(rid.decode("ascii", "replace")) if rid else None
        if layer is not None:
            for ssrc in [ssrc for ssrc, each in known.items() if each is layer]:
                del known[ssrc]
            known[packet.ssrc] = layer
        return layer

    def _on_repair(self, packet: rtp.RtpPacket) -> None:
        original = self._terms.repairs[packet.payload_type]
        receiver = self._receivers.get(original)
        if receiver is None:
            layer = self._by_repair_ssrc.get(packet.ssrc)
            layer = layer or self._learn(packet, self._terms.repaired_rid, self._by_repair_ssrc)
            if layer is None:
                self.strays += 1
                return
            receiver = layer.receiver
        packet.payload_type = original
        packet.sequence, packet.payload = rtp_rtx.parse(packet.payload)
        packet.ssrc = receiver.ssrc
        receiver.repair(packet, self._now)

    # -- media -----------------------------------------------------------------------------------

    def _layer(self, name: str) -> VideoLayer:
        take = self._on_layer if name else self._on_frame
        return VideoLayer(name, self._terms.video, take, self, self._clock)

    def _on_audio(self, packet: rtp.RtpPacket, gap: bool) -> None:
        if packet.payload and self.publication is not None:
            self.publication.write(
                self._audio_track,
                packet.timestamp,
                packet.payload,
                keyframe=True,
                arrival=self._now,
            )

    def _on_frame(self, layer: VideoLayer, frame: CodedFrame, track: Track) -> None:
        if self.publication is not None:
            self.publication.write(
                track,
                frame.timestamp,
                frame.payload,
                keyframe=frame.keyframe,
                arrival=self._now,
            )

    def _on_layer(self, layer: VideoLayer, frame: CodedFrame, track: Track) -> None:
        self._simulcast.take(layer, frame, track, self._now)
