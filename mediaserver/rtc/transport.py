"""The one port, UDP and TCP: datagrams told apart by address, then by first byte (RFC 7983).

ICE-lite (RFC 8445 §2.5): checks are answered, never sent. An unknown address is only ever learnt from
a Binding request whose MESSAGE-INTEGRITY verifies; everything else from it is dropped and counted, and
nothing here logs per datagram. Only first bytes 20-63 reach aiortc, never an empty datagram.

Whatever comes in, the loop is read to for READ_SLICE_S of a turn, so that a flood shares it with what
is sent. Over TCP (`ice_tcp`) a session is what it is over UDP; a nomination moves it to the other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mediaserver.errors import NotAcceptable, ProtocolError, Unavailable
from mediaserver.protocol import sdp
from mediaserver.protocol.sdp import Candidate
from mediaserver.protocol.sdp_fragment import Credentials, Fragment, Section
from mediaserver.rtc import checks
from mediaserver.rtc.address import Address, TcpAddress
from mediaserver.rtc.admission import Admission
from mediaserver.rtc.candidates import candidates, own_addresses
from mediaserver.rtc.checks import Check
from mediaserver.rtc.compiled_carrier import Compiled
from mediaserver.rtc.compiled_receive import Opened
from mediaserver.rtc.compiled_records import SACK_BYTES, Outlet
from mediaserver.rtc.datagrams import DATAGRAM_BYTES, Batches, datagrams
from mediaserver.rtc.dtls import Certificate, Certificates, DtlsRole
from mediaserver.rtc.ice_tcp import IceTcp
from mediaserver.rtc.sender import Sender
from mediaserver.rtc.session import Handler, Session
from mediaserver.rtc.sockets import open_sockets

log = logging.getLogger("hawker.rtc")

READ_SLICE_S = 0.0003  # of a turn of the loop, so that what is sent comes first
REST_S = 0.001  # while acknowledgements alone come: a wake-up costs more than reading three
TCP_CONNECTIONS = 2  # of a session, on average: browsers try the addresses of their own network
SWEEP_S = 1.0
SWEPT_A_TURN = 250  # sessions: 0.2 ms
# the RTCP feedback that both sides of a session are offered (RFC 4585, RFC 5104, REMB)
FEEDBACK = frozenset({"nack", "nack pli", "ccm fir", "goog-remb"})


@dataclass(slots=True)
class Dropped:
    """Datagrams that were nobody's, by reason."""

    empty_or_long: int = 0
    unknown_address: int = 0
    bad_stun: int = 0
    bad_srtp: int = 0
    other: int = 0


