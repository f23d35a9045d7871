"""Counting viewers of a protocol that has no sessions."""

from __future__ import annotations

from mediaserver.egress.hls_viewers import SEEN_S, HlsViewers


def test_a_viewer_counts_once_and_until_it_stops_asking() -> None:
    now = 100.0
    viewers = HlsViewers(lambda: now)
    for _ in range(3):
        viewers.seen("show", "token-1")
    viewers.seen("show", "token-2")
    viewers.seen("other", "token-1")
    assert (viewers.count("show"), viewers.count("other"), viewers.total()) == (2, 1, 3)
    now += SEEN_S - 1
    viewers.seen("show", "token-2")
    now += 2
    assert (viewers.count("show"), viewers.count("other"), viewers.total()) == (1, 0, 1)


def test_what_is_kept_of_a_viewer_is_no_token() -> None:
    viewers = HlsViewers()
    viewers.seen("show", "secret-token")
    assert "secret-token" not in repr(vars(viewers))
