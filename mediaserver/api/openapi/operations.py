"""One operation of the description: its parameters, its body, its answers.

Beside the standard's members there are `x-auth` on an operation (Operation.auth) and `x-codes` on a
refusal (the problem's codes), for those who read it as a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus

from pydantic import BaseModel

from mediaserver.api.openapi.examples import example_of
from mediaserver.api.openapi.routes import Route
from mediaserver.api.openapi.schemas import REF, Json, Models
from mediaserver.api.openapi.words import HEADERS, PARAMETERS

REFUSAL_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def describe(route: Route, models: Models) -> Json:
    """The Operation Object of a route (OAS §4.8.10)."""
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


def _parameters(route: Route, models: Models) -> list[Json]:
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


def _request_body(body: type[BaseModel] | str, models: Models) -> Json:
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


def _responses(route: Route, models: Models) -> Json:
    said, status = route.said, HTTPStatus(route.said.status)
    answer: Json = {"description": status.phrase}
    if isinstance(said.reply, str):
        answer["content"] = {kind: _media(kind) for kind in said.reply.split(", ")}
    elif said.reply is not None:
        answer["content"] = {"application/json": {"schema": models.reply(said.reply)}}
    if said.reply_also is not None:
        answer["content"][said.reply_also] = _media(said.reply_also)
    names = [*said.reply_headers, *(["Idempotent-Replayed"] * ("Idempotency-Key" in said.headers))]
    if names:
        answer["headers"] = {name: _header(name) | {"required": False} for name in names}
    refusals = said.refusals(route.method).items()
    return {
        str(status.value): answer,
        **{str(refused): _refused(refused, codes) for refused, codes in sorted(refusals)},
        "default": {"$ref": "#/components/responses/Refusal"},
    }


def _refused(status: int, codes: Iterable[str]) -> Json:
    made = refusal(", ".join(f"`{code}`" for code in codes)) | {"x-codes": list(codes)}
    if status in REFUSAL_HEADERS:
        name = REFUSAL_HEADERS[status]
        made["headers"] = {name: _header(name) | {"required": False}}
    return made


def refusal(description: str) -> Json:
    """A Response Object that is a problem."""
    content = {"application/problem+json": {"schema": {"$ref": f"{REF}Problem"}}}
    return {"description": description, "content": content}
