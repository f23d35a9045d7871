"""The API's description: OpenAPI 3.1.0, made of the router's routes and the `Operation` of each handler.

`document` raises for a route of the API that nothing is said of, so that start-up and tests find it.
Schemas are JSON Schema 2020-12, as pydantic makes them of the handlers' models; each body has an example
made of its schema. Beside the standard's members there are `x-auth` on operations (Operation.auth) and
`x-codes` on refusals (the problem's codes), for those who read it as a page.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from mediaserver.api.operation import ACT, BY_AUTH, Operation, operation, operation_of

Json: TypeAlias = dict[str, Any]
Schemas: TypeAlias = Mapping[str, Json]

PATH = "/v1/openapi.json"
REF = "#/components/schemas/"
DESCRIBED = re.compile(r"/(v1|whip|whep|hls|healthz|readyz|metrics)(/|$)")
UNDESCRIBED_METHODS = ("OPTIONS", "HEAD")  # preflight; what GET says without the body
EXAMPLE_DEPTH = 6  # models may hold themselves

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

SECURITY_SCHEMES: dict[str, Json] = {
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
REFUSAL_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}

PARAMETERS = {  # by name, or by what stands before it in the path and its name
    "api-keys/id": "an API key, as listed",
    "staff/name": "a name, as listed",
    "{room}/name": "`index.m3u8`, or what a playlist names",
    "room": "a room",
    "product": "a product, `prd_…`",
    "product_id": "a product, `prd_…`",
    "sku": "an article of a product, `sku_…`",
    "image": "a picture, `img_…`",
    "card": "a pinned card, `crd_…`",
    "order": "an order, `ord_…`",
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

EXAMPLES: dict[str, Any] = {  # for members without `examples` of their own
    "address": {"name": "李华", "city": "杭州", "street": "文三路 1 号"},
    "amount": 1990,
    "card": "4242424242424242",
    "category": "Tea",
    "contact": {"name": "李华", "phone": "+86 571 5555 0100"},
    "currency": "CNY",
    "image": "img_01h455vb4pex5vsknk084sn02q",
    "label": "warehouse",
    "merchant": "The tea house",
    "name": "alice",
    "on_hand": 20,
    "password": "a long password",
    "product_id": "prd_01h455vb4pex5vsknk084sn02q",
    "reason": "counted",
    "room": "my-room",
    "sku": "sku_01h455vb4pex5vsknk084sn02q",
    "title": "Green tea, 100 g",
    "tracking": "SF1234567890",
}

TAGS = {  # in the order of the page
    "media": "Publish and watch.",
    "events": "What happens in a room, as it happens.",
    "rooms": "Rooms, their stream keys, their viewers' tokens.",
    "products": "The catalogue, with pictures and prices.",
    "stock": "How many there are.",
    "bag": "What a room sells.",
    "cards": "What a room shows now.",
    "orders": "Quotes, orders, and what becomes of them.",
    "payments": "Payments, and their provider.",
    "signing in": "Sessions of the staff's pages, and who may do what.",
    "staff": "Who works here, their keys, and what they did.",
    "server": "Is it well.",
}

EVENTS = """The subprotocol `hawker.v1.json` or `hawker.v1.msgpack` chooses what is sent; who names
none gets JSON. Either may be spoken to the server: text is JSON, binary is msgpack. The data
channels of a WHEP session carry the same messages both ways. Without a token one may only look on.

Each message is the envelope `Event`. `seq` counts the room's durable events without a gap, `sseq`
the buyer's own; `after` and `safter` resume behind a number, and who was away for too long gets a
new `hello`. Others carry null.

Events, with the members of `d`:

