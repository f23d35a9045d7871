"""aiortc's SCTP (RFC 9260) with a short way for what every message passes: send, bundle, acknowledge.

aiortc spends a task on each message, a datagram on each chunk and a coroutine on each step. Here a
message leaves from within `send` while nothing waits, those that follow it in the same turn of the loop
leave together, as many to a packet as fit (§6.10), and the acknowledgement that reports no loss is read
without chunk objects. The rest is aiortc's own: set-up,
gap reports, fast retransmit, abandonment (RFC 3758), stream resets (RFC 6525). Its coroutines never
wait, since a datagram is sent at once, and are run to their end on the spot.

Private seams of `RTCSctpTransport`, each held by a contract test: the methods overridden and the fields
looked at below, and those of its outbound `DataChunk`.

A path must not feed the peer's answer into `receive` while `flush` is still sending.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, cast

from aiortc import RTCDataChannel, RTCSctpTransport
from aiortc.rtcsctptransport import (
    SCTP_DATA_FIRST_FRAG,
    SCTP_DATA_LAST_FRAG,
    SCTP_DATA_UNORDERED,
    SCTP_MAX_PACKET_LENGTH,
    USERDATA_MAX_LENGTH,
    WEBRTC_BINARY,
    WEBRTC_BINARY_EMPTY,
    WEBRTC_STRING,
    WEBRTC_STRING_EMPTY,
    DataChunk,
    ForwardTsnChunk,
    InboundStream,
    SackChunk,
)
from aiortc.rtcsctptransport import crc32c as _crc32c  # type: ignore[attr-defined]

INBOUND_STREAMS = 16  # two are used
INBOUND_CHUNKS = 512  # held for want of an earlier one: 34 messages of the largest size
# What aiortc's SCTP raises at what it did not expect of a peer; it asserts on remote input.
HOSTILE = (AssertionError, ValueError, LookupError, TypeError, AttributeError, struct.error)

HEADER_BYTES = 12
DATA_HEADER_BYTES = 16
BUNDLE_BYTES = SCTP_MAX_PACKET_LENGTH - HEADER_BYTES
BURST_BYTES = 4 * USERDATA_MAX_LENGTH  # at once (§6.1 D)
INITIAL_WINDOW_BYTES = 4380  # §7.2.1
RECOVERY_BURST_BYTES = 2 * USERDATA_MAX_LENGTH  # in fast recovery, as aiortc has it
TURN_S = 0.001  # what uvloop's clock shows of one turn of the loop
WHOLE = SCTP_DATA_FIRST_FRAG | SCTP_DATA_LAST_FRAG
WHOLE_UNORDERED = WHOLE | SCTP_DATA_UNORDERED
SERIAL, HALF = (1 << 32) - 1, 1 << 31  # of TSNs (RFC 1982): b is not after a when a - b < HALF
SACK = SackChunk.type
SACK_CHUNK_BYTES = 16  # without gaps or duplicates
SACK_BYTES = HEADER_BYTES + SACK_CHUNK_BYTES
_SACK = struct.Struct("!4xL4xBxHLLL")  # tag, type, length, cumulative TSN, window, counts
_DATA = struct.Struct("!BBHLHHL")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_NO_CHECKSUM = bytes(4)
_NEVER = math.inf
ESTABLISHED = RTCSctpTransport.State.ESTABLISHED
CLOSED = RTCSctpTransport.State.CLOSED


class Packets(Protocol):
    """What carries SCTP packets."""

    def send_packet(self, packet: bytes) -> None:
        """Encrypt and send; raises ConnectionError once closed."""

    def receive_by(self, receive: Callable[[bytes], None]) -> None:
        """Call back with each packet; a ConnectionError that it raises is the end of the session."""


class Say(Protocol):
    """A shorter way for messages of one chunk."""

    def __call__(self, what: int, tsn: int, sequence: int, data: bytes) -> bool:
        """Take one; False when it has to go by `send_packet`. `what`: stream, protocol, flags."""


class Carrier:
    """What aiortc's SCTP asks of its DTLS transport."""

    __slots__ = ("_packets", "_role")
    state = "connected"

    def __init__(self, packets: Packets, role: str) -> None:
        self._packets = packets
        self._role = role

    def _register_data_receiver(self, receiver: Sctp) -> None:
        self._packets.receive_by(receiver.receive)

    def _unregister_data_receiver(self, receiver: Sctp) -> None:
        """The session ends with its association."""

    async def _send_data(self, data: bytes) -> None:
        self._packets.send_packet(data)


