"""WHIP ingest (RFC 9725): an offer in, RTP to Packets, feedback to the publisher.

A publisher is told what its path carries by transport-wide feedback where it offers that, else by a
flat REMB where it offers goog-remb: without either a browser stays near 300 kbit/s.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mediaserver.access import Access
from mediaserver.errors import NotFound, PeerError, ProtocolError
from mediaserver.hub import Hub, Publication
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE, Kind, Track
from mediaserver.protocol import rtcp, rtcp_transport_cc, rtp, rtp_rtx, sdp
from mediaserver.protocol.h264 import (
    NAL_AUD,
    NAL_FILLER,
    NAL_IDR,
    NAL_PPS,
    NAL_SPS,
    join_length_prefixed,
    nal_type,
    video_track,
)
from mediaserver.protocol.opus import opus_track
from mediaserver.protocol.rtp_h264 import AccessUnit, Depacketizer
from mediaserver.rtc.receiver import RtpReceiver
from mediaserver.rtc.session import Address, Session
from mediaserver.rtc.transport import FEEDBACK, Transport

log = logging.getLogger("hawker.whip")

TICK_S = 0.005  # while something is missing
TRANSPORT_FEEDBACK_S = 0.05
# Where libwebrtc begins before it has measured; from its own 300 kbit/s it scales 720p down to 180p
# and is still at 360p ten seconds later.
START_BITRATE = {"x-google-start-bitrate": "1200"}  # kbit/s
REMB_BPS = 8_000_000  # what the publisher may use, where it takes no transport-wide feedback
PLI_INTERVAL_S = 0.5
KEYFRAMES_AT_ONCE = 3
KEYFRAME_S = 2.0  # then one in so much; the packager's two-second segments want no more
AUDIO_WAIT_S = 0.1  # browsers don't answer a NACK for audio, and Opus conceals a lost frame
ONE_BYTE_IDS = range(1, 15)  # of header extensions (RFC 8285 §4.2)
APART = frozenset({NAL_AUD, NAL_FILLER, NAL_SPS, NAL_PPS})


@dataclass(frozen=True, slots=True)
class Terms:
    """What an offer and its answer agree on.

    By payload type: `kinds` of media, `repairs` for those that bring packets again (RFC 4588), and
    under `numbering` the id of the header extension with the transport-wide number. `remb`: the
    publisher heeds REMB. `reduced_size`: feedback may go without a report (RFC 5506).
    """

    kinds: Mapping[int, Kind] = field(default_factory=dict)
    repairs: Mapping[int, Kind] = field(default_factory=dict)
    numbering: Mapping[int, int] = field(default_factory=dict)
    remb: bool = False
    reduced_size: bool = False


class KeyframeRequests:
    """When to ask the publisher for a keyframe, which costs it as much as ten other pictures.

    Again each PLI_INTERVAL_S while none comes. What is wanted after one came is counted against a
    budget, KEYFRAMES_AT_ONCE and then one in KEYFRAME_S: many viewers on thin links may each lose
    their picture. Our own loss, which all of them see, is never refused.
    """

    def __init__(self) -> None:
        self._asked_at = float("-inf")
        self._open = False
        self._budget = float(KEYFRAMES_AT_ONCE)
        self._counted_at = 0.0

    def ask(self, now: float, *, own_loss: bool) -> bool:
        """Whether to send a request now."""
        if now - self._asked_at < PLI_INTERVAL_S:
            return False
        if not self._open:
            earned = (now - self._counted_at) / KEYFRAME_S
            self._budget = min(self._budget + earned, float(KEYFRAMES_AT_ONCE))
            self._counted_at = now
            if self._budget < 1 and not own_loss:
                return False
            self._budget = max(self._budget - 1, 0.0)
        self._asked_at = now
        self._open = True
        return True

    def came(self) -> None:
        """A keyframe came, asked for or not."""
        self._open = False


class WhipPublisher:
    """One WHIP session's media on its way into a stream."""

    def __init__(
        self,
        publish: Callable[[WhipPublisher], Publication],
        terms: Terms,
        clock: Callable[[], float],
    ) -> None:
        self.session: Session | None = None
        self.publication: Publication | None = None
        self._publish = publish
        self._terms = terms
        self._clock = clock
        self._ssrc = secrets.randbits(32)
        self._video: Track | None = None
        self._audio = opus_track(2)
        self._sps: dict[bytes, None] = {}
        self._pps: dict[bytes, None] = {}
        self._depacketizer = Depacketizer()
        self.malformed = 0  # RTP payloads that are not H.264 in RTP
        self._need_keyframe = True
        self._keyframes = KeyframeRequests()
        self._arrivals = rtcp_transport_cc.Arrivals()
        self._now = clock()
        self._timer: asyncio.TimerHandle | None = None
        self._feedback_timer: asyncio.TimerHandle | None = None
        self._receivers = {
            "video": RtpReceiver(VIDEO_CLOCK_RATE, self._on_video, self._nack),
            "audio": RtpReceiver(
                OPUS_CLOCK_RATE, self._on_audio, self._nack, AUDIO_WAIT_S, AUDIO_WAIT_S
            ),
        }

    # -- rtc.session.Handler ---------------------------------------------------------------------

    def on_connected(self, session: Session) -> None:
        """Only now is an earlier publisher taken over: who can't connect disturbs nobody."""
        self.session = session
        self.publication = self._publish(self)
        self.publication.stream.on_keyframe_request = self.request_keyframe

    def on_rtp(self, data: bytes, now: float) -> None:
        packet = rtp.parse(data)
        payload_type = packet.payload_type
        if self.publication is None:
            return
        self._now = now
        identifier = self._terms.numbering.get(payload_type)
        if identifier is not None:
            self._record(packet.extension_u16(identifier))
        kind = self._terms.kinds.get(payload_type)
        if kind is None:
            self._on_repair(packet)
            return
        receiver = self._receivers[kind]
        receiver.receive(packet, now)
        if receiver.waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None:
        for packet in packets:
            if not isinstance(packet, rtcp.SenderReport) or self.publication is None:
                continue
            for kind, receiver in self._receivers.items():
                if receiver.ssrc == packet.ssrc:
                    receiver.on_sender_report(packet, now)
                    utc_s = rtcp.utc_ms_from_ntp(packet.ntp) / 1000
                    self.publication.align(
                        "video" if kind == "video" else "audio", packet.rtp_timestamp, utc_s
                    )

    def on_message(self, channel: int, data: str | bytes) -> None:
        """Publishers have nothing to say over data channels yet: dropped."""

    def on_moved(self, address: Address) -> None:
        """The session already sends to the new address."""

    def on_closed(self, reason: str) -> None:
        for timer in (self._timer, self._feedback_timer):
            if timer is not None:
                timer.cancel()
        if self.publication is not None:
            self.publication.close(reason)

    # -- feedback --------------------------------------------------------------------------------

    def request_keyframe(self) -> None:
        """Somebody downstream wants one."""
        self._ask_keyframe(own_loss=False)

    def _ask_keyframe(self, *, own_loss: bool) -> None:
        ssrc = self._receivers["video"].ssrc
        now = self._clock()
        if self.session is not None and ssrc and self._keyframes.ask(now, own_loss=own_loss):
            self._send_feedback(rtcp.serialize_pli(self._ssrc, ssrc), now)

    def every_second(self, now: float) -> None:
        if self.session is None:
            return
        ssrcs = [each.ssrc for each in self._receivers.values() if each.received]
        if ssrcs:
            remb = rtcp.serialize_remb(self._ssrc, REMB_BPS, ssrcs) if self._terms.remb else b""
            self.session.send_rtcp(self._compound(now) + remb)
        if self._need_keyframe:
            self._ask_keyframe(own_loss=True)

    def _compound(self, now: float) -> bytes:
        blocks = [each.report(now) for each in self._receivers.values() if each.received]
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(self._ssrc, blocks))
        return report + rtcp.serialize_sdes(self._ssrc, "hawker")

    def _send_feedback(self, feedback: bytes, now: float) -> None:
        if self.session is not None:
            report = b"" if self._terms.reduced_size else self._compound(now)
            self.session.send_rtcp(report + feedback)

    def _nack(self, ssrc: int, sequences: list[int]) -> None:
        self._send_feedback(rtcp.serialize_nack(self._ssrc, ssrc, sequences), self._now)

    def _record(self, number: int | None) -> None:
        """Note the arrival of a packet with this transport-wide number."""
        if number is None:
            return
        self._arrivals.record(number, self._now)
        if self._feedback_timer is None:
            self._feedback_timer = asyncio.get_running_loop().call_later(
                TRANSPORT_FEEDBACK_S, self._tell_arrivals
            )

    def _tell_arrivals(self) -> None:
        self._feedback_timer = None
        now = self._clock()
        media_ssrc = self._receivers["video"].ssrc or self._receivers["audio"].ssrc
        for feedback in self._arrivals.feedbacks(self._ssrc, media_ssrc, now):
            self._send_feedback(rtcp_transport_cc.serialize(feedback), now)

    def _tick(self) -> None:
        self._timer = None
        self._now = self._clock()
        for receiver in self._receivers.values():
            receiver.tick(self._now)
        if any(receiver.waiting for receiver in self._receivers.values()):
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _on_repair(self, packet: rtp.RtpPacket) -> None:
        kind = self._terms.repairs.get(packet.payload_type)
        if kind is None or not packet.payload:  # padding: a probe of the path
            return
        receiver = self._receivers[kind]
        packet.sequence, packet.payload = rtp_rtx.parse(packet.payload)
        packet.ssrc = receiver.ssrc
        receiver.repair(packet, self._now)

    # -- media -----------------------------------------------------------------------------------

    def _on_audio(self, packet: rtp.RtpPacket, gap: bool) -> None:
        if packet.payload and self.publication is not None:
            self.publication.write(
                self._audio, packet.timestamp, packet.payload, keyframe=True, arrival=self._now
            )

    def _on_video(self, packet: rtp.RtpPacket, gap: bool) -> None:
        if gap:  # whole pictures may be missing, which those that follow refer to
            self._need_keyframe = True
        try:
            for unit in self._depacketizer.feed(
                packet.payload, packet.marker, packet.timestamp, gap=gap
            ):
                self._on_access_unit(unit)
        except ProtocolError:
            self.malformed += 1
            self._need_keyframe = True

    def _on_access_unit(self, unit: AccessUnit) -> None:
        types = [nal_type(nal) for nal in unit.nals]
        self._learn_parameter_sets(unit.nals, types)
        keyframe = NAL_IDR in types
        if unit.damaged or (self._need_keyframe and not keyframe) or self._video is None:
            self._need_keyframe = True
            self._ask_keyframe(own_loss=True)
            return
        self._need_keyframe = False
        if keyframe:
            self._keyframes.came()
        nals = [nal for nal, kind in zip(unit.nals, types, strict=True) if kind not in APART]
        if nals and self.publication is not None:
            self.publication.write(
                self._video,
                unit.timestamp,
                join_length_prefixed(nals),
                keyframe=keyframe,
                arrival=self._now,
            )

    def _learn_parameter_sets(self, nals: list[bytes], types: list[int]) -> None:
        sps = dict.fromkeys(n for n, kind in zip(nals, types, strict=True) if kind == NAL_SPS)
        pps = dict.fromkeys(n for n, kind in zip(nals, types, strict=True) if kind == NAL_PPS)
        if (sps and sps != self._sps) or (pps and pps != self._pps):
            self._sps, self._pps = sps or self._sps, pps or self._pps
            if self._sps and self._pps:
                self._video = video_track(tuple(self._sps), tuple(self._pps))


