"""The synthetic host: a moving picture with a burned-in clock, and a beep on every flash.

`python -m mediaserver.ingest.testpattern` is the publisher, `DemoHost` runs it as a child process.
This package's own imports are light; numpy and the codecs are the child's.
"""

from mediaserver.ingest.testpattern.frame_number import frame_utc_ms, read_frame_number
from mediaserver.ingest.testpattern.host import DemoHost

__all__ = ["DemoHost", "frame_utc_ms", "read_frame_number"]
