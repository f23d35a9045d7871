"""SCTP acknowledgements as browsers send them: for every second packet, or after 200 ms (RFC 9260 §6.2).

aiortc acknowledges each packet at once, which doubles what a server has to read. Private seams of
`RTCSctpTransport`: `_send_sack`, `_sack_needed`, `_sack_misordered`, `_sack_duplicates`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from mediaserver.rtc.dtls import DataChannels
from mediaserver.rtc.sctp import finish

DELAY_S = 0.2


class DelayedAcks:
    """Stands between an association's receiver and its acknowledgements."""

    def __init__(self, channels: DataChannels) -> None:
        sctp: Any = channels._sctp
        self._sctp = sctp
        self._send = sctp._send_sack
        self._timer: asyncio.TimerHandle | None = None
        sctp._send_sack = self._ack

    async def _ack(self) -> None:
        sctp = self._sctp
        if self._timer is None and not sctp._sack_misordered and not sctp._sack_duplicates:
            sctp._sack_needed = False
            self._timer = asyncio.get_running_loop().call_later(DELAY_S, self._late)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._send()

    def _late(self) -> None:
        self._timer = None
        with contextlib.suppress(ConnectionError):
            finish(self._send())
