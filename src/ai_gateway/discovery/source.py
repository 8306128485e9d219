"""Where addresses of Ollama come from: every source gives whole lists, again whenever they change."""

from collections.abc import AsyncIterator
from typing import Protocol

from ai_gateway.wire.address import Address

Addresses = tuple[Address, ...]


class Source(Protocol):
    """One way to find endpoints."""

    @property
    def name(self) -> str:
        """A word for logs and /v1/health."""

    def lists(self) -> AsyncIterator[Addresses]:
        """The whole list at once, and again after each change; ends where nothing can change any more."""
