"""`hawker load`: real publishers, viewers, buyers and chatters against a running node.

Publishers send the benchmarks' picture by RTMP; viewers speak DTLS, SRTP and RTCP, ask for what they
miss and report back; HLS viewers fetch playlists and segments as a player does; buyers order and pay
with the sandbox's test card over HTTP, WebSocket and data channel in turn; chatters hear themselves.
All join one after the other. Exits with 0 when nothing failed.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run it; SystemExit with 2 for a wrong command line."""
    from benchmarks.load.run import main as run  # `hawker bench --list` need not wait for it

    return run(argv)
