"""SRT publishers: MPEG-TS by the system's libsrt, where there is one."""

from mediaserver.ingest.srt.library import INSTALL, Unavailable, load, version
from mediaserver.ingest.srt.server import SrtServer

__all__ = ["INSTALL", "SrtServer", "Unavailable", "load", "version"]
