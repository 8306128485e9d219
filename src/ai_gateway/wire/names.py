"""Ollama's model names: `[host/][namespace/]model[:tag]` (types/model/name.go in ollama/ollama)."""

import re

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}"
_NAMESPACE = r"[A-Za-z0-9_][A-Za-z0-9_\-]{0,79}"
_HOST = r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,349}"
_NAME = re.compile(rf"(?:(?:{_HOST}/)?{_NAMESPACE}/)?{_PART}(?::{_PART})?")

DEFAULT_HOST = "registry.ollama.ai/"
DEFAULT_NAMESPACE = "library/"
DEFAULT_TAG = "latest"


def is_model_name(text: str) -> bool:
    """Whether Ollama accepts this text as a model name."""
    return _NAME.fullmatch(text) is not None


def plain(name: str) -> str:
    """A name in lower case without the default host and namespace. It keeps its tag, and gets none if it has none.

    Letters outside ASCII stay: in lower case some would become others (the Kelvin sign a `k`).
    """
    if not name.isascii():
        return name
    return name.lower().removeprefix(DEFAULT_HOST).removeprefix(DEFAULT_NAMESPACE)


def has_tag(name: str) -> bool:
    """Whether a name has a tag."""
    return ":" in name.rpartition("/")[2]


def ollama_name(name: str) -> str:
    """The form in which names are compared: lower case, with a tag, without the default host and namespace.

    Ollama finds existing names in any case.
    """
    name = plain(name)
    return name if has_tag(name) else f"{name}:{DEFAULT_TAG}"


def registry_of(name: str) -> str | None:
    """The host that a name says, in lower case; None: Ollama's own registry."""
    parts = name.lower().split("/")
    return parts[0] if len(parts) == 3 and f"{parts[0]}/" != DEFAULT_HOST else None


def is_cloud(name: str) -> bool:
    """Whether Ollama would send a call for this name to its cloud: the tag is `cloud` or ends in `-cloud`."""
    tag = ollama_name(name).rpartition(":")[2]
    return tag == "cloud" or tag.endswith("-cloud")
