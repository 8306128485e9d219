"""What pulls find: a registry that all endpoints of a simulator share, and that tests change while they run."""

from collections.abc import Collection
from dataclasses import replace

import msgspec

from ai_gateway.simulator.models import Model, describe, sha256
from ai_gateway.simulator.names import Name, parse_name


class Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a name means from now on. Equal contents have equal digests, under whatever name."""

    name: str
    content: str  # any word; another one is another file
    size: int | None = None  # bytes; None is guessed from the name


class Registry:
    """Names with contents. Changed by `publish` and `withdraw`; a name that was never published means one content.

    `bytes_per_second`, where it is set, takes the place of the endpoints' own rate of pulls.
    """

    def __init__(self) -> None:
        self.bytes_per_second: float | None = None
        self._contents: dict[str, Content] = {}
        self._withdrawn: set[str] = set()

    def publish(self, content: Content) -> bool:
        """Adds a name, or moves it to another content; False if it is no name."""
        name = parse_name(content.name)
        if name is None:
            return False
        self._contents[name.key] = content
        self._withdrawn.discard(name.key)
        return True

    def withdraw(self, text: str) -> bool:
        """Pulls do not find the name any more; False if it is no name."""
        name = parse_name(text)
        if name is None:
            return False
        self._contents.pop(name.key, None)
        self._withdrawn.add(name.key)
        return True

    def published(self) -> list[Content]:
        """The names that were published."""
        return list(self._contents.values())

    def has(self, name: Name, known: Collection[str]) -> bool:
        """Whether a pull finds a name; `known` are models that it has with any tag, `*` stands for all."""
        if name.key in self._contents:
            return True
        return name.key not in self._withdrawn and ("*" in known or name.model in known)

    def describe(self, name: Name, modified_at: float, capabilities: tuple[str, ...] | None) -> Model:
        """The model for a name, as of now."""
        model = describe(name, modified_at, capabilities)
        content = self._contents.get(name.key)
        if content is None:
            return model
        size = model.size_bytes if content.size is None else content.size
        digest, weights = sha256(f"manifest of {content.content}"), sha256(f"weights of {content.content}")
        return replace(model, digest=digest, weights=weights, size_bytes=size)
