"""`python -m mediaserver.ingest.testpattern --url rtmp://host:1935/live`, the key in the environment."""

from __future__ import annotations

import argparse
import os
import sys

from mediaserver import child
from mediaserver.ingest.testpattern.host import KEY_VARIABLE
from mediaserver.ingest.testpattern.publisher import publish

NICENESS = 10  # the demo is the last to be served


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mediaserver.ingest.testpattern",
        description="A synthetic host: publishes a moving picture with a clock, and sound.",
        epilog=f"The stream key is taken from {KEY_VARIABLE}.",
    )
    parser.add_argument("--url", required=True, help="rtmp://host:port/app")
    url: str = parser.parse_args().url
    key = os.environ.pop(KEY_VARIABLE, "")
    if not key:
        parser.error(f"{KEY_VARIABLE} holds no stream key")
    child.begin(NICENESS)
    try:
        publish(f"{url.rstrip('/')}/{key}")
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
