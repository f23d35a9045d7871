"""One viewer's stream of retransmissions (RFC 4588): its own numbers on an SSRC of its own.

An index is spent before it is sealed, whether the packet leaves or not: under one key it is never used
for other bytes.
"""

from __future__ import annotations

import secrets

from mediaserver.protocol import rtp_rtx
from mediaserver.rtc.address import Address
from mediaserver.rtc.sender import OutPacket, Route
from mediaserver.rtc.srtp import Srtp


class Rtx:
    """Wraps packets of any layer, for NACKs and for probes alike."""

    __slots__ = ("_next_index", "payload_type", "route", "ssrc")

    def __init__(self, srtp: Srtp, address: Address, payload_type: int, ssrc: int) -> None:
        # in the lower half, as Line: so that a viewer that loses the first guesses roll-over 0
        self._next_index = secrets.randbelow(0x4000) + 1
        self.payload_type = payload_type
        self.ssrc = ssrc
        self.route = Route(srtp, address, self._next_index)

    def wrap(self, packet: OutPacket, offset: int) -> OutPacket:
        """`packet` under the next number, which is thereby spent."""
        index = self._next_index
        self._next_index = index + 1
        payload = rtp_rtx.serialize(packet.index + offset, packet.payload, packet.padding)
        return OutPacket(
            index, packet.timestamp, payload, packet.marker, False, packet.at, packet.media_s, False
        )
