"""Stream ids: both forms, and what is said to the rest."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from mediaserver.errors import PeerError, ProtocolError
from mediaserver.ingest.srt.address import from_sockaddr, to_sockaddr
from mediaserver.ingest.srt.stream_id import CannotBeRead, stream_key


@pytest.mark.parametrize(
    ("stream_id", "key"),
    [
        ("publish:key_1", "key_1"),
        ("publish:a:b", "a:b"),
        ("#!::m=publish,r=key_1", "key_1"),
        ("#!::r=key_1,m=publish,u=host,s=7", "key_1"),
        ("#!::u=key_1, m=publish", "key_1"),
    ],
)
def test_the_key_is_found(stream_id: str, key: str) -> None:
    assert stream_key(stream_id) == key


@pytest.mark.parametrize(
    "stream_id", ["read:show", "request:x", "play:x", "#!::r=show", "#!::m=read"]
)
def test_who_wants_to_watch_is_told_where(stream_id: str) -> None:
    with pytest.raises(CannotBeRead, match="WebRTC or HLS"):
        stream_key(stream_id)


@pytest.mark.parametrize(
    "stream_id", ["", "key_1", "publish:", "publish", "#!::m=publish", "#!::m=bidir"]
)
def test_what_holds_no_key_is_told_the_form(stream_id: str) -> None:
    with pytest.raises(ProtocolError, match="publish:KEY"):
        stream_key(stream_id)


def test_any_text_is_a_key_or_the_peers_error() -> None:
    chance = random.Random(1)
    letters = "#!:,=mrus publish\0\ud800ü"
    for _ in range(20_000):
        text = "".join(chance.choices(letters, k=chance.randrange(20)))
        with suppress(PeerError):
            assert stream_key(chance.choice(("", "#!::", "publish:")) + text)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_socket_addresses_come_back(host: str) -> None:
    assert from_sockaddr(to_sockaddr(host, 8890).ljust(28, b"\0")) == (host, 8890)
