"""A value that fits a JSON Schema, always the same one for the same schema and text."""

from typing import Any

MAX_DEPTH = 8
_WORDS = {"string": "text", "integer": 7, "number": 0.5, "boolean": True, "null": None}


def example(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A minimal value for a schema: required members, first enum member, first alternative.

    `root` is where `#/...` references are looked up. Below MAX_DEPTH a schema that refers to itself gives null.
    """
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return "text" if isinstance(schema, dict | bool) and depth <= MAX_DEPTH else None
    if "$ref" in schema:
        return example(_resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return example(schema[word][0], root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, root, depth)
    if kind == "array":
        count = max(int(schema.get("minItems", 1)), 1)
        return [example(schema.get("items", {}), root, depth + 1) for _ in range(min(count, 16))]
    if kind in ("integer", "number"):
        return _number(schema, kind)
    if kind == "string":
        return _string(schema)
    return _WORDS.get(str(kind), "text")


def _object(schema: dict[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    required = schema.get("required") or list(properties)
    return {name: example(properties.get(name, {}), root, depth + 1) for name in required}


def _number(schema: dict[str, Any], kind: str) -> int | float:
    value = float(schema.get("minimum", schema.get("maximum", _WORDS[kind])))
    return int(value) if kind == "integer" else value


def _string(schema: dict[str, Any]) -> str:
    shortest = min(int(schema.get("minLength", 0)), 1000)
    longest = int(schema.get("maxLength", 1000))
    return "text".ljust(shortest, "x")[:longest]


def _resolve(reference: str, root: Any) -> Any:
    place = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if not part:
            continue
        place = place.get(part) if isinstance(place, dict) else None
    return place
