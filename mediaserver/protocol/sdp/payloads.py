"""The payload types of an m-line: rtpmap, fmtp, rtcp-fb (RFC 8866 §6.6, §6.15, RFC 4585 §4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mediaserver.errors import ProtocolError
from mediaserver.protocol.sdp.description import Codec
from mediaserver.protocol.sdp.lines import Section, parse_number

# RFC 3551 table 4: payload types that need no rtpmap.
_STATIC = {0: ("PCMU", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000), 13: ("CN", 8000)}


def parse_payloads(section: Section, formats: tuple[str, ...]) -> dict[int, Codec]:
    maps = _by_payload_type(section.all("rtpmap"))
    parameters = _by_payload_type(section.all("fmtp"))
    feedback: dict[str, set[str]] = {}
    for line in section.all("rtcp-fb"):
        payload_type, _, value = line.partition(" ")
        feedback.setdefault(payload_type, set()).add(" ".join(value.split()))
    everywhere = feedback.get("*", set())
    payloads: dict[int, Codec] = {}
    for text in formats:
        number = parse_number(text, 127)
        if number is None:
            raise ProtocolError("SDP with a malformed payload type")
        mapped = _rtpmap(maps[number]) if number in maps else None
        name, clock_rate, channels = mapped or (*_STATIC.get(number, ("", 0)), 1)
        if name and number not in payloads:
            payloads[number] = Codec(
                name,
                clock_rate,
                channels,
                _fmtp(parameters.get(number, "")),
                frozenset(everywhere | feedback.get(text, set())),
            )
    return payloads


def _by_payload_type(lines: Iterable[str]) -> dict[int, str]:
    values: dict[int, str] = {}
    for line in lines:
        text, _, value = line.partition(" ")
        payload_type = parse_number(text, 127)
        if payload_type is not None and value:
            values.setdefault(payload_type, value.strip())
    return values


def _rtpmap(value: str) -> tuple[str, int, int] | None:
    name, *numbers = value.split("/")
    clock_rate = parse_number(numbers[0], 1_000_000_000) if numbers else None
    channels = parse_number(numbers[1], 255) if len(numbers) > 1 else 1
    if not name or not clock_rate:
        return None
    return name, clock_rate, channels or 1


def _fmtp(value: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in value.split(";"):
        name, _, setting = part.partition("=")
        if name.strip():
            parameters.setdefault(name.strip().lower(), setting.strip())
    return parameters


def pair_rtx(payloads: Mapping[int, Codec]) -> dict[int, int]:
    rtx: dict[int, int] = {}
    for payload_type, codec in payloads.items():
        if codec.name.lower() == "rtx":
            original = parse_number(codec.fmtp.get("apt", ""), 127)
            if original is not None and original in payloads:
                rtx.setdefault(original, payload_type)
    return rtx
