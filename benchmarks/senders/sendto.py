"""The plain way: libsrtp and asyncio's `sendto` packet by packet, headers of each viewer's own.

It gets its payloads packetised beforehand and keeps no ring, no pace and sends no reports.
"""

from __future__ import annotations

import asyncio
import secrets
import struct

from pylibsrtp import Policy, Session

from benchmarks.senders import Job
from mediaserver.protocol.rtp_h264 import packetize
from mediaserver.rtc.layer import MAX_PAYLOAD_BYTES

PAYLOAD_TYPE = 102
_HEADER = struct.Struct("!BBHII")


class SendtoRig:
    """One libsrtp session, SSRC and sequence per viewer; one socket for all."""

    def __init__(self, job: Job, transport: asyncio.DatagramTransport) -> None:
        self._sent = 0
        self._transport = transport
        self._picture = job.picture
        self._payloads: dict[bytes, list[tuple[bytes, int]]] = {}
        self._viewers = [
            (session(each.key, each.salt).protect, secrets.randbits(31), each.address)
            for each in job.viewers
        ]
        self._sequence = secrets.randbelow(0x4000)

    def publish(self, frame: int) -> None:
        packets = self._packets(frame)
        timestamp = self._picture.timestamp(frame) & 0xFFFFFFFF
        first, pack, sendto = self._sequence, _HEADER.pack, self._transport.sendto
        for protect, ssrc, address in self._viewers:
            sequence = first
            for payload, marker in packets:
                header = pack(0x80, marker, sequence & 0xFFFF, timestamp, ssrc)
                sendto(protect(header + payload), address)
                sequence += 1
        self._sequence += len(packets)
        self._sent += len(packets) * len(self._viewers)

    async def sent(self) -> int:
        return self._sent

    async def drained(self) -> None:
        await asyncio.sleep(0)

    async def close(self) -> int | None:
        self._transport.close()
        return None

    def _packets(self, frame: int) -> list[tuple[bytes, int]]:
        nal = self._picture.nal(frame)
        packets = self._payloads.get(nal)
        if packets is None:
            packets = self._payloads[nal] = [
                (payload, PAYLOAD_TYPE | marker << 7)
                for payload, _, marker in packetize([nal], MAX_PAYLOAD_BYTES)
            ]
        return packets


def session(key: bytes, salt: bytes) -> Session:
    """An outbound libsrtp session of AEAD_AES_128_GCM."""
    return Session(
        Policy(
            key=key + salt,
            ssrc_type=Policy.SSRC_ANY_OUTBOUND,
            srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
        )
    )


async def start(job: Job) -> SendtoRig:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    return SendtoRig(job, transport)