@dataclass(eq=False, slots=True)
class Stream:
    """What a channel's messages need, read once, and what waits of them."""

    id: int
    ordered: bool
    max_retransmits: int | None
    queued_bytes: int = 0

    @classmethod
    def of(cls, channel: RTCDataChannel) -> Stream:
        assert channel.id is not None  # all are negotiated
        return cls(channel.id, channel.ordered, channel.maxRetransmits)


class Outgoing(DataChunk):
    """A DATA chunk as aiortc's bookkeeping knows it."""

    _abandoned = False
    _acked = False
    _expiry = None
    _in_flight = False
    _misses = 0
    _retransmit = False
    _sent_count = 0
    _sent_time: float | None = None

    def __init__(
        self,
        flags: int,
        tsn: int,
        stream: Stream,
        sequence: int,
        protocol: int,
        data: bytes,
    ) -> None:
        """`sequence` is the message's number in its stream, 0 when unordered."""
        self.flags = flags
        self.tsn = tsn
        self.stream_id = stream.id
        self.stream_seq = sequence
        self.protocol = protocol
        self.user_data = data
        self._book_size = len(data)
        self._max_retransmits = stream.max_retransmits

    def __bytes__(self) -> bytes:
        data, size = self.user_data, self._book_size
        length, numbers = DATA_HEADER_BYTES + size, (self.tsn, self.stream_id, self.stream_seq)
        return (
            _DATA.pack(0, self.flags, length, *numbers, self.protocol) + data + _PADDING[size & 3]
        )


