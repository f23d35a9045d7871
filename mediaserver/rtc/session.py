"""One peer on the UDP port: ICE-lite credentials, DTLS, SRTP and data channels, until it closes.

Who closes whom: the transport owns its sessions; a session closes its data channels and its DTLS and
tells its handler once. Not connected within CONNECT_S, or no authenticated STUN for SILENT_S: closed.

An ICE restart (RFC 8445 §9) adds credentials and changes nothing else: DTLS, SRTP and RTP go on, to the
address that was selected, until a check with the new ones nominates another. The first check that
verifies with newer credentials ends the older ones.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Protocol

from mediaserver.errors import PeerError, ProtocolError
from mediaserver.protocol import rtcp, rtp
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.protocol.sdp_fragment import Credentials, Fragment, Section
from mediaserver.rtc.address import Address, shown
from mediaserver.rtc.compiled_records import Lane, Outlet
from mediaserver.rtc.dtls import Certificate, DataChannels, Dtls, DtlsRole, IcePath
from mediaserver.rtc.srtp import Srtp

log = logging.getLogger("hawker.rtc")

CONNECT_S = 10.0
SILENT_S = 30.0  # RFC 7675 §5.1: consent expires
ADDRESSES = 8  # per session: IPv4 and IPv6, UDP and TCP, and those of before a move
CREDENTIALS = 4  # per session: those in use, and of restarts that overlap
NO_OFFER = Fragment(sections=(Section("application 9 UDP/DTLS/SCTP 0"),), ice_lite=True)


class Handler(Protocol):
    """What a session's owner is told; `now` is monotonic seconds."""

    def on_connected(self, session: Session) -> None: ...
    def on_rtp(self, packet: RtpPacket, now: float) -> None: ...
    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None: ...
    def on_message(self, channel: int, data: str | bytes) -> None: ...
    def on_moved(self, address: Address) -> None: ...
    def on_closed(self, reason: str) -> None: ...


class Gone:
    """In the place of the handler of a session that has closed."""

    def on_connected(self, session: Session) -> None: ...
    def on_rtp(self, packet: RtpPacket, now: float) -> None: ...
    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None: ...
    def on_message(self, channel: int, data: str | bytes) -> None: ...
    def on_moved(self, address: Address) -> None: ...
    def on_closed(self, reason: str) -> None: ...


GONE = Gone()


