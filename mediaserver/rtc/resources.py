"""Sessions as HTTP knows them, by the last part of their URL: those of one kind on one transport.

The seam is asynchronous because a session may live in another process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mediaserver.errors import NotFound
from mediaserver.protocol import sdp_fragment
from mediaserver.protocol.sdp_fragment import Credentials
from mediaserver.rtc.session import Handler, Session
from mediaserver.rtc.transport import Transport


@dataclass(frozen=True, slots=True)
class IceSession:
    """Our newest username fragment, which names the ICE session, and the peer's credentials."""

    ufrag: str
    peer: Credentials | None


@dataclass(frozen=True, slots=True)
class Restarted:
    """An ICE restart: what the peer is told (RFC 8840 §9), and our new username fragment."""

    fragment: bytes
    ufrag: str


class Resources(Protocol):
    async def find(self, resource: str) -> IceSession:
        """Raises NotFound."""

    async def restart_ice(self, resource: str, peer: Credentials) -> Restarted:
        """New credentials for the peer's new ones; raises NotFound."""


class TransportResources:
    """The sessions of `transport` whose handler is of one class."""

    def __init__(self, transport: Transport, handler: type[Handler]) -> None:
        self._transport = transport
        self._handler = handler

    async def find(self, resource: str) -> IceSession:
        session = self.session(resource)
        return IceSession(session.ufrag, session.peer)

    async def restart_ice(self, resource: str, peer: Credentials) -> Restarted:
        session = self.session(resource)
        fragment = sdp_fragment.serialize(self._transport.restart_ice(session, peer))
        return Restarted(fragment, session.ufrag)

    def session(self, resource: str) -> Session:
        """Raises NotFound."""
        session = self._transport.sessions.get(resource)
        if session is None or not isinstance(session.handler, self._handler):
            raise NotFound("no such session")
        return session
