"""Writing the answer: one decision for each m-line of the offer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mediaserver.errors import ProtocolError
from mediaserver.protocol.sdp.description import (
    AnswerMedia,
    Candidate,
    Codec,
    Offer,
    OfferMedia,
    Setup,
)


def setup_for(offered: str) -> Setup:
    """Our DTLS role (RFC 8842 §5): passive, the server, wherever the offer leaves the choice."""
    roles: dict[str, Setup] = {
        "actpass": "passive",
        "active": "passive",
        "passive": "active",
        "": "passive",  # RFC 4145 §4: the default is active
    }
    if offered not in roles:
        raise ProtocolError("SDP with a setup that makes no connection")
    return roles[offered]


ICE_OPTIONS = frozenset({"ice2", "trickle"})  # RFC 8839 §5.6, RFC 8840 §4.1.3


def write_answer(
    offer: Offer,
    medias: Sequence[AnswerMedia | None],
    *,
    session_id: int,
    ice_ufrag: str,
    ice_pwd: str,
    fingerprint: str,
    setup: Setup,
    candidates: Sequence[Candidate],
    cname: str = "",
    stream_id: str = "",
    version: int = 1,
    ice_lite: bool = True,
) -> str:
    """The answer; `medias` stands beside `offer.medias`, None where an m-line is rejected.

    Only m-lines that are `usable` may be accepted. `fingerprint` is the SHA-256 of our
    certificate, `AA:BB:...`; `stream_id` and `cname` are one for all tracks, so that the player
    keeps them in step. Candidates stand in the first accepted section (RFC 8843 §7.1.3).
    """
    accepted = [
        media.mid
        for media, answer in zip(offer.medias, medias, strict=True)
        if answer is not None and media.mid
    ]
    lines = ["v=0", f"o=- {session_id} {version} IN IP4 0.0.0.0", "s=-", "t=0 0"]
    if ice_lite:
        lines.append("a=ice-lite")
    if options := sorted(offer.ice_options & ICE_OPTIONS):
        lines.append("a=ice-options:" + " ".join(options))
    if accepted:
        if offer.bundle:
            lines.append("a=group:BUNDLE " + " ".join(accepted))
        lines.append(f"a=msid-semantic: WMS {stream_id}".rstrip())
    transport = [
        f"a=ice-ufrag:{ice_ufrag}",
        f"a=ice-pwd:{ice_pwd}",
        f"a=fingerprint:sha-256 {fingerprint}",
        f"a=setup:{setup}",
    ]
    gathered = [*map(_candidate_line, candidates), "a=end-of-candidates"]
    for media, answer in zip(offer.medias, medias, strict=True):
        if answer is None:
            lines += _rejected(media)
            continue
        lines += _accepted(media, answer, cname, stream_id, transport + gathered)
        gathered = []
    return "\r\n".join(lines) + "\r\n"


def _rejected(media: OfferMedia) -> list[str]:
    lines = [f"m={media.kind} 0 {media.protocol} {' '.join(media.formats)}", "c=IN IP4 0.0.0.0"]
    if media.mid:
        lines.append(f"a=mid:{media.mid}")
    return [*lines, "a=inactive"]


def _accepted(
    media: OfferMedia, answer: AnswerMedia, cname: str, stream_id: str, transport: list[str]
) -> list[str]:
    formats = media.formats if media.is_data else map(str, answer.payloads)
    lines = [f"m={media.kind} 9 {media.protocol} {' '.join(formats)}", "c=IN IP4 0.0.0.0"]
    if media.mid:
        lines.append(f"a=mid:{media.mid}")
    lines += transport
    if media.is_data:
        port = f"a=sctp-port:{media.sctp_port or 5000}"
        return [*lines, port, f"a=max-message-size:{answer.max_message_size}"]
    lines += (f"a={answer.direction}", "a=rtcp-mux")
    if media.rtcp_mux_only:  # RFC 9725 §4.4
        lines.append("a=rtcp-mux-only")
    if media.rtcp_rsize:
        lines.append("a=rtcp-rsize")
    lines += (f"a=extmap:{identifier} {uri}" for uri, identifier in answer.extmaps.items())
    for payload_type, codec in answer.payloads.items():
        lines += _codec_lines(payload_type, codec)
    if answer.rids:
        lines += (f"a=rid:{rid} recv" for rid in answer.rids)
        lines.append("a=simulcast:recv " + ";".join(answer.rids))
    if answer.ssrc is not None and answer.direction in ("sendrecv", "sendonly"):
        lines += _source_lines(media, answer.ssrc, answer.rtx_ssrc, cname, stream_id)
    return lines


def _codec_lines(payload_type: int, codec: Codec) -> Iterator[str]:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    yield f"a=rtpmap:{payload_type} {codec.name}/{codec.clock_rate}{channels}"
    yield from (f"a=rtcp-fb:{payload_type} {kind}" for kind in sorted(codec.rtcp_fb))
    if codec.fmtp:
        settings = (f"{name}={value}" if value else name for name, value in codec.fmtp.items())
        yield f"a=fmtp:{payload_type} " + ";".join(settings)


def _source_lines(
    media: OfferMedia, ssrc: int, rtx_ssrc: int | None, cname: str, stream_id: str
) -> Iterator[str]:
    msid = f"{stream_id or '-'} {media.kind}"
    yield f"a=msid:{msid}"
    sources = [ssrc]
    if rtx_ssrc is not None:
        yield f"a=ssrc-group:FID {ssrc} {rtx_ssrc}"
        sources.append(rtx_ssrc)
    for source in sources:
        yield f"a=ssrc:{source} cname:{cname}"
        yield f"a=ssrc:{source} msid:{msid}"


def _candidate_line(candidate: Candidate) -> str:
    line = (
        f"a=candidate:{candidate.foundation} {candidate.component} {candidate.protocol}"
        f" {candidate.priority} {candidate.address} {candidate.port} typ {candidate.type}"
    )
    return f"{line} tcptype {candidate.tcp_type}" if candidate.tcp_type else line
