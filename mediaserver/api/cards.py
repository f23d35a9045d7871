"""Product cards over HTTP: the host pins them to a moment of the stream, everybody sees them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol

from aiohttp import web
from pydantic import AwareDatetime, Field

from mediaserver.access import Access
from mediaserver.api.auth import require, require_watcher
from mediaserver.api.operation import WATCHER, operation
from mediaserver.api.pagination import page
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.product_documents import ProductDocument
from mediaserver.api.strict import Strict

TAG = "cards"


class Cards(Protocol):
    """`overlay.cards.Cards`."""

    async def pin(
        self,
        room: str,
        product_id: str,
        *,
        mt: int | None = None,
        at: int | None = None,
        by: str,
    ) -> dict[str, Any]: ...
    async def unpin(self, room: str, card: str) -> None: ...
    async def list(self, room: str) -> Sequence[dict[str, Any]]: ...


class NewCard(Strict):
    """A card for a product, on show from `mt`, from `at`, or from now on."""

    product_id: str
    mt: Annotated[int, Field(ge=0, description="media time in ms")] | None = None
    at: (
        Annotated[AwareDatetime | int, Field(description="RFC 3339, or UTC in ms since 1970")]
        | None
    ) = None


class CardProduct(ProductDocument):
    """`more`: the product has SKUs beyond those here."""

    more: bool = False


class CardDocument(Strict):
    """`mt`: the media time in ms from which on it is on show; null: at once."""

    id: str
    room: str
    product_id: str
    product: CardProduct
    mt: int | None
    pinned_at: str


class CardsPage(Strict):
    items: list[CardDocument]
    next: str | None


class CardsApi:
    """Handlers of `/v1/rooms/{room}/cards`."""

    def __init__(self, cards: Cards, access: Access) -> None:
        self._cards = cards
        self._access = access

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/rooms/{room}/cards", self._pin),
            web.get("/v1/rooms/{room}/cards", self._list),
            web.delete("/v1/rooms/{room}/cards/{card}", self._unpin),
        ]

    @operation(
        "Pin a product card",
        TAG,
        auth="cards.pin",
        body=NewCard,
        reply=CardDocument,
        status=201,
        errors={
            404: "room_not_found product_not_found",
            409: "limit_reached not_live",
            422: "invalid",
        },
    )
    async def _pin(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        caller = await require(request, "cards.pin", room=room)
        wanted = await read_json(request, NewCard)
        await require(
            request, "cards.pin", room=room, product=wanted.product_id
        )  # for the audit log
        card = await self._cards.pin(
            room, wanted.product_id, mt=wanted.mt, at=_utc_ms(wanted.at), by=caller.name
        )
        return web.json_response(card, status=201, headers=NO_STORE)

    @operation(
        "List a room's cards", TAG, auth=WATCHER, reply=CardsPage, errors={404: "room_not_found"}
    )
    async def _list(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require_watcher(request, self._access, room)
        cards = await self._cards.list(room)
        return web.json_response(page(list(cards), None), headers=NO_STORE)

    @operation(
        "Take a card off",
        TAG,
        auth="cards.pin",
        status=204,
        errors={404: "room_not_found card_not_found"},
    )
    async def _unpin(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        card = request.match_info["card"]
        await require(request, "cards.pin", room=room, card=card)
        await self._cards.unpin(room, card)
        return web.Response(status=204, headers=NO_STORE)


def _utc_ms(at: datetime | int | None) -> int | None:
    return round(at.timestamp() * 1000) if isinstance(at, datetime) else at
