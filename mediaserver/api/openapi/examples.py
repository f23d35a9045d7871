"""An example of each body, made of its JSON Schema 2020-12.

A member's own `examples` come first, then its enumeration, then EXAMPLES by its name, then the least
that its type allows. `tests/api/test_openapi.py` gives each of them to the model it was made of.
"""

from __future__ import annotations

from typing import Any

from mediaserver.api.openapi.schemas import REF, Json, Schemas

DEPTH_MAX = 6  # models may hold themselves

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
    names = schema.get("required") or (list(properties) if depth < DEPTH_MAX else [])
    return {name: example_of(properties[name], schemas, name, depth + 1) for name in names}
