"""Proof that a sender sends valid SRTP: libsrtp decrypts it, and the frames come back whole."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor

from pylibsrtp import Error, Policy, Session

from benchmarks import runs, sinks
from benchmarks.picture import PPS, SPS, Picture
from benchmarks.senders import Job, Viewer
from mediaserver.protocol import rtp
from mediaserver.protocol.rtp_h264 import Depacketizer

VIEWERS = 3
FRAMES = 20
READ_BYTES = 2048
POLL_S = 0.05


class ProofFailed(Exception):
    """What came out at a viewer is not what was published."""


def prove(variant: str, pool: ProcessPoolExecutor) -> int:
    """Let the variant send some frames; how many datagrams were decrypted and compared."""
    picture = Picture()
    with contextlib.ExitStack() as stack:
        sockets = sinks.open_sockets(VIEWERS, sinks.READ_RCVBUF_BYTES)
        for each in sockets:
            stack.enter_context(each)
        viewers = runs.new_viewers([each.getsockname() for each in sockets])
        job = Job(viewers, picture, reading=True)
        sending = pool.submit(runs.send_frames, variant, job, FRAMES)
        received = _receive(sockets, sending)
    for viewer, datagrams in zip(viewers, received, strict=True):
        if frames_of(viewer, datagrams) != [picture.nal(frame) for frame in range(FRAMES)]:
            raise ProofFailed(f"{variant}: viewer {viewer.address} got other frames")
    count = sum(map(len, received))
    if count != sending.result():
        raise ProofFailed(f"{variant}: {count} datagrams came of {sending.result()}")
    return count


def _receive(sockets: Sequence[socket.socket], sending: Future[int]) -> list[list[bytes]]:
    """The RTP datagrams that each socket gets, until the sender has ended and all is read."""
    received: dict[socket.socket, list[bytes]] = {each: [] for each in sockets}
    while True:
        ended = sending.done()
        ready, _, _ = select.select(sockets, [], [], POLL_S)
        for each in ready:
            data = each.recv(READ_BYTES)
            if not 192 <= data[1] <= 223:  # RTCP (RFC 5761 §4)
                received[each].append(data)
        if ended and not ready:
            return list(received.values())


def frames_of(viewer: Viewer, datagrams: Sequence[bytes]) -> list[bytes]:
    """The slices in a viewer's datagrams; raises ProofFailed when something is missing or forged."""
    inbound = Session(
        Policy(
            key=viewer.key + viewer.salt,
            ssrc_type=Policy.SSRC_ANY_INBOUND,
            srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
        )
    )
    depacketizer = Depacketizer()
    following: int | None = None  # sequence number
    nals: list[bytes] = []
    for datagram in datagrams:
        try:
            packet = rtp.parse(bytes(inbound.unprotect(datagram)))
        except Error as exc:
            raise ProofFailed(f"viewer {viewer.address}: {exc}") from exc
        if following is not None and packet.sequence != following:
            raise ProofFailed(f"viewer {viewer.address} got {packet.sequence} for {following}")
        following = (packet.sequence + 1) & 0xFFFF
        for unit in depacketizer.feed(packet.payload, packet.marker, packet.timestamp):
            nals += [nal for nal in unit.nals if nal not in (SPS, PPS)]
    return nals
