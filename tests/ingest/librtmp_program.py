"""Publishes an FLV file through librtmp, whose code OBS carries: `librtmp_program.py URL FILE`."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

LIBRARY = "librtmp.so.1"


def main(url: str, flv: bytes) -> int:
    """0 if every tag was sent, 1 if the server refused."""
    librtmp = ctypes.CDLL(LIBRARY)
    librtmp.RTMP_Alloc.restype = ctypes.c_void_p
    rtmp = ctypes.c_void_p(librtmp.RTMP_Alloc())
    librtmp.RTMP_Init(rtmp)
    options = ctypes.create_string_buffer(url.encode() + b" live=1")  # librtmp keeps pointers to it
    assert librtmp.RTMP_SetupURL(rtmp, options)
    librtmp.RTMP_EnableWrite(rtmp)
    if not librtmp.RTMP_Connect(rtmp, None) or not librtmp.RTMP_ConnectStream(rtmp, 0):
        return 1
    position = 9 + 4  # the file's header and the first back pointer
    while position < len(flv):
        size = 11 + int.from_bytes(flv[position + 1 : position + 4], "big") + 4
        if librtmp.RTMP_Write(rtmp, flv[position : position + size], size) <= 0:
            return 1
        position += size
    librtmp.RTMP_Close(rtmp)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
