"""Junk at a rate: `python -m tests.e2e.junk PORT PACKETS_PER_S SECONDS`; prints how many it sent."""

from __future__ import annotations

import random
import secrets
import socket
import sys
import time

from mediaserver.protocol import stun

STEP_S = 0.002
KINDS = 2000
CLIENT_HELLO = bytes.fromhex("16feff0000000000000000") + bytes(150)


def datagrams(seed: int = 7) -> list[bytes]:
    """Empty, too long, noise, and forgeries of STUN, DTLS and SRTP."""
    dice = random.Random(seed)

    def one() -> bytes:
        match dice.randrange(8):
            case 0:
                return b""
            case 1:
                return dice.randbytes(4000)
            case 2:
                return CLIENT_HELLO
            case 3:
                return b"\x80\x60" + dice.randbytes(1198)
            case 4:
                return b"\x81\xc9" + dice.randbytes(60)
            case 5:
                return b"\0\1" + dice.randbytes(98)
            case 6:
                ufrag = f"{secrets.token_hex(6)}:junk"
                return stun.binding_request(secrets.token_bytes(12), ufrag, b"k" * 24, 1, 2)
            case _:
                return dice.randbytes(dice.randrange(1, 1400))

    return [one() for _ in range(KINDS)]


def main(port: int, per_s: int, seconds: float) -> None:
    found = datagrams()
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            while sent < now * per_s:
                sock.send(found[sent % KINDS])
                sent += 1
            time.sleep(STEP_S)
    print(sent)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
