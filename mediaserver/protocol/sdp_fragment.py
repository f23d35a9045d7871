"""ICE without the rest of SDP: application/trickle-ice-sdpfrag (RFC 8840 §9), the body of a PATCH on a
WHIP or WHEP session (RFC 9725 §4.3).

Its pseudo m-lines only say by their mid which section of the offer they stand for. All of them share
one transport here, so credentials may stand anywhere, and two that differ are malformed. What is not
about ICE is ignored (§9.2); what breaks the grammar or exceeds a limit is a ProtocolError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from mediaserver.errors import ProtocolError
from mediaserver.protocol.sdp import Candidate

MEDIA_TYPE = "application/trickle-ice-sdpfrag"

MAX_FRAGMENT_BYTES = 16 << 10  # a browser on six interfaces sends 3 KiB
MAX_LINES = 512
MAX_SECTIONS = 16
MAX_CANDIDATES = 64  # of the whole fragment: more addresses than any host has
MAX_TOKENS = 16  # of a=group and a=ice-options

# RFC 8839 §5.4 has letters, digits, + and /; the others are what stacks make of base64.
_ICE_CHARS = r"[A-Za-z0-9+/=_#-]"
_UFRAG = re.compile(_ICE_CHARS + "{4,256}").fullmatch
_PASSWORD = re.compile(_ICE_CHARS + "{22,256}").fullmatch
_FOUNDATION = re.compile(_ICE_CHARS + "{1,32}").fullmatch
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}").fullmatch  # RFC 8866 §9
_ADDRESS = re.compile(r"[A-Za-z0-9.:%_-]{1,253}").fullmatch  # an address or an mDNS name
_DIGITS = re.compile(r"[0-9]{1,10}").fullmatch
_LINE = re.compile(r"[a-z]=[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch
_MEDIA = re.compile(r"[!-~]{1,64}").fullmatch


@dataclass(frozen=True, slots=True)
class Credentials:
    """One side's username fragment and password; a change of them is an ICE restart."""

    ufrag: str
    password: str


@dataclass(frozen=True, slots=True)
class Section:
    """A pseudo m-line: `media` is what stands behind `m=`, `mid` is empty when absent."""

    media: str
    mid: str = ""
    candidates: tuple[Candidate, ...] = ()
    end_of_candidates: bool = False


@dataclass(frozen=True, slots=True)
class Fragment:
    """`bundle` is the mids of the BUNDLE group, `end_of_candidates` that of the whole session."""

    credentials: Credentials | None = None
    sections: tuple[Section, ...] = ()
    bundle: tuple[str, ...] = ()
    ice_lite: bool = False
    ice_options: tuple[str, ...] = ()
    end_of_candidates: bool = False

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(each for section in self.sections for each in section.candidates)


@dataclass(slots=True)
class _Attributes:
    """Those of the session part (`media` is empty) or of one section, in order."""

    media: str
    values: dict[str, list[str]] = field(default_factory=dict)

    def first(self, name: str) -> str:
        return self.values.get(name, [""])[0]


def parse(body: bytes) -> Fragment:
    """Read a fragment; raises ProtocolError."""
    session, *sections = _parts(_lines(body))
    if "candidate" in session.values:
        raise ProtocolError("a candidate stands before the first m-line")
    if sum(len(part.values.get("candidate", ())) for part in sections) > MAX_CANDIDATES:
        raise ProtocolError(f"more than {MAX_CANDIDATES} candidates")
    return Fragment(
        credentials=_credentials([session, *sections]),
        sections=tuple(map(_section, sections)),
        bundle=_bundle(session),
        ice_lite="ice-lite" in session.values,
        ice_options=_tokens(session.first("ice-options")),
        end_of_candidates="end-of-candidates" in session.values,
    )


def serialize(fragment: Fragment) -> bytes:
    """Write a fragment; credentials stand in the first section, or else with the session."""
    lines = ["a=ice-lite"] if fragment.ice_lite else []
    if fragment.ice_options:
        lines.append("a=ice-options:" + " ".join(fragment.ice_options))
    if fragment.bundle:
        lines.append("a=group:BUNDLE " + " ".join(fragment.bundle))
    if fragment.end_of_candidates:
        lines.append("a=end-of-candidates")
    credentials = _credential_lines(fragment.credentials)
    if not fragment.sections:
        lines += credentials
    for section in fragment.sections:
        lines += _section_lines(section, credentials)
        credentials = []
    return "".join(f"{line}\r\n" for line in lines).encode()


