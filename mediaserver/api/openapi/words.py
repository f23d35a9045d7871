"""The words of the API's description: what no handler says, because it is true of many."""

from __future__ import annotations

from typing import Any

ABOUT = """Live rooms, the shop in them, and the orders that come of it.

JSON in and out. Money is an integer of minor units with its currency, `{"amount": 1990,
"currency": "CNY"}`; times are RFC 3339 in UTC; ids have a prefix and sort by age. Lists are
`{"items": [...], "next": cursor}`: ask again with `cursor` until `next` is null.

A refusal is `application/problem+json` (RFC 9457); programs go by its `code`. 429 and 503 say in
`Retry-After` when to come back.

Who changes a product, a price or stock says in `If-Match` which version was read (its `ETag`).
Acts that move stock or money want an `Idempotency-Key` of the caller's: the same act under the
same key is done once, and the answer given again carries `Idempotent-Replayed: true`. A refusal
binds no key."""

BEARER = """One of four kinds of credential:

- the admin token: everything
- an API key `hk_…` of the staff's: what its role may
- a viewer token (JWT): to watch, to buy, to see one's own orders
- an order key `ord_….…`, which the link to an order carries: that order alone"""

SECURITY_SCHEMES: dict[str, dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": BEARER},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "hawker_session",
        "description": "The session of a staff page, from `POST /v1/login`.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": "X-CSRF-Token",
        "description": "What changes something under the cookie wants this beside it: `csrf` of "
        "`POST /v1/login` or `GET /v1/me`.",
    },
    "stream_key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A room's stream key `key_…`: it publishes, and does nothing else.",
    },
    "query_token": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A viewer token, where a client can send no header.",
    },
}

HEADERS = {
    "Idempotency-Key": "1 to 255 printable characters of the caller's choice, bare or quoted; "
    "a new one for each new act, the same one for each retry",
    "If-Match": "the quoted `ETag` of what is changed, or `*`",
    "X-CSRF-Token": "wanted beside the session cookie",
    "ETag": "the version, quoted; it goes into `If-Match`",
    "Location": "the path of what was made",
    "Link": "where more is found (RFC 8288)",
    "Retry-After": "seconds to wait",
    "WWW-Authenticate": "the kind of credential that is wanted",
    "Idempotent-Replayed": "`true`: this answer was given before under the same key",
    "Set-Cookie": "the session",
}

PARAMETERS = {  # by name, or by what stands before it in the path and its name
    "api-keys/id": "an API key, as listed",
    "staff/name": "a name, as listed",
    "{room}/name": "`index.m3u8`, or what a playlist names",
    "room": "a room",
    "product": "a product, `prd_…`",
    "product_id": "a product, `prd_…`",
    "sku": "an article of a product, `sku_…`",
    "image": "a picture, `img_…`",
    "sale": "a sale in a room, `sal_…`",
    "promotion": "a promotion, `prm_…`",
    "coupon": "a coupon, `cpn_…`, or its code",
    "card": "a pinned card, `crd_…`",
    "webhook": "a webhook endpoint, `whe_…`",
    "event": "an event, `evt_…`: the `webhook-id`",
    "restream": "a target to restream to, `rst_…`",
    "order": "an order, `ord_…`",
    "return": "a return, `ret_…`",
    "case": "an after-sale case, `case_…`",
    "payment": "a payment, `pay_…`",
    "provider": "a payment provider: `sandbox`",
    "resource": "a session: the end of its `Location`",
    "key": "the Idempotency-Key that the act was given",
    "category": "its whole name",
    "buyer": "whose: a `sub`",
    "state": "`reserved`, `confirmed`, `completed`, `cancelled` or `expired`",
    "cursor": "`next` of the page before",
    "limit": "items of a page",
    "q": "words to search for",
}

TAGS = {  # in the order of the page
    "media": "Publish and watch.",
    "events": "What happens in a room, as it happens.",
    "rooms": "Rooms, their stream keys, their viewers' tokens.",
    "restreams": "Rooms sent to other platforms, too.",
    "products": "The catalogue, with pictures and prices.",
    "stock": "How many there are.",
    "bag": "What a room sells.",
    "cards": "What a room shows now.",
    "prices": "Flash sales, promotions, coupons.",
    "orders": "Quotes, orders, and what becomes of them.",
    "refunds and returns": "Money that goes back, pieces that come back, and what is asked about them.",
    "payments": "Payments, and their provider.",
    "webhooks": "Events of the shop, sent to other servers.",
    "signing in": "Sessions of the staff's pages, and who may do what.",
    "staff": "Who works here, their keys, and what they did.",
    "server": "Is it well.",
}
