"""The optional compiled sender and receiver: built here, by this user, from the C beside this file.

    python -m mediaserver.rtc.compiled

builds it with the machine's compiler into the user's cache directory, under a name that holds the hash
of the source and the kind of CPU; a server that finds it there uses it, any other sends by Python. The
library is only loaded out of a directory that nobody else may write to, and only after one packet of it
has been compared with what `cryptography` makes.

AES comes from the libcrypto inside the pylibsrtp wheel, where that one lets its symbols be seen (its GCM
is twice as fast as that of OpenSSL 3.0), else from the system's.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM

from mediaserver.rtc import compiled_receive, compiled_records
from mediaserver.rtc.compiled_carrier import Compiled
from mediaserver.rtc.dtls import SrtpKeys
from mediaserver.rtc.sender import Batch, OutPacket, Route, lay_out, protect
from mediaserver.rtc.srtp import Srtp

log = logging.getLogger("hawker.rtc")

SOURCES = [Path(__file__).with_name(f"compiled{part}.c") for part in ("", "_receive", "_records")]
COMPILERS = "cc", "gcc", "clang"
FLAGS = "-O3", "-std=gnu11", "-shared", "-fPIC"
BUILD_S = 60.0
SYSTEM_LIBCRYPTO = "libcrypto.so.3"
COMMAND = "python -m mediaserver.rtc.compiled"


class Unavailable(Exception):
    """There is no compiled sender here; says why."""


def chosen() -> Compiled | None:
    """The compiled sender if it is there and works, else None; logs which one sends."""
    try:
        compiled = load()
    except Unavailable as why:
        log.info("the sender is Python's own: %s", why)
        return None
    log.info("the sender is the compiled one, AES by %s", compiled.aes_by)
    return compiled


def load(directory: Path | None = None) -> Compiled:
    """Load what `build` made; raises Unavailable."""
    path = _path(directory or cache_directory())
    _check_owner(path)
    reasons = []
    for libcrypto in libcryptos():
        try:
            compiled = Compiled(ctypes.CDLL(str(path)), libcrypto)
        except OSError as error:
            reasons.append(str(error))
            continue
        if _right(compiled):
            if not (compiled_receive.right(compiled.library) and compiled_records.right(compiled)):
                raise Unavailable("what it receives, or says, comes out wrong")
            return compiled
        reasons.append(f"{libcrypto} encrypts wrongly")
    raise Unavailable("; ".join(reasons))


def build(directory: Path | None = None) -> Path:
    """Compile it; raises Unavailable, with the compiler's words if it spoke."""
    directory = directory or cache_directory()
    path = _path(directory)
    command = compiler()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_directory(directory)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            made = Path(scratch) / path.name
            command += ["-o", str(made), *map(str, SOURCES), "-ldl"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=BUILD_S, check=False
            )
            if done.returncode:
                raise Unavailable(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
            made.chmod(0o700)
            made.replace(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from None
    return path


def libcryptos() -> Iterator[str]:
    """Files that may have libcrypto's functions, the fastest first."""
    wheel = importlib.util.find_spec("pylibsrtp._binding")
    if wheel is not None and wheel.origin is not None:
        yield wheel.origin
    yield SYSTEM_LIBCRYPTO


def compiler() -> list[str]:
    """The command that compiles a shared library; raises Unavailable."""
    for name in COMPILERS:
        if found := shutil.which(name):
            return [found, *FLAGS]
    raise Unavailable(f"no C compiler: none of {', '.join(COMPILERS)} is installed")


def cache_directory() -> Path:
    """Where this user's builds are."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(given) if os.path.isabs(given) else Path("~/.cache").expanduser()
    return home / "hawker"


def _path(directory: Path) -> Path:
    """Named by what it is built from and for: another version never loads it."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32:
        raise Unavailable("it is for Linux with 64 bits")
    build_of = b"".join(each.read_bytes() for each in SOURCES) + " ".join(FLAGS).encode()
    return directory / f"sender-{hashlib.sha256(build_of).hexdigest()[:16]}-{platform.machine()}.so"


def _check_owner(path: Path) -> None:
    """Raises Unavailable unless the library, and who may replace it, is this user alone."""
    try:
        _check_directory(path.parent)
        found = path.lstat()
    except FileNotFoundError:
        raise Unavailable(f"the compiled one is not built ({COMMAND})") from None
    except OSError as error:
        raise Unavailable(str(error)) from None
    private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or not private:
        raise Unavailable(f"{path} is not this user's alone")


def _check_directory(directory: Path) -> None:
    found = directory.lstat()
    private = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077 == 0
    if not stat.S_ISDIR(found.st_mode) or not private:
        raise Unavailable(f"{directory} has to be a directory of this user with mode 700")


def _right(compiled: Compiled) -> bool:
    """Whether it sends one packet as `cryptography` encrypts it."""
    srtp = Srtp(SrtpKeys(SRTP_AEAD_AES_128_GCM, bytes(range(16)), bytes(12), bytes(16), bytes(12)))
    packet = OutPacket(0x12345, 7, bytes(range(200)), True, False, 0.0, 0.0, False)
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        route = Route(srtp, sock.getsockname(), packet.index, 5)
        batch = Batch(lay_out([packet], 96, 3), [route], 0, 0.0)
        try:
            number = compiled.send(batch, sock.fileno(), 0.0)
            sent = sock.recv(2048)
        except OSError:
            return False
    return number == 0 and sent == protect(packet, 96, 3, route)


def main() -> int:
    """Build it and say so; 1 when it can't be had."""
    try:
        path = build()
        compiled = load()
    except Unavailable as why:
        sys.stderr.write(f"no compiled sender: {why}\n")
        return 1
    sys.stdout.write(f"built {path}, AES by {compiled.aes_by}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
