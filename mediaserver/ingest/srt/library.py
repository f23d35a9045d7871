"""Finding the system's libsrt and declaring its calls (docs/API/API-functions.md of libsrt).

By ctypes and not cffi: some twenty calls, a few hundred times a second, need no compiler and no
dependency. libsrt's own threads are C and never run Python, but for the one call that gate.py tells of.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p

from mediaserver.ingest.srt.statistics import RawStatistics

INSTALL = "apt install libsrt1.5-openssl"
_NAMES = ("srt", "srt-openssl", "srt-gnutls")  # Debian's libsrt1.5-openssl is the first
_OLDEST = 0x010402  # 1.4.2: tells those whom it refuses why
_LOG_CRITICAL = 2  # what goes wrong with a connection, our own log says

Hook = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_void_p, c_char_p)  # srt_listen_callback_fn


class Event(ctypes.Structure):
    """SRT_EPOLL_EVENT"""

    _fields_ = (("socket", c_int), ("events", c_int))


class MessageInfo(ctypes.Structure):
    """SRT_MSGCTRL; `sequence` counts the packets in 31 bits."""

    _fields_ = (
        ("flags", c_int),
        ("lifetime_ms", c_int),
        ("in_order", c_int),
        ("boundary", c_int),
        ("source_us", c_int64),
        ("sequence", c_int32),
        ("message", c_int32),
        ("group", c_void_p),
        ("group_size", c_size_t),
    )


_CALLS: dict[str, tuple[object, ...]] = {
    "srt_startup": (),
    "srt_cleanup": (),
    "srt_create_socket": (),
    "srt_setsockflag": (c_int, c_int, c_void_p, c_int),
    "srt_getsockflag": (c_int, c_int, c_void_p, POINTER(c_int)),
    "srt_bind": (c_int, c_char_p, c_int),
    "srt_listen": (c_int, c_int),
    "srt_listen_callback": (c_int, Hook, c_void_p),
    "srt_setrejectreason": (c_int, c_int),
    "srt_getsockname": (c_int, c_void_p, POINTER(c_int)),
    "srt_accept": (c_int, c_void_p, POINTER(c_int)),
    "srt_recvmsg2": (c_int, c_void_p, c_int, POINTER(MessageInfo)),
    "srt_bistats": (c_int, POINTER(RawStatistics), c_int, c_int),
    "srt_close": (c_int,),
    "srt_epoll_create": (),
    "srt_epoll_add_usock": (c_int, c_int, POINTER(c_int)),
    "srt_epoll_remove_usock": (c_int, c_int),
    "srt_epoll_uwait": (c_int, POINTER(Event), c_int, c_int64),
    "srt_epoll_release": (c_int,),
    "srt_getlasterror": (POINTER(c_int),),
}


class Unavailable(Exception):
    """There is no libsrt here, or one that can't be used."""


def load() -> ctypes.CDLL:
    """libsrt, not yet started; raises Unavailable."""
    names = map(ctypes.util.find_library, _NAMES)
    name = next(filter(None, names), None)
    if name is None:
        raise Unavailable("libsrt is not installed")
    try:
        library = ctypes.CDLL(name)
        _declare(library)
    except (OSError, AttributeError) as error:
        raise Unavailable(f"{name} cannot be used: {error}") from error
    if library.srt_getversion() < _OLDEST:
        raise Unavailable(f"libsrt {version(library)} is older than 1.4.2")
    library.srt_setloglevel(_LOG_CRITICAL)
    return library


def version(library: ctypes.CDLL) -> str:
    """Like "1.5.1"."""
    number = library.srt_getversion()
    return f"{number >> 16}.{number >> 8 & 0xFF}.{number & 0xFF}"


def _declare(library: ctypes.CDLL) -> None:
    for name, arguments in _CALLS.items():
        call = getattr(library, name)
        call.argtypes, call.restype = arguments, c_int
    library.srt_getversion.restype = c_uint32
    library.srt_getlasterror_str.restype = c_char_p
    library.srt_setloglevel.argtypes, library.srt_setloglevel.restype = (c_int,), None
