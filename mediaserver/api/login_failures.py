"""How often a name may be tried with a wrong password, in a bounded table.

Names count whether there is such an account or not, and before a try's outcome is known: who guesses
at one name is slowed down, from however many addresses he comes, and learns of no account by it.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from mediaserver.errors import TooMany

LOGIN_FAILURES, LOGIN_FAILURES_S = 10, 600.0
NAMES_REMEMBERED = 10_000  # with names that are none: guessing names must not grow the process
NAME_CHARS = 33  # one more than an account's may have, so that longer ones lock nobody out


class LoginFailures:
    """The tries of each name in the last LOGIN_FAILURES_S, NAMES_REMEMBERED names at most."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._tried: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, name: str) -> None:
        """One more try, counted before its outcome is known; raises TooMany with Retry-After."""
        name, now = name[:NAME_CHARS], self._monotonic()
        tried = self._tried.setdefault(name, deque(maxlen=LOGIN_FAILURES))
        if len(tried) == LOGIN_FAILURES and (wait_s := tried[0] + LOGIN_FAILURES_S - now) > 0:
            headers = {"Retry-After": f"{math.ceil(wait_s)}"}
            raise TooMany("too many wrong passwords for this name", headers=headers)
        tried.append(now)
        self._tried.move_to_end(name)
        if len(self._tried) > NAMES_REMEMBERED:
            self._tried.popitem(last=False)

    def forget(self, name: str) -> None:
        """The name has signed in."""
        self._tried.pop(name[:NAME_CHARS], None)
