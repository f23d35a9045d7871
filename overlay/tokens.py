"""Viewer tokens: JWT (RFC 7519) signed with HS256 (RFC 7518 §3.2).

Claims: `room`, `sub`; optional `exp`, `role` (`viewer` unless granted more), `name`, `tier`,
`segment`; `guest` marks a token that anybody could have had, which opens public rooms only. A shop's
own back end may sign tokens with the same secret; a token with `aud` is meant for somebody else.

A guest keeps its `sub`, and with it its orders, by handing in its old token when it asks for a new
one, valid or expired for less than GUEST_RENEWAL_S. The signature says that we gave it the `sub`.

A good signature stays good, so it is checked once and the claims are remembered; room and expiry are
looked at every time.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.types import Options

from commerce.text import checked_text
from overlay.errors import Invalid, Unauthorized, WrongRoom

ALGORITHM = "HS256"
SECRET_BYTES_MIN = 32  # RFC 7518 §3.2: as long as the hash; a shorter one can be found offline
TOKEN_CHARS_MAX = 4096
CLAIM_CHARS_MAX = 128
TOKENS_REMEMBERED = 4096  # a viewer of HLS shows its token with every request; 50 µs each are saved
GUEST_TOKEN_S = 24 * 3600
GUEST_RENEWAL_S = 30 * 24 * 3600
VIEWER_TOKEN_S = 12 * 3600
STAFF_SUBS = ("staff/", "key/")  # so begin the identities of the staff, which no token gives
NEVER_S = 2**42  # for a token without `exp`: milliseconds of it are still exact in JSON
ROLES = ("viewer", "host", "operator", "moderator", "finance", "engineer")
OPTIONS: Options = {
    "require": ["sub", "room"],
    "verify_exp": False,  # here, by the clock given
    "verify_iat": False,  # says nothing about validity, and clocks of back ends differ
}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says about its holder."""

    room: str
    sub: str
    expires_ms: int
    role: str = "viewer"
    name: str | None = None
    tier: str | None = None
    segment: str | None = None
    guest: bool = False


@dataclass(frozen=True, slots=True)
class IssuedToken:
    token: str
    sub: str
    expires_ms: int


class Tokens:
    """Issues and verifies viewer tokens under one secret of at least 32 bytes."""

    def __init__(self, secret: str, *, now: Callable[[], float] = time.time) -> None:
        if len(secret.encode()) < SECRET_BYTES_MIN:
            raise ValueError(f"the viewer secret needs at least {SECRET_BYTES_MIN} bytes")
        self._secret = secret
        self._now = now
        self._signed: OrderedDict[str, Claims] = OrderedDict()

    def issue(
        self,
        room: str,
        sub: str | None = None,
        *,
        role: str = "viewer",
        name: str | None = None,
        tier: str | None = None,
        segment: str | None = None,
        ttl_s: int = VIEWER_TOKEN_S,
    ) -> IssuedToken:
        """A token for one viewer of one room; without `sub` a new one is made. Raises Invalid."""
        labels = {"role": role, "name": name, "tier": tier, "segment": segment}
        given = {
            claim: checked_text(claim, label, CLAIM_CHARS_MAX)
            for claim, label in labels.items()
            if label is not None
        }
        sub = new_sub("viewer") if sub is None else checked_text("sub", sub, CLAIM_CHARS_MAX)
        if sub.startswith(STAFF_SUBS):
            raise Invalid("sub", f"not beginning with {' or '.join(STAFF_SUBS)}")
        return self._sign({"room": room, "sub": sub, **given}, ttl_s)

    def guest(self, room: str, old: str | None = None) -> IssuedToken:
        """A guest's token; the `sub` is that of its old token, of any room, where that is ours."""
        sub = self._guest_sub(old) or new_sub("guest")
        claims = {"room": room, "sub": sub, "role": "viewer", "guest": True}
        return self._sign(claims, GUEST_TOKEN_S)

    def verify(self, token: str, room: str) -> Claims:
        """What the token says, if it is good for this room now; raises Unauthorized or WrongRoom."""
        claims = self.read(token)
        if claims.room != room:
            raise WrongRoom("the token is for another room")
        return claims

    def read(self, token: str) -> Claims:
        """What the token says, of whatever room, if it is good now; raises Unauthorized."""
        claims = self._claims(token)
        if claims.expires_ms <= self._now() * 1000:
            raise Unauthorized("the token has expired", code="token_expired")
        return claims

    def _guest_sub(self, old: str | None) -> str | None:
        if old is None:
            return None
        try:
            claims = self._claims(old)
        except Unauthorized:
            return None  # a page with a stale token wants a good one, not a lesson
        renewable = claims.expires_ms / 1000 + GUEST_RENEWAL_S > self._now()
        return claims.sub if claims.guest and renewable else None

    def _sign(self, claims: dict[str, object], ttl_s: int) -> IssuedToken:
        issued_s = int(self._now())
        expires_s = issued_s + ttl_s
        claims = {**claims, "iat": issued_s, "exp": expires_s}
        token = jwt.encode(claims, self._secret, algorithm=ALGORITHM)
        return IssuedToken(token, str(claims["sub"]), expires_s * 1000)

    def _claims(self, token: str) -> Claims:
        claims = self._signed.get(token)
        if claims is None:
            claims = self._signed[token] = self._decode(token)
            if len(self._signed) > TOKENS_REMEMBERED:
                self._signed.popitem(last=False)
        return claims

    def _decode(self, token: str) -> Claims:
        if len(token) > TOKEN_CHARS_MAX:
            raise Unauthorized("the token is too long", code="token_invalid")
        try:
            claims = jwt.decode(token, self._secret, algorithms=[ALGORITHM], options=OPTIONS)
            return _claims(claims)
        except (jwt.PyJWTError, ValueError, OverflowError) as error:
            raise Unauthorized("the token is not valid", code="token_invalid") from error


def new_sub(kind: str) -> str:
    """An identity of 96 random bits that nobody has: `guest_…` or `viewer_…`."""
    return f"{kind}_{secrets.token_urlsafe(12)}"


def _claims(claims: dict[str, Any]) -> Claims:
    room, sub, role = claims["room"], claims["sub"], claims.get("role", "viewer")
    expires_s, guest = claims.get("exp", NEVER_S), claims.get("guest", False)
    name, tier, segment = (claims.get(claim) for claim in ("name", "tier", "segment"))
    if isinstance(expires_s, bool) or not isinstance(expires_s, int | float):
        raise ValueError("exp")
    if not (isinstance(room, str) and isinstance(sub, str) and isinstance(guest, bool)):
        raise ValueError("room, sub, guest")
    if (
        not 1 <= len(sub) <= CLAIM_CHARS_MAX
        or sub != sub.strip()
        or sub.startswith(STAFF_SUBS)
        or role not in ROLES
    ):
        raise ValueError("sub, role")
    if not all(label is None or isinstance(label, str) for label in (name, tier, segment)):
        raise ValueError("name, tier, segment")
    return Claims(room, sub, int(expires_s * 1000), role, name, tier, segment, guest)
