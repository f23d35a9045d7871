"""Signatures of Standard Webhooks 1.0.0: HMAC-SHA256 over `{id}.{timestamp}.{body}`.

Secrets are `whsec_` and 24 to 64 bytes in base64. A header may carry several signatures, for the change
of a secret; those of other schemes than `v1` are passed over.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence

from commerce.errors import SignatureInvalid

PREFIX = "whsec_"
SECRET_BYTES = 32
TOLERANCE_S = 300
BODY_BYTES_MAX = 20_000
SIGNATURES_MAX = 16
ID_CHARS_MAX = 255


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(secret: str, id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers for a body."""
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{_mac(secret, id, str(timestamp_s), body)}",
    }


def verify(accepted: Sequence[str], headers: Mapping[str, str], body: bytes, now_s: int) -> str:
    """The webhook's id, if one of the accepted secrets signed it lately; raises SignatureInvalid."""
    lower = {name.lower(): value for name, value in headers.items()}
    id, timestamp = lower.get("webhook-id", ""), lower.get("webhook-timestamp", "")
    given = lower.get("webhook-signature", "").split()
    if not 1 <= len(id) <= ID_CHARS_MAX or not given:
        raise SignatureInvalid("webhook-id, webhook-timestamp and webhook-signature are wanted")
    if len(body) > BODY_BYTES_MAX:
        raise SignatureInvalid(f"a body of at most {BODY_BYTES_MAX} bytes is wanted")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise SignatureInvalid("webhook-timestamp is in seconds since 1970")
    if abs(int(timestamp) - now_s) > TOLERANCE_S:
        raise SignatureInvalid(f"webhook-timestamp is more than {TOLERANCE_S} s off")
    wanted = [f"v1,{_mac(secret, id, timestamp, body)}".encode() for secret in accepted]
    for signature in given[:SIGNATURES_MAX]:
        for mine in wanted:
            if hmac.compare_digest(signature.encode("utf-8", "replace"), mine):
                return id
    raise SignatureInvalid("no signature here is ours")


def _mac(secret: str, id: str, timestamp: str, body: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook secret is whsec_ and base64") from error
    signed = id.encode("utf-8", "replace") + b"." + timestamp.encode() + b"." + body
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
