"""The names that the gateway makes for models: `ai-gateway-OWNER/ID:HASH-N-DIGEST`, in Ollama's grammar.

A call never goes to a tag that a pull could move. It goes to a made name, whose content never changes: a copy of the
tag, or a model derived from it. HASH is of what config.yml says of the model, N counts up on each endpoint, DIGEST is
the base's. Every gateway reads them from /api/tags and needs to be told nothing.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

PREFIX: Final = "ai-gateway-"
HASH_LETTERS: Final = 10
DIGEST_LETTERS: Final = 12
MOST_LETTERS: Final = 60  # of an owner or an id that stay readable; Ollama takes 80

_UNSAFE: Final = re.compile(r"[^a-z0-9_.\-]+")
_UNSAFE_IN_OWNER: Final = re.compile(r"[^a-z0-9_\-]+")  # a namespace of Ollama's has no dots
_MADE: Final = re.compile(r"(ai-gateway-[a-z0-9_\-]+/[a-z0-9_.\-]+):([0-9a-f]{10})-([1-9][0-9]{0,8})-([0-9a-f]{12})")


class Made(NamedTuple):
    """A made name, read: the key that all names of one model share, what it was made of, and the name itself."""

    key: str
    spec: str
    number: int
    digest: str

    @property
    def name(self) -> str:
        """As Ollama knows it."""
        return f"{self.key}:{self.spec}-{self.number}-{self.digest}"


@lru_cache(maxsize=20_000)
def read_made(name: str) -> Made | None:
    """A made name of any owner, by Ollama's name; None for any other."""
    if not name.startswith(PREFIX):
        return None
    found = _MADE.fullmatch(name)
    return None if found is None else Made(found[1], found[2], int(found[3]), found[4])


def is_ours(name: str) -> bool:
    """Whether a name is in the gateways' namespaces, whatever follows there."""
    return name.startswith(PREFIX)


def is_of(made: Made, owner: str) -> bool:
    """Whether a name was made for an owner."""
    return made.key.startswith(namespace_of(owner))


def key_of(owner: str, model_id: str) -> str:
    """What all made names of one model begin with, before the tag; no name of Ollama's is without a tag."""
    return f"{namespace_of(owner)}{_safe(model_id, _UNSAFE)}"


def namespace_of(owner: str) -> str:
    """What all made names of one owner begin with."""
    return f"{PREFIX}{_safe(owner, _UNSAFE_IN_OWNER)}/"


def digest_part(digest: str) -> str:
    """The part of a manifest's digest that stands in names; zeros where Ollama tells none."""
    return (digest.removeprefix("sha256:").lower() + "0" * DIGEST_LETTERS)[:DIGEST_LETTERS]


def spec_hash(tag: str, parameters: Mapping[str, Any], system: str | None) -> str:
    """The hash of what config.yml says of a model: Ollama's name of its base, parameters and system.

    Equal in all later versions, since another hash would make every model anew: JSON with sorted keys, without blanks
    and without what is not set, whole numbers without a point.
    """
    spec: dict[str, Any] = {"model": tag}
    if parameters:
        spec["parameters"] = {key: _plain(value) for key, value in sorted(parameters.items())}
    if system:
        spec["system"] = system
    return hashlib.sha256(msgspec.json.encode(spec)).hexdigest()[:HASH_LETTERS]


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _safe(text: str, unsafe: "re.Pattern[str]") -> str:
    """Lower case, since Ollama's names know no case; what had to change gets a hash of what it was."""
    safe = unsafe.sub("-", text.lower())[:MOST_LETTERS].lstrip("-.") or "x"
    if safe == text:
        return safe
    return f"{safe}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
