"""The floor for Python: `encrypt_into` and GSO in one tight loop, with nothing around it.

Payloads are packetised beforehand, headers are shared by all viewers; there is no pacing, no ring, no
bound on how long the loop is held, and an error ends the run.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.senders import Job
from mediaserver.protocol.rtp_h264 import packetize
from mediaserver.rtc.address import UdpAddress
from mediaserver.rtc.layer import MAX_PAYLOAD_BYTES
from mediaserver.rtc.sender import HEADER_BYTES, TAG_BYTES, UDP_SEGMENT
from mediaserver.rtc.srtp import LABEL_ENCRYPTION, LABEL_SALT, derive

PAYLOAD_TYPE = 102
_HEADER = struct.Struct("!BBHII")
_Encrypt = Callable[[bytes, bytes, bytes, memoryview], int]


class FloorRig:
    def __init__(self, job: Job, sock: socket.socket) -> None:
        self._sent = 0
        self._socket = sock
        self._picture = job.picture
        self._payloads: dict[bytes, list[bytes]] = {}
        self._buffer = memoryview(bytearray(65_536))
        self._ssrc = secrets.randbits(31)
        self._index = secrets.randbelow(0x4000)
        self._viewers: list[tuple[_Encrypt, int, UdpAddress]] = [
            (
                AESGCM(derive(each.key, each.salt, LABEL_ENCRYPTION, 16)).encrypt_into,
                int.from_bytes(derive(each.key, each.salt, LABEL_SALT, 12), "big"),
                each.address,
            )
            for each in job.viewers
        ]

    def publish(self, frame: int) -> None:
        payloads = self._packets(frame)
        timestamp = self._picture.timestamp(frame) & 0xFFFFFFFF
        items: list[tuple[int, bytes, bytes, memoryview]] = []
        position = 0
        for number, payload in enumerate(payloads):
            index = self._index + number
            marker = 0x80 if number == len(payloads) - 1 else 0
            header = _HEADER.pack(
                0x80, PAYLOAD_TYPE | marker, index & 0xFFFF, timestamp, self._ssrc
            )
            end = position + HEADER_BYTES + len(payload) + TAG_BYTES
            self._buffer[position : position + HEADER_BYTES] = header
            out = self._buffer[position + HEADER_BYTES : end]
            items.append((self._ssrc << 48 | index, payload, header, out))
            position = end
        size = struct.pack("=H", HEADER_BYTES + len(payloads[0]) + TAG_BYTES)
        ancillary = [(socket.IPPROTO_UDP, UDP_SEGMENT, size)]
        view, sendmsg = self._buffer[:position], self._socket.sendmsg
        for encrypt, salt, address in self._viewers:
            for index, payload, header, out in items:
                encrypt((salt ^ index).to_bytes(12, "big"), payload, header, out)
            sendmsg((view,), ancillary, 0, address)
        self._index += len(payloads)
        self._sent += len(payloads) * len(self._viewers)

    async def sent(self) -> int:
        return self._sent

    async def drained(self) -> None:
        await asyncio.sleep(0)

    async def close(self) -> int | None:
        self._socket.close()
        return None

    def _packets(self, frame: int) -> list[bytes]:
        nal = self._picture.nal(frame)
        payloads = self._payloads.get(nal)
        if payloads is None:
            payloads = [payload for payload, _, _ in packetize([nal], MAX_PAYLOAD_BYTES)]
            self._payloads[nal] = payloads
        return payloads


async def start(job: Job) -> FloorRig:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.bind(("127.0.0.1", 0))
    return FloorRig(job, sock)
