"""Reading an offer (or an answer): m-lines with what the session and their bundle give them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import cast

from mediaserver.errors import ProtocolError
from mediaserver.protocol.sdp.description import (
    DATA_PROTOCOLS,
    DEFAULT_MAX_MESSAGE_BYTES,
    RTP_PROTOCOLS,
    Candidate,
    Direction,
    Offer,
    OfferMedia,
)
from mediaserver.protocol.sdp.lines import (
    MAX_MEDIAS,
    Section,
    parse_number,
    split_lines,
    split_sections,
)
from mediaserver.protocol.sdp.payloads import pair_rtx, parse_payloads

MAX_PAYLOAD_TYPES = 128  # seven bits
MAX_CANDIDATES = 64  # of one m-line: more addresses than any host has
MAX_SSRCS = 64
MAX_EXTMAPS = 64
MAX_FINGERPRINTS = 16
MAX_RIDS = 16
MAX_ICE_BYTES = 256  # ufrag and pwd (RFC 8839 §5.4)
_MUX = frozenset(("rtcp-mux", "rtcp-mux-only"))  # RFC 5761 §5.1.1, RFC 8858
_DIRECTIONS = frozenset(("sendrecv", "sendonly", "recvonly", "inactive"))
_MID = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}").fullmatch
_FINGERPRINT = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2}){15,63}").fullmatch


def parse(text: str | bytes) -> Offer:
    """Read an offer or an answer; ProtocolError if it is not SDP or exceeds a limit."""
    lines = split_lines(text)
    if not lines or lines[0] != "v=0":
        raise ProtocolError("SDP does not begin with v=0")
    session, sections = split_sections(lines)
    if not sections:
        raise ProtocolError("SDP without an m-line")
    origin = next((line for line in lines if line.startswith("o=")), "").split(" ")
    bundle = _bundle(session)
    mids = [_mid(section) for section in sections]
    named = [mid for mid in mids if mid]
    if len(set(named)) != len(named):
        raise ProtocolError("SDP with the same mid twice")
    # RFC 8843 §7.1.3: what belongs to the transport may stand in the first bundled section alone.
    tagged = [section for section, mid in zip(sections, mids, strict=True) if mid in bundle[:1]]
    medias = []
    for index, (section, mid) in enumerate(zip(sections, mids, strict=True)):
        bundled = mid in bundle if bundle else index == 0
        transport = [section, session, *(tagged if bundled else ())]
        medias.append(_media(section, session, transport, mid, bundled))
    return Offer(
        session_id=origin[1] if len(origin) > 1 else "",
        bundle=bundle,
        ice_lite="ice-lite" in session.attributes,
        ice_options=frozenset(session.first("ice-options").split()),
        medias=tuple(medias),
    )


def _bundle(session: Section) -> tuple[str, ...]:
    for group in session.all("group"):
        kind, *mids = group.split()[: MAX_MEDIAS + 1] or ("",)
        if kind == "BUNDLE":
            return tuple(mids)
    return ()


def _mid(section: Section) -> str:
    if "mid" not in section.attributes:
        return ""
    mid = section.first("mid")
    if not _MID(mid):
        raise ProtocolError("SDP with a malformed mid")
    return mid


def _media(
    section: Section, session: Section, transport: Sequence[Section], mid: str, bundled: bool
) -> OfferMedia:
    kind, port, protocol, formats = _media_line(section.media)
    stopped = port == 0 and "bundle-only" not in section.attributes
    payloads = parse_payloads(section, formats) if protocol in RTP_PROTOCOLS else {}
    ssrcs, cname = _ssrcs(section)
    return OfferMedia(
        kind=kind,
        mid=mid,
        port=port,
        protocol=protocol,
        formats=formats,
        direction=_direction(section, session),
        payloads=payloads,
        rtx=pair_rtx(payloads),
        ssrcs=ssrcs,
        rtx_ssrcs=_rtx_ssrcs(section),
        cname=cname,
        extmaps=_extmaps((section, session)),
        ice_ufrag=_ice(transport, "ice-ufrag"),
        ice_pwd=_ice(transport, "ice-pwd"),
        fingerprints=_fingerprints(transport),
        setup=_inherited(transport, "setup").lower(),
        candidates=tuple(_candidates(section.all("candidate"))),
        end_of_candidates="end-of-candidates" in section.attributes,
        rids=_rids(section),
        simulcast=_simulcast(section),
        # RFC 8859: both are of category IDENTICAL, so may stand in the tagged section alone.
        rtcp_mux=any(part.attributes.keys() & _MUX for part in transport),
        rtcp_mux_only=any("rtcp-mux-only" in part.attributes for part in transport),
        rtcp_rsize="rtcp-rsize" in section.attributes or "rtcp-rsize" in session.attributes,
        bundled=bundled and not stopped,
        sctp_port=_sctp_port(section, protocol, formats),
        max_message_size=_max_message_size(section),
    )


def _media_line(line: str) -> tuple[str, int, str, tuple[str, ...]]:
    fields = line.split()
    if len(fields) < 4 or len(fields) - 3 > MAX_PAYLOAD_TYPES:
        raise ProtocolError("SDP with a malformed m-line")
    port = parse_number(fields[1].partition("/")[0], 0xFFFF)
    if port is None:
        raise ProtocolError("SDP with a malformed port")
    protocol = fields[2].upper()
    known = protocol in RTP_PROTOCOLS or protocol in DATA_PROTOCOLS
    return fields[0], port, protocol if known else fields[2], tuple(fields[3:])


def _inherited(parts: Sequence[Section], name: str) -> str:
    return next((part.first(name) for part in parts if name in part.attributes), "")


def _ice(parts: Sequence[Section], name: str) -> str:
    value = _inherited(parts, name)
    if len(value) > MAX_ICE_BYTES:
        raise ProtocolError(f"SDP with an {name} too long")
    return value


def _fingerprints(parts: Sequence[Section]) -> tuple[tuple[str, str], ...]:
    values = next((part.all("fingerprint") for part in parts if part.all("fingerprint")), [])
    if len(values) > MAX_FINGERPRINTS:
        raise ProtocolError("SDP with too many fingerprints")
    fingerprints = []
    for value in values:
        algorithm, _, digest = value.partition(" ")
        digest = digest.strip().upper()
        if not _FINGERPRINT(digest):
            raise ProtocolError("SDP with a malformed fingerprint")
        fingerprints.append((algorithm.lower(), digest))
    return tuple(fingerprints)


def _direction(section: Section, session: Section) -> Direction:
    for part in (section, session):
        for name in part.attributes:
            if name in _DIRECTIONS:
                return cast(Direction, name)
    return "sendrecv"


def _ssrcs(section: Section) -> tuple[tuple[int, ...], str]:
    ssrcs: dict[int, None] = {}
    cname = ""
    for line in section.all("ssrc"):
        text, _, attribute = line.partition(" ")
        ssrc = parse_number(text, 0xFFFF_FFFF)
        if ssrc is None:
            continue
        ssrcs[ssrc] = None
        if len(ssrcs) > MAX_SSRCS:
            raise ProtocolError("SDP with too many SSRCs")
        name, _, value = attribute.partition(":")
        if name == "cname" and not cname:
            cname = value
    return tuple(ssrcs), cname


def _rtx_ssrcs(section: Section) -> dict[int, int]:
    pairs: dict[int, int] = {}
    for line in section.all("ssrc-group")[:MAX_SSRCS]:
        semantics, *texts = line.split()[:3] or ("",)
        ssrcs = [ssrc for text in texts if (ssrc := parse_number(text, 0xFFFF_FFFF)) is not None]
        if semantics == "FID" and len(ssrcs) == 2:
            pairs.setdefault(ssrcs[0], ssrcs[1])
    return pairs


def _extmaps(parts: Iterable[Section]) -> dict[str, int]:
    extmaps: dict[str, int] = {}
    for part in parts:
        lines = part.all("extmap")
        if len(lines) > MAX_EXTMAPS:
            raise ProtocolError("SDP with too many header extensions")
        for line in lines:
            identifier, uri, *_ = [*line.split()[:2], "", ""]
            # RFC 8285 §5: 1 to 14, or to 255 in the two-byte form; a direction may follow.
            number = parse_number(identifier.partition("/")[0], 255)
            if number and uri:
                extmaps.setdefault(uri, number)
    return extmaps


def _candidates(lines: Iterable[str]) -> list[Candidate]:
    candidates = []
    for line in lines:
        fields = line.split()
        if len(fields) < 8 or fields[6] != "typ":
            continue
        foundation, _, protocol, _, address, _, _, kind, *rest = fields
        component, priority, port = (
            parse_number(fields[1], 256),
            parse_number(fields[3], 0xFFFF_FFFF),
            parse_number(fields[5], 0xFFFF),
        )
        if component is None or priority is None or port is None:
            continue
        options = dict(zip(rest[::2], rest[1::2], strict=False))
        candidates.append(
            Candidate(
                address,
                port,
                priority,
                foundation,
                component,
                protocol.lower(),
                kind,
                options.get("tcptype", ""),
            )
        )
        if len(candidates) > MAX_CANDIDATES:
            raise ProtocolError("SDP with too many candidates")
    return candidates


def _rids(section: Section) -> tuple[tuple[str, str], ...]:
    rids = []
    for line in section.all("rid"):
        rid, direction, *_ = [*line.split()[:2], "", ""]
        if re.fullmatch(r"[A-Za-z0-9_-]{1,255}", rid) and direction in ("send", "recv"):
            rids.append((rid, direction))
    if len(rids) > MAX_RIDS:
        raise ProtocolError("SDP with too many rids")
    return tuple(rids)


def _simulcast(section: Section) -> tuple[str, ...]:
    fields = section.first("simulcast").split()
    for direction, streams in zip(fields[::2], fields[1::2], strict=False):
        if direction == "send":
            # RFC 8853 §5.1: alternatives stand behind commas, paused streams behind a tilde.
            # Drafts before it wrote `rid=` in front of all.
            first = streams.removeprefix("rid=")
            layers = [stream.split(",")[0].lstrip("~") for stream in first.split(";")]
            return tuple(layer for layer in layers if layer)[:MAX_RIDS]
    return ()


def _sctp_port(section: Section, protocol: str, formats: tuple[str, ...]) -> int | None:
    if protocol not in DATA_PROTOCOLS:
        return None
    # Before RFC 8841 the port was the format, with an a=sctpmap.
    text = section.first("sctp-port") or formats[0]
    return parse_number(text, 0xFFFF)


def _max_message_size(section: Section) -> int:
    size = parse_number(section.first("max-message-size"), 1 << 62)
    return DEFAULT_MAX_MESSAGE_BYTES if size is None else size
