"""A room's events in the API's description: envelope and query as models, the data in words."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

EVENTS = """The subprotocol `hawker.v1.json` or `hawker.v1.msgpack` chooses what is sent; who names
none gets JSON. Either may be spoken to the server: text is JSON, binary is msgpack. The data
channels of a WHEP session carry the same messages both ways. Without a token one may only look on.

Each message is the envelope `Event`. `seq` counts the room's durable events without a gap, `sseq`
the buyer's own; `after` and `safter` resume behind a number, and who was away for too long gets a
new `hello`. Others carry null.

Events, with the members of `d`:

- `hello` first of all: `room` {id, title, live}, `cards`, `bag` {items, total}, `stock` by SKU
  {available, held}, `sales` (each as `sale.scheduled`), `coupons` (dropped, as `coupon.dropped`),
  `orders` (the viewer's latest in this room), `viewers`, `clock` {now, epoch, rtp_base, rtp_rate},
  `seq`, `sseq`
- `card.pinned`: the card; `mt` is the media time in ms
- `card.unpinned`: id, product_id
- `price.changed`: product_id, sku, price, price_version
- `stock.changed`: product_id, sku, available, held
- `bag.changed`: total
- `sale.scheduled`, `sale.started`, `sale.ended`: the sale as `GET
  /v1/rooms/{room}/flash-sales/{sale}` has it, with `left` of its quota. Count down to `starts_at` by
  `clock`: it starts then, whenever `sale.started` comes
- `coupon.dropped`: the coupon as `GET /v1/coupons/{coupon}` has it
- `coupon.claimed`: coupon, the id of one that the buyer has claimed; it carries `sseq`
- `order.updated`: the buyer's own order, with its `link`; it carries `sseq`
- `chat`: messages [{id, by, name, text, ts}]
- `viewer.count`: n
- `likes`: n, total
- `stream.online`, `stream.slate`, `stream.offline`: nothing
- `ingest.notice`: code, severity, text and fix by language
- `seq`: seq, once a second, to notice a gap by
- `reply`: rid, ok, and what the act gives
- `error`: rid, code, detail, and what the refusal adds

Acts, each sent as {rid, t, d} and answered by one `reply` or `error` with its `rid`:

- `buy`: key, lines [{sku, qty}], price_version?, coupons?, contact?, address?, referral?,
  room?; gives order, replayed. The same act as `POST /v1/orders`, with `key` as its Idempotency-Key
- `pay`: key, order, method?; gives payment, replayed
- `coupon.claim`: key, coupon (id or code); gives claim {coupon, claimed, unspent}, replayed. The
  same act as `POST /v1/coupons/{coupon}/claims`
- `chat.send`: text
- `like`: n
- `resume`: after, safter

A message has at most 16 KiB, a viewer 20 messages a second (40 at once): beyond it
`rate_limited`. What cannot be read is `bad_message`; five in a row end the session, and so does a
flood."""


class Event(BaseModel):
    """The envelope of what happens in a room: a JSON object, or a msgpack map with the same keys."""

    v: Literal[1]
    seq: int | None = Field(description="number in the room; null for what is not kept")
    sseq: int | None = Field(None, description="number among the buyer's own events")
    t: str = Field(description="type", examples=["card.pinned"])
    id: str = Field(description="`evt_…`")
    ts: int = Field(description="UTC in ms")
    mt: int | None = Field(description="media time in ms, where it belongs to a moment of the show")
    d: dict[str, Any] = Field(description="data, by the type")


class EventsQuery(BaseModel):
    token: str | None = Field(None, description="a viewer token, from clients that send no header")
    after: int | None = Field(None, ge=0, description="the last `seq` that was seen")
    safter: int | None = Field(None, ge=0, description="the last `sseq` that was seen")
