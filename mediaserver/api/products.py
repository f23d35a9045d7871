"""Products and prices over HTTP: what a shop sells, as everybody may read it and staff change it.

A product's ETag is its version, a price's its price version. A price within a product's PATCH wants
the right to set prices as well, so neither way around the permission table is open.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from commerce.catalogue import Catalogue
from commerce.errors import NotFound
from commerce.products import Product, Sku
from commerce.shelf import Shelf
from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.pagination import page, read_query
from mediaserver.api.preconditions import NO_STORE, NO_VERSION, etag, if_match
from mediaserver.api.problem import read_json
from mediaserver.api.product_documents import (
    NewPrice,
    NewProduct,
    PriceDocument,
    ProductDocument,
    ProductPatch,
    ProductsPage,
    ProductsQuery,
)

TAG = "products"


class ProductsApi:
    """Handlers of `/v1/products` and `/v1/skus/{sku}/price`."""

    def __init__(self, catalogue: Catalogue, shelf: Shelf) -> None:
        self._catalogue = catalogue
        self._shelf = shelf

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/products", self._create),
            web.get("/v1/products", self._list),
            web.get("/v1/products/{product}", self._get),
            web.patch("/v1/products/{product}", self._patch),
            web.get("/v1/skus/{sku}/price", self._price),
            web.put("/v1/skus/{sku}/price", self._set_price),
        ]

    @operation(
        "Make a product",
        TAG,
        auth="products.write",
        body=NewProduct,
        reply=ProductDocument,
        status=201,
        errors={409: "sku_exists"},
        reply_headers=("Location", "ETag"),
    )
    async def _create(self, request: web.Request) -> web.Response:
        caller = await require(request, "products.write")
        wanted = await read_json(request, NewProduct)
        product = await self._catalogue.create(
            wanted.title,
            [sku.new() for sku in wanted.skus],
            by=caller.name,
            merchant=wanted.merchant,
            category=wanted.category,
            returnable=wanted.returnable,
            image=wanted.image,
        )
        return await self._reply(product, 201, {"Location": f"/v1/products/{product.id}"})

    @operation(
        "List products, oldest first",
        TAG,
        reply=ProductsPage,
        query=ProductsQuery,
        errors={422: "invalid"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        query = read_query(request, ProductsQuery)
        products, cursor = await self._catalogue.list(
            after=query.cursor, limit=query.limit, search=query.search
        )
        body = page(await self._shelf.show(products), cursor)
        return web.json_response(body, headers=NO_STORE)

    @operation(
        "Read a product",
        TAG,
        reply=ProductDocument,
        errors={404: "product_not_found"},
        reply_headers=("ETag",),
    )
    async def _get(self, request: web.Request) -> web.Response:
        return await self._reply(await self._catalogue.get(request.match_info["product"]))

    @operation(
        "Change a product",
        TAG,
        auth="products.write",
        body=ProductPatch,
        reply=ProductDocument,
        headers=("If-Match",),
        errors={404: "product_not_found sku_not_found", 409: "sku_exists"},
        reply_headers=("ETag",),
    )
    async def _patch(self, request: web.Request) -> web.Response:
        id = request.match_info["product"]
        caller = await require(request, "products.write", product=id)
        wanted = await read_json(request, ProductPatch)
        if any(sku.price is not None for sku in wanted.skus):
            await require(request, "prices.write", product=id)
        product = await self._catalogue.get(id)
        product = await self._catalogue.patch(
            id,
            if_version=product.version if if_match(request, product.version) else NO_VERSION,
            by=caller.name,
            title=wanted.title,
            merchant=wanted.merchant,
            category=wanted.category,
            returnable=wanted.returnable,
            image=wanted.image,
            skus=[sku.patch() for sku in wanted.skus],
            new_skus=[sku.new() for sku in wanted.new_skus],
        )
        return await self._reply(product)

    @operation(
        "Read a price",
        TAG,
        reply=PriceDocument,
        errors={404: "sku_not_found"},
        reply_headers=("ETag",),
    )
    async def _price(self, request: web.Request) -> web.Response:
        return _price_reply(await self._sku(request.match_info["sku"]))

    @operation(
        "Set a price",
        TAG,
        auth="prices.write",
        body=NewPrice,
        reply=PriceDocument,
        headers=("If-Match",),
        errors={404: "sku_not_found"},
        reply_headers=("ETag",),
    )
    async def _set_price(self, request: web.Request) -> web.Response:
        code = request.match_info["sku"]
        caller = await require(request, "prices.write", sku=code)
        wanted = (await read_json(request, NewPrice)).price.money()
        sku = await self._sku(code)
        version = sku.price_version if if_match(request, sku.price_version) else ""
        sku = await self._catalogue.set_price(
            code, wanted, if_price_version=version, by=caller.name
        )
        return _price_reply(sku)

    async def _sku(self, code: str) -> Sku:
        product = (await self._catalogue.of_skus([code])).get(code)
        if product is None:
            raise NotFound(f"there is no SKU {code}", code="sku_not_found")
        return product.sku(code)

    async def _reply(
        self, product: Product, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        document: dict[str, Any] = (await self._shelf.show([product]))[0]
        headers = {**etag(product.version), **(headers or {})}
        return web.json_response(document, status=status, headers=headers)


def _price_reply(sku: Sku) -> web.Response:
    body = {"sku": sku.sku, "price": sku.price.to_json(), "price_version": sku.price_version}
    return web.json_response(body, headers=etag(sku.price_version))
