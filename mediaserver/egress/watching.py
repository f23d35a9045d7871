"""What HTTP and the metrics ask of whoever serves WebRTC viewers: this process, or its workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mediaserver.egress.figures import Figures, collect
from mediaserver.egress.whep import WhepEgress, WhepSession
from mediaserver.hub import Hub
from mediaserver.rtc.admission import Admission
from mediaserver.rtc.resources import Resources, TransportResources


@dataclass(frozen=True, slots=True)
class Offered:
    """Who wants to watch what: `offer` is SDP, `token` is for whoever speaks over data channels."""

    room: str
    offer: bytes
    token: str | None
    remote: str  # address of the caller, as far as it is known


@dataclass(frozen=True, slots=True)
class Answered:
    """A new session: its resource's name, our username fragment, and the SDP answer."""

    resource: str
    ufrag: str
    answer: str


class Watching(Resources, Protocol):
    admission: Admission  # counts the sessions of every address

    async def watch(self, offered: Offered) -> Answered:
        """Accept an offer and count its session.

        Raises NotLive, Conflict `has_b_frames`, ProtocolError, Unavailable.
        """

    async def delete(self, resource: str) -> None:
        """End a viewer's session; raises NotFound."""

    def viewers(self, room: str) -> int:
        """Connected viewers of a stream."""

    def figures(self) -> Figures:
        """Of all processes that serve viewers."""


class OneProcess(TransportResources):
    """Viewers served by this process."""

    def __init__(self, egress: WhepEgress, hub: Hub) -> None:
        super().__init__(egress.transport, WhepSession)
        self.admission = egress.transport.admission
        self._egress = egress
        self._hub = hub

    async def watch(self, offered: Offered) -> Answered:
        self.admission.check(offered.remote)
        resource, answer = self._egress.watch(offered.room, offered.offer, offered.token)
        self.admission.count(offered.remote, resource)
        return Answered(resource, self.session(resource).ufrag, answer)

    async def delete(self, resource: str) -> None:
        self._egress.delete(resource)

    def viewers(self, room: str) -> int:
        return self._egress.viewers(room)

    def figures(self) -> Figures:
        return collect(self._egress, self._hub)
