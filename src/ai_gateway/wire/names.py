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
    """Whether Ollama accepts this as a model's name."""
    return _NAME.fullmatch(text) is not None


def plain(name: str) -> str:
    """A name in lower case without the default host and namespace; a tag stays, and none is added.

    Letters beyond ASCII stay as they are: some of them would become others in lower case (the Kelvin sign a `k`).
    """
    if not name.isascii():
        return name
    return name.lower().removeprefix(DEFAULT_HOST).removeprefix(DEFAULT_NAMESPACE)


def has_tag(name: str) -> bool:
    """Whether a name says which version it means."""
    return ":" in name.rpartition("/")[2]


def ollama_name(name: str) -> str:
    """The form by which names are compared: lower case, with a tag, without the default host and namespace.

    Ollama finds existing names whatever their case.
    """
    name = plain(name)
    return name if has_tag(name) else f"{name}:{DEFAULT_TAG}"


def is_cloud(name: str) -> bool:
    """Whether Ollama would send a call for this name to its cloud: tag `cloud`, or one that ends in `-cloud`."""
    tag = ollama_name(name).rpartition(":")[2]
    return tag == "cloud" or tag.endswith("-cloud")
