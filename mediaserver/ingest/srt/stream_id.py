"""The stream id of an SRT caller: what it wants, and with which key.

Two forms: `publish:KEY`, and the keys and values of SRT's access control guidelines, such as
`#!::m=publish,r=KEY`. There `r` is the key, or `u` where there is no `r`; the rest is left aside.
"""

from __future__ import annotations

from mediaserver.errors import PeerError, ProtocolError

MAX_BYTES = 512  # libsrt takes no more
_PUBLISH = "publish"
_STANDARD = "#!::"
_READING = frozenset({"read", "request", "play"})
_FORM = "set the stream id to publish:KEY"


class CannotBeRead(PeerError):
    status = 405
    code = "bad_mode"
    title = "Not to be had by SRT"


def stream_key(stream_id: str) -> str:
    """The key with which this caller wants to publish.

    Raises CannotBeRead for one that wants to watch, ProtocolError for what is in neither form.
    """
    if stream_id.startswith(_STANDARD):
        mode, key = _parse_standard(stream_id.removeprefix(_STANDARD))
    else:
        mode, _, key = stream_id.partition(":")
    if mode in _READING:
        raise CannotBeRead("SRT is for publishing here; watch by WebRTC or HLS")
    if mode != _PUBLISH or not key:
        raise ProtocolError(f"a stream id without a key: {_FORM}")
    return key


def _parse_standard(text: str) -> tuple[str, str]:
    pairs = (each.partition("=") for each in text.split(","))
    values = {name.strip(): value.strip() for name, _, value in pairs}
    return values.get("m", "request"), values.get("r") or values.get("u", "")