class WhipIngest:
    """WHIP resources of one process."""

    def __init__(self, hub: Hub, transport: Transport, access: Access) -> None:
        self._hub = hub
        self.transport = transport
        self._access = access
        self._stop_sweep = transport.every_second(self._every_second)

    async def publish(self, key: str, offer_sdp: bytes, remote: str) -> tuple[str, str]:
        """Accept an offer; (resource id, answer). Raises Unauthorized, ProtocolError, Unavailable."""
        try:
            name = await self._access.publish(key)
        except PeerError as error:
            log.warning("publish from %s refused: %s", remote, error.detail)
            raise
        offer = sdp.parse(offer_sdp)
        medias, terms = _accept(offer)

        def publication(publisher: WhipPublisher) -> Publication:
            return self._hub.publish(
                name,
                protocol="whip",
                remote=remote,
                on_close=lambda reason: self.transport.close(session, reason),
            )

        publisher = WhipPublisher(publication, terms, self.transport.clock)
        session, answer = self.transport.accept(publisher, offer, medias)
        return session.id, answer

    def delete(self, resource: str) -> None:
        """End a publication; raises NotFound."""
        session = self.transport.sessions.get(resource)
        if session is None or not isinstance(session.handler, WhipPublisher):
            raise NotFound("no such WHIP session")
        self.transport.close(session, "publisher ended the session")

    def close(self) -> None:
        self._stop_sweep()

    def _every_second(self, now: float) -> None:
        for session in self.transport.sessions.values():
            if isinstance(session.handler, WhipPublisher):
                session.handler.every_second(now)


