"""Signed links to single orders: their buyer comes back after every token has expired.

An order's key is `<order id>.<MAC>`, the MAC being HMAC-SHA256 (RFC 2104) in base64url under a secret
of the server, over words that no other use of that secret signs. It names one order and opens nothing
else, and it does not expire: the order stays its buyer's. In the link it stands behind the `#`, so that
it reaches no log and no referrer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from overlay.errors import Unauthorized

DOMAIN = b"hawker order link\0"
ORDER_ID = re.compile(r"ord_[0-9a-hjkmnp-tv-z]{26}")
KEY_CHARS_MAX = 128  # 30 of the id, a dot, 43 of the MAC


class OrderLinks:
    """Makes and reads order keys under one secret."""

    def __init__(self, secret: str) -> None:
        self._begun = hmac.new(secret.encode(), DOMAIN, hashlib.sha256)

    def key(self, order_id: str) -> str:
        """`ord_<ulid>.<MAC>`, the bearer token that opens this order."""
        mac = self._begun.copy()
        mac.update(order_id.encode())
        return f"{order_id}.{base64.urlsafe_b64encode(mac.digest()).rstrip(b'=').decode()}"

    def path(self, order_id: str) -> str:
        """The page of the order with its key: `/orders/<id>#key=<key>`."""
        return f"/orders/{order_id}#key={self.key(order_id)}"

    def order(self, key: str) -> str:
        """The id of the order that a key opens; raises Unauthorized, in constant time."""
        id = key.partition(".")[0]
        if len(key) <= KEY_CHARS_MAX and ORDER_ID.fullmatch(id):
            presented = key.encode("utf-8", "surrogatepass")
            if hmac.compare_digest(presented, self.key(id).encode()):
                return id
        raise Unauthorized("the order's key is not valid", code="token_invalid")