class Session:
    """The state of one peer; made by `Transport.open`."""

    def __init__(
        self,
        handler: Handler,
        certificate: Certificate,
        role: DtlsRole,
        fingerprints: Sequence[tuple[str, str]],
        send: Callable[[bytes, Address], None],
        close: Callable[[Session, str], None],
        now: float,
        sctp: tuple[int, int] | None,
    ) -> None:
        self.id = secrets.token_urlsafe(16)  # who knows it may end the session
        self.label = self.id[:6]  # for the log
        # Passwords by ufrag: first those in use, then those of restarts that no check has used yet.
        self.passwords: dict[str, str] = {}
        self._add_credentials()
        self.peer: Credentials | None = None  # the peer's; other ones are an ICE restart
        self.fragment = NO_OFFER  # what an ICE restart repeats of the answer
        self.handler = handler
        self.role = role
        self.address: Address | None = None
        self.addresses: deque[Address] = deque()
        self.srtp: Srtp | None = None
        self.channels: DataChannels | None = None
        self.opened_at = self.last_stun = now
        self._fingerprints = list(fingerprints)
        self._send_datagram = send
        self._close = close
        self._sctp = sctp
        self._path = IcePath(self.send)
        self._dtls = Dtls(self._path, certificate, role, self._on_dtls_closed)
        self._reachable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connecting: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(
            self._connect(), name=f"rtc {self.label}"
        )

    @property
    def ufrag(self) -> str:
        """Our newest username fragment, which names the ICE session."""
        return next(reversed(self.passwords))

    @property
    def password(self) -> str:
        return self.passwords[self.ufrag]

    def restart_ice(self, peer: Credentials) -> list[str]:
        """New credentials for the peer's new ones; returns ufrags that fell out of the bounded list."""
        self.peer = peer
        self._add_credentials()
        if len(self.passwords) <= CREDENTIALS:
            return []
        _, oldest, *_ = self.passwords  # the first are in use
        del self.passwords[oldest]
        return [oldest]

    def on_verified(self, ufrag: str) -> list[str]:
        """A check verified with this ufrag of ours; returns the older ones, which have ended."""
        older = list(takewhile(lambda each: each != ufrag, self.passwords))
        for each in older:
            del self.passwords[each]
        return older

    def send(self, data: bytes) -> None:
        """Send one finished datagram to the selected address; dropped while there is none."""
        if self.address is not None:
            self._send_datagram(data, self.address)

    def on_check(self, address: Address, nominated: bool, now: float) -> list[Address]:
        """A verified connectivity check; returns the addresses that fell out of the bounded list."""
        self.last_stun = now
        dropped: list[Address] = []
        if address not in self.addresses:
            self.addresses.append(address)
            if len(self.addresses) > ADDRESSES:
                oldest = next(each for each in self.addresses if each != self.address)
                self.addresses.remove(oldest)
                dropped.append(oldest)
        if self.address is None:
            self.address = address
            self._reachable.set_result(None)
        elif nominated and address != self.address:
            log.info("session %s moved to %s", self.label, shown(address))
            self.address = address
            if self._dtls.lane is not None:
                self._dtls.lane.move(address)
            self.handler.on_moved(address)
        return dropped

    def on_dtls(self, data: bytes) -> None:
        self._path.feed(data)

    def pave(self, outlet: Outlet) -> Lane | None:
        """The lane of its data channels, to the selected address; None without."""
        if self.channels is None or self.address is None:
            return None
        return self.channels.pave(outlet, self.address)

    def on_srtp(self, data: bytes, now: float) -> None:
        """Hand on the RTP or RTCP inside; raises ProtocolError when it is not from this peer."""
        if self.srtp is None:
            return
        if 192 <= data[1] <= 223:
            self.handler.on_rtcp(rtcp.parse(self.srtp.unprotect_rtcp(data)), now)
        else:
            self.handler.on_rtp(rtp.parse(self.srtp.unprotect(data)), now)

    def send_rtcp(self, compound: bytes) -> None:
        if self.srtp is not None:
            self.send(self.srtp.protect_rtcp(compound))

    def overdue(self, now: float) -> str | None:
        """Why this session should be closed now, if it should."""
        if self.srtp is None and now - self.opened_at > CONNECT_S:
            return "not connected in time"
        if now - self.last_stun > SILENT_S:
            return "silent"
        return None

    async def goodbye(self, reason: str) -> None:
        """End the session and tell the peer; the transport has forgotten it already.

        Who knew whom is let go, so that nothing is left for the collector of cycles to find.
        """
        handler, self.handler = self.handler, GONE
        handler.on_closed(reason)
        connecting, self._connecting = self._connecting, None
        if connecting is not None and not connecting.done():
            connecting.cancel()
            await asyncio.wait([connecting])
        if self.channels is not None:
            await self.channels.stop()
            self.channels = None
        await self._dtls.stop()
        self._path.close()

    def _add_credentials(self) -> None:
        # RFC 8839 §5.4: at least 24 and 128 random bits, of letters and digits
        self.passwords[secrets.token_hex(6)] = secrets.token_hex(16)

    async def _connect(self) -> None:
        try:
            await self._reachable
            keys = await self._dtls.connect(self._fingerprints)
            if keys is None:
                raise ProtocolError("DTLS handshake failed")
            self.srtp = Srtp(keys)
            if self._sctp is not None:
                self.channels = DataChannels(self._dtls, self.handler.on_message)
            self.handler.on_connected(self)
            if self.channels is not None and self._sctp is not None:
                await self.channels.start(*self._sctp)
        except (PeerError, ConnectionError) as exc:
            self._close(self, str(exc))

    def _on_dtls_closed(self) -> None:
        self._close(self, "peer closed")
