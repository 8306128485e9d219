"""The JSON Schema of config.yml, made from its types: `python -m ai_gateway.config.schema`."""

from typing import Any

import msgspec

from ai_gateway.config import types
from ai_gateway.config.auditing import Audit
from ai_gateway.config.limiting import Redis
from ai_gateway.config.serving import Connections, Cors
from ai_gateway.config.types import Config
from ai_gateway.config.units import ByteCount, Pause, Seconds, Section


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) that editors use to complete and check a config.yml."""
    (top,), definitions = msgspec.json.schema_components(
        [Config], schema_hook=_unit_schema, ref_template="#/$defs/{name}"
    )
    for section in (types.Timeouts, types.Polling, types.Body, Cors, Connections, types.Kubernetes, types.Drain, Audit):
        _write_defaults(definitions[section.__name__], section())
    _write_defaults(definitions["Redis"], Redis(url=""))
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


def _unit_schema(kind: type) -> dict[str, Any]:
    text = {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}
    if kind is Seconds:
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, text]}
    if kind is Pause:
        return {"anyOf": [{"type": "number", "minimum": 0}, text]}
    if kind is ByteCount:
        text = {"type": "string", "pattern": r"^\d+(B|KiB|MiB|GiB|KB|MB|GB)?$"}
        return {"anyOf": [{"type": "integer", "minimum": 1}, text]}
    raise NotImplementedError(kind)


def as_text() -> str:
    """The schema as the file `config.schema.json` of the repository holds it."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    print(as_text(), end="")
