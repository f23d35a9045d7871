"""The schemas of the handlers' models: JSON Schema 2020-12, as pydantic makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from mediaserver.api.operation import Operation

Json: TypeAlias = dict[str, Any]
Schemas: TypeAlias = Mapping[str, Json]

REF = "#/components/schemas/"


class Problem(BaseModel):
    """A refusal (RFC 9457). Some codes bring further members, for instance `errors` or `quote`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:hawker:problem:` and the code")
    title: str
    status: int
    detail: str = Field(description="what was wrong this time, for people")
    code: str = Field(description="what programs go by")


class Models:
    """Those of all models that the operations name: `schemas` for the components, queries apart."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        wanted: dict[tuple[type[BaseModel], Literal["validation", "serialization"]], None] = {}
        for operation in operations:
            for model in (operation.body, operation.query):
                if isinstance(model, type):
                    wanted[model, "validation"] = None
            if isinstance(operation.reply, type):
                wanted[operation.reply, "serialization"] = None
        wanted[Problem, "validation"] = None
        refs, made = models_json_schema(
            list(wanted), ref_template=REF + "{model}", schema_generator=_Schema
        )
        self.schemas: dict[str, Json] = dict(sorted(made["$defs"].items()))
        self._refs = {key: str(ref["$ref"]) for key, ref in refs.items()}
        queries = {each.query for each in operations if each.query is not None}
        self._queries = {model: self._take(model) for model in queries}

    def body(self, model: type[BaseModel]) -> Json:
        """A reference to what a request must be."""
        return {"$ref": self._refs[model, "validation"]}

    def reply(self, model: type[BaseModel]) -> Json:
        """A reference to what an answer is."""
        return {"$ref": self._refs[model, "serialization"]}

    def query(self, model: type[BaseModel]) -> Json:
        """The schema of a query, whose members are parameters."""
        return self._queries[model]

    def _take(self, model: type[BaseModel]) -> Json:
        return self.schemas.pop(self._refs[model, "validation"].removeprefix(REF))


class _Schema(GenerateJsonSchema):
    """Without a title on each member that says its name once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
