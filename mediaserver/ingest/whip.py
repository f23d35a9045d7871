"""WHIP ingest (RFC 9725): an offer in, RTP to Packets, feedback to the publisher."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence

from mediaserver.access import Access
from mediaserver.errors import NotFound, PeerError, ProtocolError
from mediaserver.hub import Hub, Publication
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE, Kind, Track
from mediaserver.protocol import rtcp, rtp, sdp
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

TICK_S = 0.02
REMB_BPS = 8_000_000  # what the publisher may use; without it Chromium stays near 300 kbit/s
PLI_INTERVAL_S = 0.5
AUDIO_WAIT_S = 0.1  # browsers don't answer a NACK for audio, and Opus conceals a lost frame
APART = frozenset({NAL_AUD, NAL_FILLER, NAL_SPS, NAL_PPS})


class WhipPublisher:
    """One WHIP session's media on its way into a stream."""

    def __init__(
        self,
        publish: Callable[[WhipPublisher], Publication],
        kinds: dict[int, Kind],
        clock: Callable[[], float],
    ) -> None:
        self.session: Session | None = None
        self.publication: Publication | None = None
        self._publish = publish
        self._kinds = kinds
        self._clock = clock
        self._ssrc = secrets.randbits(32)
        self._video: Track | None = None
        self._audio = opus_track(2)
        self._sps: dict[bytes, None] = {}
        self._pps: dict[bytes, None] = {}
        self._depacketizer = Depacketizer()
        self.malformed = 0  # RTP payloads that are not H.264 in RTP
        self._need_keyframe = True
        self._asked_at = -PLI_INTERVAL_S
        self._now = clock()
        self._timer: asyncio.TimerHandle | None = None
        self._receivers = {
            "video": RtpReceiver(VIDEO_CLOCK_RATE, self._on_video, self._nack),
            "audio": RtpReceiver(OPUS_CLOCK_RATE, self._on_audio, self._nack, AUDIO_WAIT_S),
        }

    # -- rtc.session.Handler ---------------------------------------------------------------------

    def on_connected(self, session: Session) -> None:
        """Only now is an earlier publisher taken over: who can't connect disturbs nobody."""
        self.session = session
        self.publication = self._publish(self)
        self.publication.stream.on_keyframe_request = self.request_keyframe

    def on_rtp(self, data: bytes, now: float) -> None:
        packet = rtp.parse(data)
        kind = self._kinds.get(packet.payload_type)
        if kind is None or self.publication is None:
            return
        self._now = now
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
        if self._timer is not None:
            self._timer.cancel()
        if self.publication is not None:
            self.publication.close(reason)

    # -- feedback --------------------------------------------------------------------------------

    def request_keyframe(self) -> None:
        """Send a picture loss indication, at most twice a second."""
        now = self._clock()
        ssrc = self._receivers["video"].ssrc
        if self.session is not None and ssrc and now - self._asked_at >= PLI_INTERVAL_S:
            self._asked_at = now
            self.session.send_rtcp(self._compound(now) + rtcp.serialize_pli(self._ssrc, ssrc))

    def every_second(self, now: float) -> None:
        if self.session is None:
            return
        ssrcs = [each.ssrc for each in self._receivers.values() if each.received]
        if ssrcs:
            remb = rtcp.serialize_remb(self._ssrc, REMB_BPS, ssrcs)
            self.session.send_rtcp(self._compound(now) + remb)
        if self._need_keyframe:
            self.request_keyframe()

    def _compound(self, now: float) -> bytes:
        blocks = [each.report(now) for each in self._receivers.values() if each.received]
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(self._ssrc, blocks))
        return report + rtcp.serialize_sdes(self._ssrc, "hawker")

    def _nack(self, ssrc: int, sequences: list[int]) -> None:
        if self.session is not None:
            nack = rtcp.serialize_nack(self._ssrc, ssrc, sequences)
            self.session.send_rtcp(self._compound(self._now) + nack)

    def _tick(self) -> None:
        self._timer = None
        self._now = self._clock()
        for receiver in self._receivers.values():
            receiver.tick(self._now)
        if any(receiver.waiting for receiver in self._receivers.values()):
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

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
            self.request_keyframe()
            return
        self._need_keyframe = False
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
        self._transport = transport
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
        medias, kinds = _accept(offer)

        def publication(publisher: WhipPublisher) -> Publication:
            return self._hub.publish(
                name,
                protocol="whip",
                remote=remote,
                on_close=lambda reason: self._transport.close(session, reason),
            )

        publisher = WhipPublisher(publication, kinds, self._transport.clock)
        session, answer = self._transport.accept(publisher, offer, medias)
        return session.id, answer

    def delete(self, resource: str) -> None:
        """End a publication; raises NotFound."""
        session = self._transport.sessions.get(resource)
        if session is None or not isinstance(session.handler, WhipPublisher):
            raise NotFound("no such WHIP session")
        self._transport.close(session, "publisher ended the session")

    def close(self) -> None:
        self._stop_sweep()

    def _every_second(self, now: float) -> None:
        for session in self._transport.sessions.values():
            if isinstance(session.handler, WhipPublisher):
                session.handler.every_second(now)


def _accept(offer: sdp.Offer) -> tuple[list[sdp.AnswerMedia | None], dict[int, Kind]]:
    medias: list[sdp.AnswerMedia | None] = []
    kinds: dict[int, Kind] = {}
    for media in offer.medias:
        payload_type: int | None = None
        kind: Kind = "video" if media.kind == "video" else "audio"
        sends = media.direction in ("sendonly", "sendrecv")
        if media.usable and sends and kind not in kinds.values():
            if media.kind == "video":
                payload_type = sdp.choose_h264(media)
            elif media.kind == "audio":
                payload_type = sdp.choose_opus(media)
        if payload_type is None:
            medias.append(None)
            continue
        kinds[payload_type] = kind
        codec = sdp.with_feedback(media.payloads[payload_type], FEEDBACK)
        medias.append(sdp.AnswerMedia("recvonly", {payload_type: codec}))
    return medias, kinds