@dataclass(eq=False)
class Transport:
    """All WebRTC sessions of one process, on one UDP socket and the TCP port of its number."""

    host: str
    port: int
    public_addresses: Sequence[str] = ()
    max_sessions: int = 4096
    max_per_address: int = 500
    clock: Callable[[], float] = time.monotonic
    carrier: Compiled | None = None  # the compiled sender, and receiver
    elsewhere: Callable[[], int] = lambda: 0  # sessions of other processes under the same limit
    sessions: dict[str, Session] = field(default_factory=dict)
    dropped: Dropped = field(default_factory=Dropped)

    def __post_init__(self) -> None:
        self._by_ufrag: dict[str, Session] = {}
        self._by_address: dict[Address, Session] = {}
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._certificates = Certificates()
        self._sweeps: list[Callable[[float], None]] = []
        self._sweep_timer: asyncio.TimerHandle | None = None
        self.tcp: IceTcp | None = None
        self._opened: Opened | None = None
        self._outlet: Outlet | None = None
        self._resting: asyncio.TimerHandle | None = None
        self.admission = Admission(self.max_per_address)

    async def start(self) -> None:
        """Bind the port and begin to read; raises OSError when it is taken for UDP."""
        self._socket, stream = open_sockets(self.host, self.port)
        self.port = self._socket.getsockname()[1]
        self.sender = Sender(self._socket, self.clock, self.carrier)
        self._datagrams = datagrams(self._socket, self.clock)
        if self.carrier is not None and isinstance(self._datagrams, Batches):
            library = self.carrier.library
            self._opened = Opened(library, self._datagrams, self.clock, self._refuse)
            self._datagrams = self._opened
            self._outlet = Outlet(self.carrier, self._socket.fileno(), self._lose)
        self.tcp = None
        if stream is not None:
            most = TCP_CONNECTIONS * self.max_sessions
            self.tcp = IceTcp(stream, self._on_frame, self._forget, most)
            await self.tcp.start()
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._on_readable)
        self._arm_sweep()

    async def stop(self) -> None:
        """Close every session with a DTLS goodbye, then the sockets."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for session in list(self.sessions.values()):
            self.close(session, "server is stopping")
        if self._goodbyes:
            await asyncio.wait(self._goodbyes, timeout=1.0)
        if self.tcp is not None:
            await self.tcp.stop()
        self.sender.close()
        if self._outlet is not None:
            self._outlet.close()
        if self._resting is not None:
            self._resting.cancel()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        self._socket.close()

    @property
    def listening(self) -> bool:
        return self._socket.fileno() >= 0

    def every_second(self, callback: Callable[[float], None]) -> Callable[[], None]:
        """Call back with monotonic seconds on each sweep; returns the call that ends it."""
        self._sweeps.append(callback)
        return lambda: self._sweeps.remove(callback)

    def certificate(self) -> Certificate:
        return self._certificates.current()

    def open(
        self,
        handler: Handler,
        certificate: Certificate,
        role: DtlsRole,
        fingerprints: Sequence[tuple[str, str]],
        sctp: tuple[int, int] | None = None,
    ) -> Session:
        """A session waiting for its peer's first check; raises Unavailable when full.

        `sctp` is the peer's SCTP port and its largest message in bytes, None without data channels.
        """
        if len(self.sessions) + self.elsewhere() >= self.max_sessions:
            raise Unavailable("no room for another session", headers={"Retry-After": "5"})
        session = Session(
            handler,
            certificate,
            role,
            fingerprints,
            self.send,
            self.close,
            self.clock(),
            sctp,
        )
        self.sessions[session.id] = session
        self._by_ufrag[session.ufrag] = session
        return session

    def accept(
        self,
        handler: Handler,
        offer: sdp.Offer,
        medias: Sequence[sdp.AnswerMedia | None],
        *,
        sctp: tuple[int, int] | None = None,
        cname: str = "",
        stream_id: str = "",
    ) -> tuple[Session, str]:
        """Open a session for an offer and write its answer; `medias` stands beside offer.medias.

        Raises NotAcceptable when no m-line is accepted or the peer is ICE-lite as we are, Unavailable
        when full.
        """
        first = next((m for m, a in zip(offer.medias, medias, strict=True) if a), None)
        if first is None:
            raise NotAcceptable(
                "no m-line of the offer could be had here: they want a codec and a direction of this"
                " stream, ICE credentials, a SHA-2 fingerprint, BUNDLE and rtcp-mux"
            )
        if offer.ice_lite:
            raise NotAcceptable("both sides are ICE-lite: nobody would send checks")
        certificate = self.certificate()
        setup = sdp.setup_for(first.setup)
        role: DtlsRole = "server" if setup == "passive" else "client"
        session = self.open(handler, certificate, role, first.fingerprints, sctp)
        session.peer = Credentials(first.ice_ufrag, first.ice_pwd)
        session.fragment = _fragment(offer, medias, first)
        answer = sdp.write_answer(
            offer,
            medias,
            session_id=secrets.randbits(62),
            ice_ufrag=session.ufrag,
            ice_pwd=session.password,
            fingerprint=certificate.fingerprint,
            setup=setup,
            candidates=self.candidates(),
            cname=cname,
            stream_id=stream_id,
        )
        return session, answer

    def restart_ice(self, session: Session, peer: Credentials) -> Fragment:
        """New credentials for a session whose peer has new ones, as the peer is told (RFC 9725 §4.3.3).

        The old ones do until a check has verified with the new.
        """
        for ufrag in session.restart_ice(peer):
            self._by_ufrag.pop(ufrag, None)
        self._by_ufrag[session.ufrag] = session
        log.debug("session %s restarts ICE", session.label)
        return _with_ice(session, self.candidates())

    def close(self, session: Session, reason: str) -> None:
        """Forget a session and say goodbye to its peer; calling it again does nothing."""
        if self.sessions.pop(session.id, None) is None:
            return
        log.info("session %s closed: %s", session.label, reason)
        self.admission.forget(session.id)
        for ufrag in session.passwords:
            self._by_ufrag.pop(ufrag, None)
        for address in session.addresses:
            if self._by_address.get(address) is session:
                self._release(address)
        goodbye = asyncio.get_running_loop().create_task(self._say_goodbye(session, reason))
        self._goodbyes.add(goodbye)
        goodbye.add_done_callback(self._goodbyes.discard)

    async def _say_goodbye(self, session: Session, reason: str) -> None:
        await session.goodbye(reason)
        for address in session.addresses:
            if address not in self._by_address:  # by now it could be another session's
                _hang_up(address)

    def send(self, data: bytes, address: Address) -> None:
        """Send one finished datagram; lost like any other when the socket is full."""
        if isinstance(address, TcpAddress):
            self.sender.errors += not address.connection.transmit(data)
            return
        try:
            self._socket.sendto(data, address)
        except OSError:
            self.sender.errors += 1

    def candidates(self) -> list[Candidate]:
        """Host candidates: the configured public addresses, else every address of this machine."""
        addresses = list(self.public_addresses) or own_addresses(self.host)
        return candidates(addresses, self.port, tcp=self.tcp is not None)

    def _on_readable(self) -> None:
        """Read what has come, for a slice of this turn; the rest is there in the next."""
        rests = False
        try:
            rests = self._read()
        finally:
            self._rest(rests)

    def _read(self) -> bool:
        """Whether all there was in the end were acknowledgements."""
        read, hear, clock = self._datagrams.read, self._on_datagram, time.monotonic
        deadline = clock() + READ_SLICE_S
        while read(hear):
            if clock() >= deadline:
                return False
        return self._opened is not None and self._opened.only_acknowledged

    def _rest(self, rests: bool) -> None:
        """Look again a little later instead of at each acknowledgement as it comes."""
        loop, resting = asyncio.get_running_loop(), self._resting is not None
        if rests:
            if not resting:
                loop.remove_reader(self._socket.fileno())
            self._resting = loop.call_later(REST_S, self._on_readable)
        elif resting:
            self._resting = None
            loop.add_reader(self._socket.fileno(), self._on_readable)

    def _on_frame(self, data: bytes, address: TcpAddress) -> bool:
        self._on_datagram(data, address, self.clock())
        return address in self._by_address

    def _forget(self, address: TcpAddress) -> None:
        """A connection has closed; who was reached by it comes again, or falls silent."""
        session = self._by_address.pop(address, None)
        if session is not None and address != session.address:
            session.addresses.remove(address)

    def _on_datagram(self, data: bytes, address: Address, arrival: float) -> None:
        session = self._by_address.get(address)
        size = len(data)
        if not 0 < size <= DATAGRAM_BYTES:
            self.dropped.empty_or_long += 1
            return
        first = data[0]
        if 128 <= first < 192 and size >= 12 and session is not None:
            is_rtcp = 192 <= data[1] <= 223  # RFC 5761 §4
            try:
                session.on_srtp(data, self.clock() if is_rtcp else arrival)
            except ProtocolError:
                self._refuse()
            else:
                if self._opened is not None and not is_rtcp:
                    self._learn(data, address, session)
        elif first < 4:
            self._on_stun(data, address)
        elif session is None:
            self.dropped.unknown_address += 1
        elif 20 <= first < 64:
            session.on_dtls(data)
            if size == SACK_BYTES and self._opened is not None:
                self._pave(address, session)
        else:
            self.dropped.other += 1

    def _pave(self, address: Address, session: Session) -> None:
        """Let acknowledgements from there be read by the compiled receiver."""
        if self._opened is None or self._outlet is None or isinstance(address, TcpAddress):
            return
        lane = session.pave(self._outlet)
        if lane is not None and session.channels is not None:
            self._opened.learn_lane(address, lane, session.channels.acknowledged)

    def _lose(self, count: int) -> None:
        self.sender.errors += count

    def _refuse(self) -> None:
        self.dropped.bad_srtp += 1

    def _release(self, address: Address) -> None:
        """Nobody is heard from there any more."""
        self._by_address.pop(address, None)
        if self._opened is not None and not isinstance(address, TcpAddress):
            self._opened.forget(address)

    def _learn(self, data: bytes, address: Address, session: Session) -> None:
        """Let the compiled receiver know of a source of RTP that was heard."""
        if self._opened is None or session.srtp is None or isinstance(address, TcpAddress):
            return
        ssrc = int.from_bytes(data[8:12], "big")
        self._opened.learn(address, ssrc, session.srtp, session.handler.on_rtp)

    def _on_stun(self, data: bytes, address: Address) -> None:
        check = checks.read(data, self._by_ufrag)
        if check is None:
            self.dropped.bad_stun += 1
        elif (error := check.refusal()) is not None:
            self.send(error, address)
        else:
            self._on_check(check, address)
            self.send(check.success(address), address)

    def _on_check(self, check: Check, address: Address) -> None:
        session = check.session
        for older in session.on_verified(check.ufrag):
            self._by_ufrag.pop(older, None)
        for old in session.on_check(address, check.message.use_candidate, self.clock()):
            if self._by_address.get(old) is session:
                self._release(old)
                _hang_up(old)
        if self._by_address.get(address) is not session:
            self._release(address)
            self._by_address[address] = session

    def _arm_sweep(self) -> None:
        self._sweep_timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """What each second brings, each in a turn of the loop of its own."""
        self._arm_sweep()
        loop, now = asyncio.get_running_loop(), self.clock()
        loop.call_soon(self._look_at, list(self.sessions.values()), now)
        for callback in list(self._sweeps):
            loop.call_soon(self._tell, callback, now)

    def _tell(self, callback: Callable[[float], None], now: float) -> None:
        if callback in self._sweeps:  # else it has been taken back meanwhile
            callback(now)

    def _look_at(self, sessions: list[Session], now: float) -> None:
        """Close those that are overdue, a part of them in each turn of the loop."""
        for session in sessions[:SWEPT_A_TURN]:
            reason = session.overdue(now)
            if reason is not None:
                self.close(session, reason)
        if rest := sessions[SWEPT_A_TURN:]:
            asyncio.get_running_loop().call_soon(self._look_at, rest, now)


def _hang_up(address: Address) -> None:
    if isinstance(address, TcpAddress):
        address.connection.close()


def _fragment(
    offer: sdp.Offer, medias: Sequence[sdp.AnswerMedia | None], first: sdp.OfferMedia
) -> Fragment:
    """What of an answer stays in ICE restarts: its bundle, and the m-line that has the candidates."""
    accepted = [m.mid for m, a in zip(offer.medias, medias, strict=True) if a and m.mid]
    section = Section(f"{first.kind} 9 {first.protocol} {first.formats[0]}", first.mid)
    return Fragment(None, (section,), tuple(accepted) if offer.bundle else (), ice_lite=True)


def _with_ice(session: Session, candidates: Sequence[Candidate]) -> Fragment:
    """The session's fragment with its newest credentials and all candidates there are."""
    (section,) = session.fragment.sections
    section = replace(section, candidates=tuple(candidates), end_of_candidates=True)
    credentials = Credentials(session.ufrag, session.password)
    return replace(session.fragment, credentials=credentials, sections=(section,))
