"""Which models Ollama runs one call of at a time, whatever its OLLAMA_NUM_PARALLEL says (server/sched.go, load)."""

from collections.abc import Mapping
from typing import Final

from ai_gateway.wire.versions import Version, version_of

_ALWAYS: Final = "0.0.1"
_KNOWN: Final = "0.24.0"  # in this version's source; earlier ones may have had it

SINCE: Final[Mapping[str, str]] = {
    "mllama": _ALWAYS,
    "qwen3vl": "0.12.7",  # the first to run it
    "qwen3vlmoe": "0.12.7",
    "qwen35": _KNOWN,
    "qwen35moe": _KNOWN,
    "qwen3next": _KNOWN,
    "lfm2": _KNOWN,
    "lfm2moe": _KNOWN,
}
SINCE_BY_PREFIX: Final[Mapping[str, str]] = {"nemotron_h": _KNOWN}


def is_single(family: str, version: str | None, is_embedding: bool) -> bool:
    """Whether Ollama of this version gives the model one slot.

    A version that is not readable, or is a source build's, counts as a new one.
    """
    if is_embedding:
        return True
    since = _since(family)
    if since is None:
        return False
    now = version_of(version)
    return now is None or now >= since


def _since(family: str) -> Version | None:
    known = SINCE.get(family)
    if known is None:
        known = next((since for prefix, since in SINCE_BY_PREFIX.items() if family.startswith(prefix)), None)
    return version_of(known)