def _accept(offer: sdp.Offer) -> tuple[list[sdp.AnswerMedia | None], Terms]:
    """One video and one audio track; `Terms` beside what the answer says of each m-line."""
    medias: list[sdp.AnswerMedia | None] = []
    kinds: dict[int, Kind] = {}
    repairs: dict[int, Kind] = {}
    numbering: dict[int, int] = {}
    feedback: set[str] = set()
    reduced_size = True
    for media in offer.medias:
        kind: Kind = "video" if media.kind == "video" else "audio"
        payload_type = None if kind in kinds.values() else _choose(media)
        if payload_type is None:
            medias.append(None)
            continue
        answer = _answer(media, payload_type)
        medias.append(answer)
        kinds[payload_type] = kind
        repairs |= {each: kind for each in answer.payloads if each != payload_type}
        for identifier in answer.extmaps.values():
            numbering |= dict.fromkeys(answer.payloads, identifier)
        feedback |= answer.payloads[payload_type].rtcp_fb
        reduced_size = reduced_size and media.rtcp_rsize
    return medias, Terms(kinds, repairs, numbering, "goog-remb" in feedback, reduced_size)


def _choose(media: sdp.OfferMedia) -> int | None:
    if not media.usable or media.direction not in ("sendonly", "sendrecv"):
        return None
    if media.kind == "video":
        return sdp.choose_h264(media)
    return sdp.choose_opus(media) if media.kind == "audio" else None


def _answer(media: sdp.OfferMedia, payload_type: int) -> sdp.AnswerMedia:
    offered = media.payloads[payload_type]
    feedback = FEEDBACK
    extmaps: dict[str, int] = {}
    identifier = media.extmaps.get(rtcp_transport_cc.EXTENSION, 0)
    if identifier in ONE_BYTE_IDS and rtcp_transport_cc.RTCP_FB in offered.rtcp_fb:
        # Its own estimate then: a REMB beside it would only be a ceiling.
        feedback = FEEDBACK - {"goog-remb"} | {rtcp_transport_cc.RTCP_FB}
        extmaps[rtcp_transport_cc.EXTENSION] = identifier
    codec = sdp.with_feedback(offered, feedback)
    if media.kind == "audio":
        codec = sdp.receiving_opus(codec)
    elif extmaps:
        codec = sdp.with_settings(codec, START_BITRATE)
    payloads = {payload_type: codec}
    rtx = media.rtx.get(payload_type)
    if rtx is not None and "nack" in codec.rtcp_fb:
        payloads[rtx] = sdp.with_feedback(media.payloads[rtx], frozenset())
    return sdp.AnswerMedia("recvonly", payloads, extmaps=extmaps)
