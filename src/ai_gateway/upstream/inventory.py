"""Reads what Ollama's state endpoints say: /api/tags, /api/ps and /api/show (api/types.go in ollama/ollama)."""

from datetime import datetime
from typing import Any, Final

import msgspec

from ai_gateway.balancing.endpoint import HeldModel
from ai_gateway.wire.names import canonical

# What msgspec raises for content that is no JSON.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_models(content: Any) -> dict[str, HeldModel] | None:
    """/api/tags as models by canonical name; None for what is not Ollama's answer."""
    listed = content.get("models") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        return None
    held = {}
    for entry in listed:
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            held[canonical(entry["name"])] = _held_model(entry)
    return held


def _held_model(entry: dict[str, Any]) -> HeldModel:
    details = entry.get("details")
    details = details if isinstance(details, dict) else {}
    size = entry.get("size")
    return HeldModel(
        name=entry["name"],
        digest=str(entry.get("digest", "")),
        size=size if isinstance(size, int) else 0,
        modified=_unix_seconds(entry.get("modified_at")),
        family=str(details.get("family", "")),
        parameter_size=str(details.get("parameter_size", "")),
        quantization=str(details.get("quantization_level", "")),
        is_remote=bool(entry.get("remote_host") or entry.get("remote_model")),
    )


def _unix_seconds(text: Any) -> int:
    """An RFC 3339 time; Go writes up to 9 digits of a second, Python reads 6."""
    try:
        return int(datetime.fromisoformat(str(text)[:19] + "+00:00").timestamp())
    except ValueError:
        return 0


def read_contexts(content: Any) -> dict[str, int]:
    """/api/ps as the context of each loaded model, by canonical name; those that it does not tell are left out."""
    listed = content.get("models") if isinstance(content, dict) else None
    return {
        canonical(entry["name"]): entry["context_length"]
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and _is_count(entry.get("context_length"))
    }


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 40


def read_residents(content: Any) -> frozenset[str] | None:
    """/api/ps as canonical names of loaded models; None for what is not Ollama's answer."""
    listed = content.get("models") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        return None
    return frozenset(
        canonical(entry["name"]) for entry in listed if isinstance(entry, dict) and isinstance(entry.get("name"), str)
    )
