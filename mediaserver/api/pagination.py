"""Queries: `cursor` and `limit` of every list, and the filters that a list adds to them."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mediaserver.errors import PeerError

PAGE = 50
PAGE_MAX = 200


class BadQuery(PeerError):
    code = "bad_query"
    title = "Query not allowed"


class PageQuery(BaseModel):
    """Unknown members are refused: a misspelt filter must not show more than was asked for."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE


Query = TypeVar("Query", bound=BaseModel)


def read_query(request: web.Request, model: type[Query]) -> Query:
    """The query as `model`; an empty member is one that is not there. Raises BadQuery."""
    try:
        return model.model_validate({name: text for name, text in request.query.items() if text})
    except ValidationError as error:
        fields = {str(each["loc"][0])[:40] for each in error.errors(include_input=False)}
        raise BadQuery(f"not allowed: {', '.join(sorted(fields))}") from None


def page(items: list[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
    """The document of a list."""
    return {"items": items, "next": cursor}
