"""The states of one target, and what leads from each to the next.

`failed` is for what somebody must put right: a key that is refused, a codec that is not taken there.
It is tried again all the same, less often: platforms refuse a key until their event has begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    IDLE = "idle"  # until the stream is on the air
    CONNECTING = "connecting"
    LIVE = "live"
    RETRYING = "retrying"
    FAILED = "failed"
    STOPPED = "stopped"


class Event(Enum):
    ONLINE = "online"  # the stream is on the air
    ACCEPTED = "accepted"
    LOST = "lost"
    REFUSED = "refused"
    DUE = "due"  # the wait before another try is over
    OFFLINE = "offline"  # there is nothing to send, and no connection
    STOP = "stop"


TABLE: Mapping[tuple[State, Event], State] = {
    (State.IDLE, Event.ONLINE): State.CONNECTING,
    (State.CONNECTING, Event.ACCEPTED): State.LIVE,
    (State.CONNECTING, Event.LOST): State.RETRYING,
    (State.CONNECTING, Event.REFUSED): State.FAILED,
    (State.LIVE, Event.LOST): State.RETRYING,
    (State.LIVE, Event.REFUSED): State.FAILED,
    (State.RETRYING, Event.DUE): State.CONNECTING,
    (State.FAILED, Event.DUE): State.CONNECTING,
    (State.RETRYING, Event.OFFLINE): State.IDLE,
    (State.FAILED, Event.OFFLINE): State.IDLE,
    **{(state, Event.STOP): State.STOPPED for state in State},
}


def after(state: State, event: Event) -> State:
    """The state that follows; raises RuntimeError where the event can't happen."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise RuntimeError(f"{event.value} while {state.value}") from None