def _lines(body: bytes) -> list[str]:
    if len(body) > MAX_FRAGMENT_BYTES:
        raise ProtocolError(f"a fragment has at most {MAX_FRAGMENT_BYTES} bytes")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("the fragment is not UTF-8") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if not any(lines):
        raise ProtocolError("the fragment is empty")
    if len(lines) > MAX_LINES:
        raise ProtocolError(f"more than {MAX_LINES} lines")
    for line in lines:
        if line and not _LINE(line):
            raise ProtocolError("a line is no <letter>=<value>")
    return [line for line in lines if line]


def _parts(lines: Iterable[str]) -> list[_Attributes]:
    parts = [_Attributes("")]
    for line in lines:
        value = line[2:]
        if line.startswith("m="):
            parts.append(_Attributes(_media(value)))
        elif line.startswith("a="):
            name, _, value = value.partition(":")
            parts[-1].values.setdefault(name.strip(), []).append(value.strip())
    if len(parts) > MAX_SECTIONS + 1:
        raise ProtocolError(f"more than {MAX_SECTIONS} m-lines")
    return parts


def _media(value: str) -> str:
    fields = value.split()
    if len(fields) < 4 or not all(map(_MEDIA, fields)):
        raise ProtocolError("an m-line is malformed")
    return " ".join(fields)


def _section(part: _Attributes) -> Section:
    mid = part.first("mid")
    if "mid" in part.values and not _TOKEN(mid):
        raise ProtocolError("a mid is malformed")
    candidates = tuple(map(_candidate, part.values.get("candidate", ())))
    return Section(part.media, mid, candidates, "end-of-candidates" in part.values)


def _credentials(parts: list[_Attributes]) -> Credentials | None:
    ufrags = {each for part in parts for each in part.values.get("ice-ufrag", ())}
    passwords = {each for part in parts for each in part.values.get("ice-pwd", ())}
    if not ufrags and not passwords:
        return None
    if len(ufrags) != 1 or len(passwords) != 1:
        raise ProtocolError("ice-ufrag and ice-pwd must stand together, and only one of each")
    (ufrag,), (password,) = ufrags, passwords
    if not _UFRAG(ufrag) or not _PASSWORD(password):
        raise ProtocolError("ice-ufrag has 4 to 256 characters, ice-pwd 22 to 256 (RFC 8839 §5.4)")
    return Credentials(ufrag, password)


def _bundle(session: _Attributes) -> tuple[str, ...]:
    for group in session.values.get("group", ()):
        semantics, _, mids = group.partition(" ")
        if semantics == "BUNDLE":
            return _tokens(mids)
    return ()


def _tokens(text: str) -> tuple[str, ...]:
    tokens = tuple(text.split())
    if len(tokens) > MAX_TOKENS or not all(map(_TOKEN, tokens)):
        raise ProtocolError("a=group or a=ice-options is malformed")
    return tokens


def _candidate(value: str) -> Candidate:
    """RFC 8839 §5.1; of its extensions only tcptype is kept."""
    fields = value.split()
    if len(fields) < 8 or fields[6].lower() != "typ":
        raise ProtocolError("a candidate is malformed")
    foundation, component, protocol, priority, address, port, _, kind, *rest = fields
    words = _FOUNDATION(foundation), _TOKEN(protocol), _ADDRESS(address), _TOKEN(kind)
    tcp_type = dict(zip(rest[::2], rest[1::2], strict=False)).get("tcptype", "")
    if not all(words) or (tcp_type and not _TOKEN(tcp_type)):
        raise ProtocolError("a candidate is malformed")
    return Candidate(
        address=address,
        port=_number(port, 0, 0xFFFF),
        priority=_number(priority, 1, 0xFFFF_FFFF),
        foundation=foundation,
        component=_number(component, 1, 256),
        protocol=protocol.lower(),
        type=kind,
        tcp_type=tcp_type,
    )


def _number(text: str, least: int, most: int) -> int:
    if not _DIGITS(text) or not least <= int(text) <= most:
        raise ProtocolError("a number of a candidate is out of its range")
    return int(text)


def _credential_lines(credentials: Credentials | None) -> list[str]:
    if credentials is None:
        return []
    return [f"a=ice-ufrag:{credentials.ufrag}", f"a=ice-pwd:{credentials.password}"]


def _section_lines(section: Section, credentials: list[str]) -> list[str]:
    lines = [f"m={section.media}"]
    if section.mid:
        lines.append(f"a=mid:{section.mid}")
    lines += [*credentials, *map(_candidate_line, section.candidates)]
    return [*lines, "a=end-of-candidates"] if section.end_of_candidates else lines


def _candidate_line(candidate: Candidate) -> str:
    line = (
        f"a=candidate:{candidate.foundation} {candidate.component} {candidate.protocol}"
        f" {candidate.priority} {candidate.address} {candidate.port} typ {candidate.type}"
    )
    return f"{line} tcptype {candidate.tcp_type}" if candidate.tcp_type else line
