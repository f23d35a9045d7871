"""Hawker's servers from a warm start: imports once, then forks a server for each line it is told.

Of the 1.5 s of CPU that a server takes to start nearly all are imports, the same each time; a thousand
kills need not wait for them. What is forked is the whole real server, a process of its own.

A line in is a JSON list of arguments of `hawker`. Lines out, in any order: {"pid": …}, and the server's
own ready line.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from mediaserver.__main__ import main as hawker


def main() -> None:
    importlib.import_module("mediaserver.app")
    for line in sys.stdin:
        arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            sys.argv = ["hawker", *arguments]
            sys.exit(hawker())
        os.write(1, f"{json.dumps({'pid': pid})}\n".encode())
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
