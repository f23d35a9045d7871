"""Connectivity checks as an ICE-lite agent takes them (RFC 8445 §7.3): whose, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.protocol import stun
from mediaserver.rtc.address import Address
from mediaserver.rtc.session import Session


@dataclass(frozen=True, slots=True)
class Check:
    """A Binding request whose MESSAGE-INTEGRITY verified by the password of this `ufrag` of ours."""

    session: Session
    ufrag: str
    message: stun.StunMessage
    key: bytes

    def refusal(self) -> bytes | None:
        """The error to answer with, None where there is nothing wrong."""
        transaction, unknown = self.message.transaction_id, self.message.unknown_required
        if unknown:
            return stun.binding_error(transaction, 420, "Unknown Attribute", self.key, unknown)
        if self.message.ice_controlled is not None:
            return stun.binding_error(transaction, 487, "Role Conflict", self.key)
        return None

    def success(self, address: Address) -> bytes:
        """The answer to a check from there."""
        return stun.binding_success(self.message.transaction_id, address[:2], self.key)


def read(data: bytes, sessions: Mapping[str, Session]) -> Check | None:
    """What these bytes check, None where they are no check of any of `sessions`, by their ufrags."""
    if not stun.is_stun(data):  # noise: dropped for a fifth of what parsing costs
        return None
    try:
        message = stun.parse(data)
    except ProtocolError:
        return None
    request = message.message_type == stun.BINDING_REQUEST
    if not request or message.username is None or message.fingerprint_ok is False:
        return None
    ufrag = message.username.partition(":")[0]
    session = sessions.get(ufrag)
    if session is None:
        return None
    key = session.passwords[ufrag].encode()
    if not stun.verify_integrity(data, message, key):
        return None
    return Check(session, ufrag, message, key)
