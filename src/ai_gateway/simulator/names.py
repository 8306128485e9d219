"""Model names: `[host/][namespace/]model[:tag]`, short and long.

Source: Ollama's types/model/name.go. The display form drops the default host and namespace and always has the tag.
"""

import re
from dataclasses import dataclass

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_NAME = re.compile(
    r"(?:(?:(?P<host>[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349})/)?(?P<namespace>[A-Za-z0-9_][A-Za-z0-9_-]{0,79})/)?"
    r"(?P<model>[A-Za-z0-9_][A-Za-z0-9_.-]{0,79})(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}))?"
)


@dataclass(frozen=True, slots=True)
class Name:
    """A full name. Two names mean the same model if they have the same `key`."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def short(self) -> str:
        """The name as Ollama shows it: `llama3:latest`, `me/llama3:v1`, `host/me/llama3:v1`."""
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        if self.namespace != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def long(self) -> str:
        """The name with host and namespace: `registry.ollama.ai/library/llama3:latest`."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """The key of a lookup: in lower case."""
        return self.long.lower()


def parse_name(text: str) -> Name | None:
    """The name in a client's text; None if it is not a name."""
    match = _NAME.fullmatch(text.removesuffix(":local"))
    if match is None:
        return None
    return Name(
        host=match["host"] or DEFAULT_HOST,
        namespace=match["namespace"] or DEFAULT_NAMESPACE,
        model=match["model"],
        tag=match["tag"] or DEFAULT_TAG,
    )


def is_cloud(text: str) -> bool:
    """Whether Ollama would send the prompt to ollama.com because of this name's suffix."""
    tag = text.rpartition(":")[2] if ":" in text else ""
    return tag == "cloud" or tag.endswith("-cloud")