- `hello` first of all: `room` {id, title, live}, `cards`, `bag` {items, total}, `stock` by SKU
  {available, held}, `sales`, `orders` (the viewer's latest in this room), `viewers`, `clock`
  {now, epoch, rtp_base, rtp_rate}, `seq`, `sseq`
- `card.pinned`: the card; `mt` is the media time in ms
- `card.unpinned`: id, product_id
- `price.changed`: product_id, sku, price, price_version
- `stock.changed`: product_id, sku, available, held
- `bag.changed`: total
- `order.updated`: the buyer's own order, with its `link`; it carries `sseq`
- `chat`: messages [{id, by, name, text, ts}]
- `viewer.count`: n
- `likes`: n, total
- `stream.online`, `stream.offline`: nothing
- `seq`: seq, once a second, to notice a gap by
- `reply`: rid, ok, and what the act gives
- `error`: rid, code, detail, and what the refusal adds

Acts, each sent as {rid, t, d} and answered by one `reply` or `error` with its `rid`:

- `buy`: key, lines [{sku, qty}], price_version?, contact?, address?, referral?, room?; gives
  order, replayed. The same act as `POST /v1/orders`, with `key` as its Idempotency-Key
- `pay`: key, order, method?; gives payment, replayed
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


class Problem(BaseModel):
    """A refusal (RFC 9457). Some codes bring further members, for instance `errors` or `quote`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:hawker:problem:` and the code")
    title: str
    status: int
    detail: str = Field(description="what was wrong this time, for people")
    code: str = Field(description="what programs go by")


class Undescribed(Exception):
    """A route of the API whose handler has no `@operation`, or one with an unknown `auth`."""


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API at its place."""

    method: str
    path: str
    said: Operation

    @property
    def id(self) -> str:
        """Stable: of method and path alone, for instance `post_orders_id_payments`."""
        words = re.findall(r"[A-Za-z0-9]+", self.path.removeprefix("/v1"))
        return "_".join((self.method.lower(), *words)).replace("-", "_")


def document(app: web.Application, *, version: str) -> Json:
    """The OpenAPI document of what `app` serves, with the document's own route; raises Undescribed."""
    routes = list(_routes(app))
    models = _Models(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, models)
    models.schemas["Problem"]["properties"]["code"]["description"] += f": {_codes(routes)}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hawker",
            "version": version,
            "description": ABOUT,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": list(_tags(routes)),
        "paths": paths,
        "components": {
            "schemas": models.schemas,
            "responses": {"Refusal": _problem("any other refusal")},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _tags(routes: Iterable[Route]) -> Iterator[Json]:
    named = {route.said.tag for route in routes}
    for tag in (*(tag for tag in TAGS if tag in named), *sorted(named - set(TAGS))):
        yield {"name": tag} | ({"description": TAGS[tag]} if tag in TAGS else {})


def _codes(routes: Iterable[Route]) -> str:
    refusals = [route.said.refusals(route.method) for route in routes]
    codes = {code for each in refusals for listed in each.values() for code in listed}
    return ", ".join(f"`{code}`" for code in sorted(codes))


class OpenApi:
    """The document over HTTP, rendered once; any page may read it."""

    def __init__(self, document: Json) -> None:
        self._plain = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        self._zipped = gzip.compress(self._plain, mtime=0)
        self._tag = hashlib.sha256(self._plain).hexdigest()[:16]

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self._get)]

    @operation(
        "This description, as OpenAPI 3.1",
        "server",
        reply="application/json",
        reply_headers=("ETag",),
    )
    async def _get(self, request: web.Request) -> web.Response:
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")
        tag = f"{self._tag}-gzip" if zipped else self._tag
        headers = {
            "Access-Control-Allow-Origin": "*",
            "Cache-Control": "no-cache",
            "ETag": f'"{tag}"',
            "Vary": "Accept-Encoding",
        }
        if any(held.value in ("*", tag) for held in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        if zipped:
            headers["Content-Encoding"] = "gzip"
        body = self._zipped if zipped else self._plain
        return web.Response(body=body, content_type="application/json", headers=headers)


class _Models:
    """The schemas of all models that routes name: `schemas` for the components, queries apart."""

    def __init__(self, routes: Iterable[Route]) -> None:
        wanted: dict[tuple[type[BaseModel], Literal["validation", "serialization"]], None] = {}
        for route in routes:
            for model in (route.said.body, route.said.query):
                if isinstance(model, type):
                    wanted[model, "validation"] = None
            if isinstance(route.said.reply, type):
                wanted[route.said.reply, "serialization"] = None
        wanted[Problem, "validation"] = None
        refs, made = models_json_schema(
            list(wanted), ref_template=REF + "{model}", schema_generator=_Schema
        )
        self.schemas: dict[str, Json] = dict(sorted(made["$defs"].items()))
        self._refs = {key: str(ref["$ref"]) for key, ref in refs.items()}
        queries = {route.said.query for route in routes if route.said.query is not None}
        self._queries = {model: self._take(model) for model in queries}

    def body(self, model: type[BaseModel]) -> Json:
        return {"$ref": self._refs[model, "validation"]}

    def reply(self, model: type[BaseModel]) -> Json:
        return {"$ref": self._refs[model, "serialization"]}

    def query(self, model: type[BaseModel]) -> Json:
        return self._queries[model]

    def _take(self, model: type[BaseModel]) -> Json:
        return self.schemas.pop(self._refs[model, "validation"].removeprefix(REF))


class _Schema(GenerateJsonSchema):
    """Without a title on each member that says its name once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _routes(app: web.Application) -> Iterator[Route]:
    found = [
        (each.method, each.resource.canonical, operation_of(each))
        for each in app.router.routes()
        if each.resource is not None and each.method not in UNDESCRIBED_METHODS
    ]
    if not any(path == PATH for _, path, _ in found):
        found.append(("GET", PATH, getattr(OpenApi._get, "__operation__", None)))
    for method, path, said in found:
        if DESCRIBED.match(path) is None:
            continue
        if said is None:
            raise Undescribed(f"{method} {path}: its handler has no @operation")
        if said.auth not in BY_AUTH and not ACT.fullmatch(said.auth):
            raise Undescribed(f"{method} {path}: {said.auth} is no act, nor one of {[*BY_AUTH]}")
        yield Route(method, path, said)


def _operation(route: Route, models: _Models) -> Json:
    said = route.said
    made: Json = {
        "operationId": route.id,
        "summary": said.summary,
        "tags": [said.tag],
        "x-auth": said.auth,
        "security": said.security(route.method),
        "parameters": _parameters(route, models),
        "responses": _responses(route, models),
    }
    if said.description:
        made["description"] = said.description
    if said.body is not None:
        made["requestBody"] = _request_body(said.body, models)
    return made


def _parameters(route: Route, models: _Models) -> list[Json]:
    said = route.said
    made = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _named(route.path, name),
            "schema": {"type": "string"},
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    made += [_header(name) | {"name": name, "in": "header"} for name in said.headers]
    if said.query is not None:
        made += _query_parameters(models.query(said.query))
    return made


def _named(path: str, name: str) -> str:
    before = path.partition("/{" + name + "}")[0].rpartition("/")[2]
    return PARAMETERS.get(f"{before}/{name}") or PARAMETERS.get(name, f"one of {before}")


def _query_parameters(model: Json) -> Iterator[Json]:
    for name, schema in model.get("properties", {}).items():
        parameter = {"name": name, "in": "query", "required": name in model.get("required", ())}
        schema = _without_null(schema)
        if words := schema.pop("description", PARAMETERS.get(name)):
            parameter["description"] = words
        yield parameter | {"schema": schema}


def _without_null(schema: Json) -> Json:
    """A query cannot say null: it leaves the parameter out."""
    schema = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
    kinds = [each for each in schema.pop("anyOf", ()) if each != {"type": "null"}]
    return schema | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def _header(name: str) -> Json:
    return {"description": HEADERS.get(name, name), "required": True, "schema": {"type": "string"}}


def _request_body(body: type[BaseModel] | str, models: _Models) -> Json:
    if isinstance(body, str):
        return {"required": True, "content": {kind: _media(kind) for kind in body.split(", ")}}
    schema = models.body(body)
    example = example_of(schema, models.schemas)
    content = {"application/json": {"schema": schema, "example": example}}
    return {"required": bool(body.model_json_schema().get("required")), "content": content}


def _media(kind: str) -> Json:
    """What is no model: text, a file in a form, or bytes, which have no schema (OAS §4.8.14.2)."""
    if kind == "multipart/form-data":
        file = {"type": "string", "contentMediaType": "application/octet-stream"}
        return {"schema": {"type": "object", "properties": {"file": file}, "required": ["file"]}}
    return {"schema": {"type": "string"}} if kind.startswith(("text/", "application/sdp")) else {}


def _responses(route: Route, models: _Models) -> Json:
    said, status = route.said, HTTPStatus(route.said.status)
    answer: Json = {"description": status.phrase}
    if isinstance(said.reply, str):
        answer["content"] = {kind: _media(kind) for kind in said.reply.split(", ")}
    elif said.reply is not None:
        answer["content"] = {"application/json": {"schema": models.reply(said.reply)}}
    names = [*said.reply_headers, *(["Idempotent-Replayed"] * ("Idempotency-Key" in said.headers))]
    if names:
        answer["headers"] = {name: _header(name) | {"required": False} for name in names}
    refusals = said.refusals(route.method).items()
    return {
        str(status.value): answer,
        **{str(refused): _refusal(refused, codes) for refused, codes in sorted(refusals)},
        "default": {"$ref": "#/components/responses/Refusal"},
    }


def _refusal(status: int, codes: Iterable[str]) -> Json:
    made = _problem(", ".join(f"`{code}`" for code in codes)) | {"x-codes": list(codes)}
    if status in REFUSAL_HEADERS:
        name = REFUSAL_HEADERS[status]
        made["headers"] = {name: _header(name) | {"required": False}}
    return made


def _problem(description: str) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": f"{REF}Problem"}}}
    return {"description": description, "content": content}


def example_of(schema: Json, schemas: Schemas, name: str = "", depth: int = 0) -> Any:
    """A value that the schema allows: what must be there, or everything where nothing must."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].removeprefix(REF)] | {
            key: value for key, value in schema.items() if key != "$ref"
        }
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if name in EXAMPLES or "const" in schema:
        return EXAMPLES.get(name, schema.get("const"))
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        kinds = [each for each in choices if each != {"type": "null"}]
        return example_of(kinds[0], schemas, name, depth + 1) if kinds else None
    match schema.get("type"):
        case "object":
            return _example_object(schema, schemas, depth)
        case "array":
            return [example_of(schema.get("items", {}), schemas, name, depth + 1)]
        case "string":
            return "…" * schema.get("minLength", 1)
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return bool(schema.get("default"))
    return None


def _example_object(schema: Json, schemas: Schemas, depth: int) -> Json:
    properties = schema.get("properties", {})
    names = schema.get("required") or (list(properties) if depth < EXAMPLE_DEPTH else [])
    return {name: example_of(properties[name], schemas, name, depth + 1) for name in names}
