"""A viewer that leaves one network for another: `python -m tests.e2e.mover URL LINK`, in a namespace.

It watches over IPv4, takes LINK down, and goes on over IPv6. Prints what it saw as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp

from benchmarks.webrtc_client import VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.protocol import sdp
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.rtc.dtls import Certificate

STAY_S = 2.0


class Frames:
    """When each frame came."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.gaps = 0

    def on_rtp(self, packet: RtpPacket, gap: bool) -> None:
        self.gaps += gap
        if packet.marker and packet.payload_type == VIDEO_PAYLOAD_TYPE:
            self.at.append(time.monotonic())


async def main(url: str, link: str) -> None:
    frames = Frames()
    client = WebRtcClient(Certificate.generateCertificate(), on_rtp=frames.on_rtp)
    headers = {"Content-Type": "application/sdp"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=client.offer(False), headers=headers) as reply,
    ):
        answer = sdp.parse(await reply.text())
    await client.connect(answer, data=False)
    await asyncio.sleep(STAY_S)
    down = await asyncio.create_subprocess_exec("ip", "link", "set", link, "down")
    await down.wait()
    moved_at, before = time.monotonic(), len(frames.at)
    candidates = [each for each in answer.medias[0].candidates if ":" in each.address]
    client._transport = await client._open(candidates, None)
    client._tasks[0].cancel()
    client._tasks[0] = asyncio.create_task(client._check_forever())  # at once, from the new address
    await asyncio.sleep(STAY_S)
    after = [at for at in frames.at if at > moved_at]
    told = {
        "before": before,
        "after": len(after),
        "pause_s": after[0] - moved_at if after else None,
        "gaps": frames.gaps,
        "closed": client.closed.done(),
    }
    print(json.dumps(told))
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
