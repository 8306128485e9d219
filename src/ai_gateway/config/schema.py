"""The JSON Schema of config.yml, made from its types: `python -m ai_gateway.config.schema`."""

from typing import Any, Final, get_args, get_type_hints

import msgspec

from ai_gateway.config import types
from ai_gateway.config.access import Auth
from ai_gateway.config.audit import AuditSection
from ai_gateway.config.balancing import Balancing, Polling
from ai_gateway.config.limits import Redis
from ai_gateway.config.reconcile import Reconcile
from ai_gateway.config.sections import NEVER_EMPTY, WORDS, alternatives, is_container
from ai_gateway.config.serving import Connections, Cors
from ai_gateway.config.types import Config
from ai_gateway.config.units import KEEP_ALIVE, ByteCount, FilePath, KeepAlive, Pause, Period, Seconds, Section

_NULL: Final[dict[str, Any]] = {"type": "null"}


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) that editors use to complete and check a config.yml."""
    (top,), definitions = msgspec.json.schema_components(
        [Config], schema_hook=_unit_schema, ref_template="#/$defs/{name}"
    )
    for section in (
        types.Timeouts,
        Balancing,
        Polling,
        types.Body,
        Reconcile,
        Cors,
        Connections,
        types.Kubernetes,
        types.Drain,
        AuditSection,
    ):
        _write_defaults(definitions[section.__name__], section())
    _write_defaults(definitions["Redis"], Redis(url=""))
    _let_be_empty(Config, definitions)
    _write_words(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "AI Gateway Ollama: config.yml",
        **top,
        "$defs": definitions,
    }


def _write_defaults(definition: dict[str, Any], defaults: Section) -> None:
    for name, value in msgspec.structs.asdict(defaults).items():
        if isinstance(value, Seconds | ByteCount):
            definition["properties"][name]["default"] = int(value) if value == int(value) else float(value)


def _let_be_empty(kind: type[Section], definitions: dict[str, Any]) -> None:
    """Allows null for sections and lists whose lines are all commented out, except where that would be dangerous."""
    properties = definitions[kind.__name__]["properties"]
    kept = {Config: NEVER_EMPTY, Auth: ("methods",)}.get(kind, ()) + tuple(definitions[kind.__name__]["required"])
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for part in filter(is_container, alternatives(hint)):
            if name not in kept:
                properties[name] = _or(properties[name], _NULL)
            for inner in (part, *get_args(part)):
                for section in alternatives(inner):
                    if isinstance(section, type) and issubclass(section, Section):
                        _let_be_empty(section, definitions)


def _write_words(definitions: dict[str, Any]) -> None:
    """Adds the words that mean "off", and forbids null in their place."""
    properties = definitions["Config"]["properties"]
    for key in NEVER_EMPTY:
        options = properties[key].get("anyOf")
        if options is not None:
            properties[key] = {**properties[key], "anyOf": [option for option in options if option != _NULL]}
            properties[key].pop("default", None)
    for key in set(WORDS) & set(properties):
        properties[key] = _or(properties[key], {"const": WORDS[key]})
    definitions["Auth"]["required"] = ["methods"]
    definitions["Auth"]["properties"]["methods"].pop("default", None)
    # All of its lines are commented out.
    definitions["LimitsSection"]["not"] = {"minProperties": 1, "additionalProperties": _NULL}
    models = properties["models"]
    models["anyOf"][0]["additionalProperties"] = _or(models["anyOf"][0]["additionalProperties"], _NULL)


def _or(known: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The known schema or another one; description and default stay on the outside."""
    around: dict[str, Any] = {key: known[key] for key in ("description", "default") if key in known}
    inner = {key: value for key, value in known.items() if key not in around}
    options = inner.pop("anyOf", None) if set(inner) == {"anyOf"} else [inner]
    return {**around, "anyOf": options if other in options else [*options, other]}


def _unit_schema(kind: type) -> dict[str, Any]:
    text = {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}
    if kind is Seconds:
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, text]}
    if kind is Pause:
        return {"anyOf": [{"type": "number", "minimum": 0}, text]}
    if kind is Period:
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, text, {"const": "never"}]}
    if kind is KeepAlive:
        return {"anyOf": [{"type": "integer", "not": {"const": 0}}, {"type": "string", "pattern": KEEP_ALIVE}]}
    if kind is FilePath:
        return {"type": "string", "minLength": 1}
    if kind is ByteCount:
        text = {"type": "string", "pattern": r"^\d+(B|KiB|MiB|GiB|KB|MB|GB)?$"}
        return {"anyOf": [{"type": "integer", "minimum": 1}, text]}
    raise NotImplementedError(kind)


def as_text() -> str:
    """The schema as in the repository's file `config.schema.json`."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    print(as_text(), end="")
