"""The far end of a broadcast: a UDP socket that decrypts by libsrtp, as browsers do."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass, field
from itertools import pairwise

from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    SRTPProtectionProfile,
)
from pylibsrtp import Error, Policy, Session

from mediaserver.protocol import rtcp, rtp
from mediaserver.rtc.broadcast import Broadcast
from mediaserver.rtc.dtls import SrtpKeys
from mediaserver.rtc.srtp import Srtp
from mediaserver.rtc.viewer import Viewer

GCM = SRTP_AEAD_AES_128_GCM
CM = SRTP_AES128_CM_SHA1_80
VIDEO_TYPE, AUDIO_TYPE = 96, 111
DATAGRAM_BYTES = 65_535
REPLAY_WINDOW = 1024  # Chromium's


def fresh_keys(profile: SRTPProtectionProfile = GCM) -> SrtpKeys:
    """Keying material as a DTLS handshake would give it to the server."""
    key, salt = profile.key_length, profile.salt_length
    random = secrets.token_bytes
    return SrtpKeys(profile, random(key), random(salt), random(key), random(salt))


def inbound(keys: SrtpKeys) -> Session:
    """What the player makes of the server's keys."""
    policy = Policy(
        key=keys.tx_key + keys.tx_salt,
        ssrc_type=Policy.SSRC_ANY_INBOUND,
        srtp_profile=keys.profile.libsrtp_profile,
    )
    policy.window_size = REPLAY_WINDOW
    return Session(policy)


def udp_socket() -> socket.socket:
    """A non-blocking socket on loopback with room for a burst."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    return sock


@dataclass
class Player:
    """A viewer's end. `lose` counts down the datagrams of video that never reach it."""

    profile: SRTPProtectionProfile = GCM
    lose: int = 0
    video: list[rtp.RtpPacket] = field(default_factory=list)
    audio: list[rtp.RtpPacket] = field(default_factory=list)
    reports: list[rtcp.RtcpPacket] = field(default_factory=list)
    failed: int = 0  # datagrams that libsrtp refused, but not for being doubled
    doubled: int = 0

    def __post_init__(self) -> None:
        self.keys = fresh_keys(self.profile)
        self.srtp = Srtp(self.keys)
        self._session = inbound(self.keys)
        self.socket = udp_socket()
        self.address: tuple[str, int] = self.socket.getsockname()

    def datagrams(self) -> list[bytes]:
        """Everything that has arrived since the last call."""
        found: list[bytes] = []
        while True:
            try:
                found.append(self.socket.recv(DATAGRAM_BYTES))
            except BlockingIOError:
                return found

    def take(self) -> list[rtp.RtpPacket]:
        """Decrypt what has arrived; returns the video among it, and keeps all."""
        fresh: list[rtp.RtpPacket] = []
        for data in self.datagrams():
            if rtcp.is_rtcp(data):
                self.reports += rtcp.parse(self._session.unprotect_rtcp(data))
                continue
            if self.lose and data[1] & 0x7F == VIDEO_TYPE:
                self.lose -= 1
                continue
            try:
                packet = rtp.parse(self._session.unprotect(data))
            except Error as error:
                if "bad index" in str(error):
                    self.doubled += 1
                else:
                    self.failed += 1
                continue
            if packet.payload_type == VIDEO_TYPE:
                fresh.append(packet)
            else:
                self.audio.append(packet)
        self.video += fresh
        return fresh

    def join(self, broadcast: Broadcast, sender: socket.socket) -> Viewer:
        """Become a viewer of the broadcast, whose sender uses this socket."""

        def send(data: bytes) -> None:
            sender.sendto(data, self.address)

        viewer = Viewer(broadcast, self.srtp, self.address, (VIDEO_TYPE, AUDIO_TYPE), send)
        broadcast.add(viewer)
        return viewer

    def close(self) -> None:
        self.socket.close()


def sequences(packets: list[rtp.RtpPacket]) -> list[int]:
    return [packet.sequence for packet in packets]


def gapless(packets: list[rtp.RtpPacket]) -> bool:
    """Whether sequence numbers go up by one, over the wrap too."""
    numbers = sequences(packets)
    return all((after - before) & 0xFFFF == 1 for before, after in pairwise(numbers))
