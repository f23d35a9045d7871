"""The practical floor: the same work by a loop in C, with nothing around it; one call a frame.

Payloads are packetised beforehand and headers shared by all viewers. AES comes from where the compiled
sender has it from.
"""

from __future__ import annotations

import asyncio
import ctypes
import secrets
import socket
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import senders
from benchmarks.senders import Job
from mediaserver.protocol.rtp_h264 import packetize
from mediaserver.rtc.compiled import compiler, libcryptos
from mediaserver.rtc.compiled_carrier import sockaddr
from mediaserver.rtc.layer import MAX_PAYLOAD_BYTES
from mediaserver.rtc.srtp import LABEL_ENCRYPTION, LABEL_SALT, derive

SOURCE = Path(__file__).with_name("loop.c")
PAYLOAD_TYPE = 102
_HEADER = struct.Struct("!BBHII")


class Viewer(ctypes.Structure):
    """As loop.c has it."""

    _fields_ = (
        ("cipher", ctypes.c_void_p),
        ("salt", ctypes.c_uint8 * 12),
        ("address", ctypes.c_uint8 * 16),
    )


class LoopRig:
    """Its sequence numbers wrap without a roll-over count: nobody decrypts that much of it."""

    def __init__(self, job: Job, library: ctypes.CDLL, sock: socket.socket) -> None:
        self._sent = 0
        self._socket = sock
        self._picture = job.picture
        self._payloads: dict[bytes, list[bytes]] = {}
        self._ssrc = secrets.randbits(31)
        self._index = secrets.randbelow(0x4000)
        self._library = library
        self._count = len(job.viewers)
        self._viewers = (Viewer * self._count)(*[_viewer(library, each) for each in job.viewers])

    def publish(self, frame: int) -> None:
        payloads = self._packets(frame)
        timestamp = self._picture.timestamp(frame) & 0xFFFFFFFF
        packets = []
        for number, payload in enumerate(payloads, self._index):
            marker = 0x80 if number == self._index + len(payloads) - 1 else 0
            packets.append(
                _HEADER.pack(0x80, PAYLOAD_TYPE | marker, number & 0xFFFF, timestamp, self._ssrc)
                + payload
            )
        self._index += len(payloads)
        self._send(packets)

    def _send(self, packets: Sequence[bytes]) -> None:
        sizes = (ctypes.c_uint16 * len(packets))(*map(len, packets))
        fd, plain = self._socket.fileno(), b"".join(packets)
        if not self._library.loop_send(fd, self._viewers, self._count, plain, sizes, len(packets)):
            raise OSError("the loop in C could not send")
        self._sent += len(packets) * self._count

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


def _viewer(library: ctypes.CDLL, each: senders.Viewer) -> Viewer:
    cipher = library.loop_cipher(derive(each.key, each.salt, LABEL_ENCRYPTION, 16))
    salt = derive(each.key, each.salt, LABEL_SALT, 12)
    address = sockaddr(each.address)
    return Viewer(cipher, (ctypes.c_uint8 * 12)(*salt), (ctypes.c_uint8 * 16)(*address))


def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="hawker-bench-") as directory:
        made = Path(directory) / "loop.so"
        subprocess.run([*compiler(), "-o", str(made), str(SOURCE), "-ldl"], check=True)
        library = ctypes.CDLL(str(made))
    library.loop_open.argtypes = [ctypes.c_char_p]
    library.loop_cipher.argtypes = [ctypes.c_char_p]
    library.loop_cipher.restype = ctypes.c_void_p
    library.loop_send.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_int,
    ]
    if not any(library.loop_open(each.encode()) for each in libcryptos()):
        raise OSError("no libcrypto")
    return library


async def start(job: Job) -> LoopRig:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.bind(("127.0.0.1", 0))
    return LoopRig(job, _library(), sock)