class Sctp(RTCSctpTransport):
    """An association that ends, and its session with it, when the peer breaks the protocol.

    aiortc trusts its peer: one SACK with full gap blocks costs it seconds, what arrives out of order is
    sorted anew for each chunk, and any of 65,536 streams may be begun. So there are bounds here.
    """

    def __init__(self, packets: Packets, *, server: bool) -> None:
        """`server`: whether we are it in the DTLS session that carries the packets."""
        super().__init__(cast(Any, Carrier(packets, "server" if server else "client")))
        self._clock = asyncio.get_running_loop()
        self._inbound_streams_max = INBOUND_STREAMS
        self._packets = packets
        self._flush_due = False
        self._lost = False  # whether chunks wait to be sent again
        self._spoke_at = -_NEVER  # by the loop's clock
        self._peer_window = 1 << 17  # bytes; until the first SACK the congestion window is smaller
        self._t3_due = _NEVER
        self._t3_wakes = _NEVER
        self._header = (0, b"")
        self._say: Say | None = None
        self._streams: dict[RTCDataChannel, Stream] = {}

    async def stop(self) -> None:
        """Abort, and know nothing any more of what was to be sent."""
        await super().stop()
        self._say = None
        self._streams.clear()
        for queue in (self._data_channel_queue, self._outbound_queue, self._sent_queue):
            queue.clear()

    # -- in ------------------------------------------------------------------------------------------

    def receive(self, packet: bytes) -> None:
        """Handle one packet; raises ConnectionError when the peer broke the protocol."""
        try:
            if len(packet) == SACK_BYTES and self._receive_plain_sack(packet):
                return
            finish(super()._handle_data(packet))
            if len(self._sack_misordered) > INBOUND_CHUNKS:
                raise ValueError("too much out of order")
        except HOSTILE as error:
            raise ConnectionError(f"SCTP: {error!r}") from error

    async def _handle_data(self, data: bytes) -> None:
        self.receive(data)

    def _receive_plain_sack(self, packet: bytes) -> bool:
        """Take a SACK that reports nothing missing while nothing is; False when aiortc must look."""
        tag, kind, length, tsn, window, counts = _SACK.unpack(packet)
        if kind != SACK or counts or length != SACK_CHUNK_BYTES or not self._is_usual(tsn):
            return False
        crc = _crc32c(packet[:8] + _NO_CHECKSUM + packet[HEADER_BYTES:])  # §6.8
        if tag != self._local_verification_tag or crc.to_bytes(4, "little") != packet[8:12]:
            return True  # not the peer's: dropped
        self._take_sack(tsn, window)
        return True

    def acknowledged(self, tsn: int, window: int) -> None:
        """Take a plain SACK whose packet was checked and read already; raises as `receive`."""
        try:
            if self._is_usual(tsn):
                self._take_sack(tsn, window)
                return
            sack = SackChunk()
            sack.cumulative_tsn, sack.advertised_rwnd = tsn, window
            finish(self._receive_chunk(sack))
        except HOSTILE as error:
            raise ConnectionError(f"SCTP: {error!r}") from error

    def say_by(self, say: Say) -> tuple[bytes, int]:
        """Send by a shorter way where there is nothing to it; returns ports and tag as our packets begin
        with, and the tag of the peer's.
        """
        ports = self._begin()
        self._say = say
        return ports, self._local_verification_tag

    @property
    def established(self) -> bool:
        return self._association_state is ESTABLISHED

    def _is_usual(self, tsn: int) -> bool:
        return not (
            self._lost
            or self._fast_recovery_exit is not None
            or self._forward_tsn_streams
            or (tsn - self._advanced_peer_ack_tsn) & SERIAL >= HALF
        )

    def _take_sack(self, tsn: int, window: int) -> None:
        self._peer_window = window
        sent = self._sent_queue
        if len(sent) == 1 and sent[0].tsn == tsn and self._flight_size < self._cwnd:
            # as `_acknowledge`, when one chunk was outstanding and the window is not used up
            last = sent.popleft()
            self._flight_size_decrease(last)
            self._last_sacked_tsn = self._advanced_peer_ack_tsn = tsn
            if last._sent_count == 1 and last._sent_time is not None:
                self._update_rto(time.time() - last._sent_time)
            self._t3_due = _NEVER
        else:
            self._check_acknowledged(tsn)
            if (tsn - self._last_sacked_tsn) & SERIAL >= HALF:
                return
            self._acknowledge(tsn)
        if self._data_channel_queue or self._outbound_queue or self._forward_tsn_chunk:
            self._flush_open()

    def _acknowledge(self, tsn: int) -> None:
        """aiortc's handling of a SACK (§6.2.1, §7.2), for one that reports no gap."""
        used_up = self._flight_size >= self._cwnd
        sent, done_bytes, first = self._sent_queue, 0, None
        while sent and (tsn - sent[0].tsn) & SERIAL < HALF:
            chunk = sent.popleft()
            if first is None:
                first = chunk
            if not chunk._acked:
                done_bytes += chunk._book_size
            self._flight_size_decrease(chunk)
        self._last_sacked_tsn = self._advanced_peer_ack_tsn = tsn
        if first is not None and first._sent_count == 1 and first._sent_time is not None:
            self._update_rto(time.time() - first._sent_time)
        if used_up and done_bytes:
            self._widen(done_bytes)
        if not sent:
            self._t3_cancel()
            return
        if first is not None:
            self._t3_restart()
        if sent[0]._abandoned:
            self._update_advanced_peer_ack_point()

    def _widen(self, done_bytes: int) -> None:
        """Slow start, or congestion avoidance (§7.2.1, §7.2.2)."""
        if self._cwnd <= self._ssthresh:
            self._cwnd += min(done_bytes, USERDATA_MAX_LENGTH)
            return
        self._partial_bytes_acked += done_bytes
        if self._partial_bytes_acked >= self._cwnd:
            self._partial_bytes_acked -= self._cwnd
            self._cwnd += USERDATA_MAX_LENGTH

    def _check_acknowledged(self, tsn: int) -> None:
        if (self._local_tsn - 1 - tsn) & SERIAL >= HALF:
            raise ValueError("an acknowledgement of what was not sent")

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        self._check_acknowledged(chunk.cumulative_tsn)
        sent = (self._local_tsn - chunk.cumulative_tsn) & 0xFFFFFFFF
        if sum(last - first + 1 for first, last in chunk.gaps) > sent:
            raise ValueError("an acknowledgement of what was not sent")
        self._peer_window = chunk.advertised_rwnd
        self._lost = True  # perhaps: the next flush looks
        await super()._receive_sack_chunk(chunk)

    def _mark_received(self, tsn: int) -> bool:
        """Whether it came before. aiortc sorts by number: what is lost where they wrap stays so."""
        last = self._last_received_tsn
        assert last is not None  # it comes with the peer's INIT
        if (last - tsn) & SERIAL < HALF or tsn in self._sack_misordered:
            self._sack_duplicates.append(tsn)
            return True
        self._sack_misordered.add(tsn)
        self._close_gaps()
        return False

    def _close_gaps(self) -> None:
        """Move the cumulative TSN up to the first gap."""
        last, beyond = self._last_received_tsn, self._sack_misordered
        assert last is not None
        while (following := (last + 1) & SERIAL) in beyond:
            beyond.discard(following)
            last = following
        self._last_received_tsn = last
        if self._sack_duplicates:
            self._sack_duplicates = [
                each for each in self._sack_duplicates if (last - each) & SERIAL >= HALF
            ]

    async def _receive_forward_tsn_chunk(self, chunk: ForwardTsnChunk) -> None:
        await super()._receive_forward_tsn_chunk(chunk)
        self._close_gaps()

    async def _send_sack(self) -> None:
        last = self._last_received_tsn
        assert last is not None
        gaps: list[list[int]] = []
        for ahead in sorted((tsn - last) & SERIAL for tsn in self._sack_misordered):
            if gaps and gaps[-1][1] + 1 == ahead:
                gaps[-1][1] = ahead
            else:
                gaps.append([ahead, ahead])
        sack = SackChunk()
        sack.cumulative_tsn = last
        sack.advertised_rwnd = max(0, self._advertised_rwnd)
        sack.duplicates = self._sack_duplicates[:]
        sack.gaps = [(first, end) for first, end in gaps]
        await self._send_chunk(sack)
        self._sack_duplicates.clear()
        self._sack_needed = False

    def _get_inbound_stream(self, stream_id: int) -> InboundStream:
        if stream_id >= INBOUND_STREAMS:
            raise ValueError("a stream beyond those announced")
        stream = super()._get_inbound_stream(stream_id)
        if len(stream.reassembly) > INBOUND_CHUNKS:
            raise ValueError("too much of unfinished messages")
        return stream

    # -- out -----------------------------------------------------------------------------------------

    def send(
        self, channel: RTCDataChannel, data: str | bytes, most_bytes: float = math.inf
    ) -> bool:
        """Send a message, or queue it until the loop's next turn behind another of this one.

        False when more than `most_bytes` wait already. Raises ValueError when it is longer than the peer
        takes. aiortc's `bufferedAmount` stays 0.
        """
        stream = self._streams[channel]
        if stream.queued_bytes > most_bytes:
            return False
        protocol, payload = encode_message(data)
        limit = self._remote_max_message_size
        if limit and len(payload) > limit:
            raise ValueError(f"{len(payload)} bytes to a peer that takes {limit}")
        if len(payload) <= USERDATA_MAX_LENGTH and self._is_quiet():
            self._send_only(stream, protocol, payload)
            return True
        stream.queued_bytes += len(payload)
        self._data_channel_queue.append((channel, protocol, payload))
        if not self._flush_due:
            self._flush_due = True
            self._clock.call_soon(self._flush_now)
        return True

    def queued_bytes(self, channel: RTCDataChannel) -> int:
        """What waits for the windows to open."""
        return self._streams[channel].queued_bytes

    def _data_channel_add_negotiated(self, channel: RTCDataChannel) -> None:
        self._streams[channel] = Stream.of(channel)
        super()._data_channel_add_negotiated(channel)

    def _data_channel_send(self, channel: RTCDataChannel, data: str | bytes) -> None:
        self.send(channel, data)

    def _flush_now(self) -> None:
        self._flush_due = False
        self._flush_open()

    def _flush_open(self) -> None:
        try:
            self.flush()
        except ConnectionError:
            """The session ends already."""

    def flush(self) -> None:
        """Send what the windows allow: what was lost first, then what is queued.

        All bookkeeping is done before the first packet leaves. Raises ConnectionError once closed.
        """
        if self._association_state is not ESTABLISHED:
            return
        for body in bundles(self._due()):
            self._send_body(body)
        if self._reconfig_queue:  # it may have waited for these messages
            finish(super()._transmit_reconfig())

    async def _data_channel_flush(self) -> None:
        self._flush_open()

    async def _transmit(self) -> None:
        self._flush_open()

    def _due(self) -> list[bytes]:
        """The chunks to send now, which are marked as sent."""
        due: list[bytes] = []
        if self._forward_tsn_chunk is not None:
            due.append(bytes(self._forward_tsn_chunk))
            self._forward_tsn_chunk = None
            if self._t3_due == _NEVER:
                self._t3_restart()
        burst = BURST_BYTES if self._fast_recovery_exit is None else RECOVERY_BURST_BYTES
        window = min(self._flight_size + burst, self._cwnd, self._peer_window)
        if self._lost:
            self._take_lost(window, due)
        if not self._lost:
            self._take_new(window, due)
        return due

    def _take_lost(self, window: int, due: list[bytes]) -> None:
        """Chunks taken for lost; with room for them all, `_lost` is cleared."""
        for number, chunk in enumerate(self._sent_queue):
            if not chunk._retransmit:
                continue
            if self._fast_recovery_transmit:
                self._fast_recovery_transmit = False
            elif self._flight_size and self._flight_size >= window:
                return
            self._flight_size_increase(chunk)
            chunk._misses = 0
            chunk._retransmit = False
            chunk._sent_count += 1
            due.append(bytes(chunk))
            if not number:  # the earliest outstanding one
                self._t3_restart()
        self._lost = False

    def _take_new(self, window: int, due: list[bytes]) -> None:
        """Chunks not sent before; one may be in flight whatever the peer's window (§6.1 A)."""
        now, queue = time.time(), cast(deque[Outgoing], self._outbound_queue)
        while self._flight_size < window or not self._flight_size:
            if not queue and not self._cut_next_message():
                break
            chunk = queue.popleft()
            self._sent_queue.append(chunk)
            self._flight_size += chunk._book_size
            chunk._in_flight = True
            chunk._sent_count = 1
            chunk._sent_time = now
            due.append(bytes(chunk))
        if self._sent_queue and self._t3_due == _NEVER:
            self._t3_restart()

    def _is_quiet(self) -> bool:
        """Whether a message may leave now: none went in this turn, nothing waits, windows are open."""
        now = self._clock.time()
        if now - self._spoke_at < TURN_S or self._association_state is not ESTABLISHED:
            return False
        if self._data_channel_queue or self._outbound_queue or self._reconfig_queue:
            return False
        if self._lost or self._forward_tsn_chunk or self._fast_recovery_exit is not None:
            return False
        self._spoke_at = now
        flight = self._flight_size
        return not flight or (flight < self._cwnd and flight < self._peer_window)

    def _send_only(self, stream: Stream, protocol: int, data: bytes) -> None:
        """Send a message of one chunk while nothing else is to be sent."""
        tsn, sequence, flags = self._local_tsn, 0, WHOLE_UNORDERED
        if stream.ordered:
            sequence, flags = self._outbound_stream_seq.get(stream.id, 0), WHOLE
            self._outbound_stream_seq[stream.id] = (sequence + 1) & 0xFFFF
        self._local_tsn = (tsn + 1) & SERIAL
        chunk = Outgoing(flags, tsn, stream, sequence, protocol, data)
        self._sent_queue.append(chunk)
        self._flight_size += len(data)
        chunk._in_flight = True
        chunk._sent_count = 1
        chunk._sent_time = time.time()
        if self._t3_due == _NEVER:
            self._t3_due = self._spoke_at + self._rto  # `_is_quiet` has just read the clock
            if self._t3_handle is None or self._t3_due < self._t3_wakes:
                self._t3_wake()
        say = self._say
        if say is not None and say(stream.id << 16 | protocol << 8 | flags, tsn, sequence, data):
            return
        try:
            self._send_body(bytes(chunk))
        except ConnectionError:
            """The session ends already."""

    def _cut_next_message(self) -> bool:
        """Make chunks of the message queued longest; False when there is none."""
        if not self._data_channel_queue:
            return False
        channel, protocol, data = self._data_channel_queue.popleft()
        stream = self._streams.get(channel)
        if stream is None:  # one that the peer has opened; this acknowledges it (RFC 8832 §5.2)
            stream = Stream(cast(int, channel.id), True, None)
        else:
            stream.queued_bytes -= len(data)
        ordered = stream.ordered
        sequence = self._outbound_stream_seq.get(stream.id, 0) if ordered else 0
        flags = SCTP_DATA_FIRST_FRAG | (0 if ordered else SCTP_DATA_UNORDERED)
        tsn, cut = self._local_tsn, USERDATA_MAX_LENGTH
        while len(data) > cut:
            part, data = data[:cut], data[cut:]
            self._outbound_queue.append(Outgoing(flags, tsn, stream, sequence, protocol, part))
            flags &= ~SCTP_DATA_FIRST_FRAG
            tsn = (tsn + 1) & SERIAL
        flags |= SCTP_DATA_LAST_FRAG
        self._outbound_queue.append(Outgoing(flags, tsn, stream, sequence, protocol, data))
        self._local_tsn = (tsn + 1) & SERIAL
        if ordered:
            self._outbound_stream_seq[stream.id] = (sequence + 1) & 0xFFFF
        return True

    def _send_body(self, body: bytes) -> None:
        """Send chunks that fit into one packet."""
        header = self._begin()
        crc = _crc32c(header + _NO_CHECKSUM + body)  # §6.8
        self._packets.send_packet(header + crc.to_bytes(4, "little") + body)

    def _begin(self) -> bytes:
        tag, header = self._header
        if tag != self._remote_verification_tag or not header:
            tag = self._remote_verification_tag
            assert self._remote_port is not None
            header = struct.pack("!HHL", self._local_port, self._remote_port, tag)
            self._header = tag, header
            self._say = None  # it was told of another
        return header

    # -- the retransmission timer: moved by a number; the loop's own is left to wake and look ----------

    def _t3_start(self) -> None:
        self._t3_restart()

    def _t3_restart(self) -> None:
        self._t3_due = self._clock.time() + self._rto
        if self._t3_handle is None or self._t3_due < self._t3_wakes:
            self._t3_wake()

    def _t3_cancel(self) -> None:
        self._t3_due = _NEVER
        if self._association_state is CLOSED:
            super()._t3_cancel()

    def _t3_wake(self) -> None:
        if self._t3_handle is not None:
            self._t3_handle.cancel()
        self._t3_wakes = self._t3_due
        self._t3_handle = self._clock.call_at(self._t3_due, self._t3_look)

    def _t3_look(self) -> None:
        self._t3_handle = None
        if self._t3_due == _NEVER:
            return
        if self._t3_due > self._t3_wakes:
            self._t3_wake()
            return
        self._t3_due = _NEVER
        self._lost = True
        self._t3_expired()
        if not any(chunk._retransmit for chunk in self._sent_queue):  # given up: as after idleness
            self._cwnd = max(self._cwnd, INITIAL_WINDOW_BYTES)


def finish(steps: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits."""
    try:
        steps.send(None)
    except StopIteration:
        return
    steps.close()
    raise RuntimeError("aiortc's SCTP waited for something")


def bundles(chunks: list[bytes]) -> list[bytes]:
    """Chunks joined as they fit into packets, in order (§6.10)."""
    if len(chunks) < 2:
        return chunks
    bodies: list[bytes] = []
    parts: list[bytes] = []
    room = BUNDLE_BYTES
    for chunk in chunks:
        if len(chunk) > room:
            bodies.append(b"".join(parts))
            parts, room = [], BUNDLE_BYTES
        parts.append(chunk)
        room -= len(chunk)
    bodies.append(b"".join(parts))
    return bodies


def encode_message(data: str | bytes) -> tuple[int, bytes]:
    """Payload protocol identifier and bytes; an empty message is one byte (RFC 8831 §6.6)."""
    if isinstance(data, str):
        return (WEBRTC_STRING, data.encode()) if data else (WEBRTC_STRING_EMPTY, b"\0")
    return (WEBRTC_BINARY, data) if data else (WEBRTC_BINARY_EMPTY, b"\0")
