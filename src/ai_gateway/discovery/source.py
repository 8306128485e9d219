"""Where addresses of Ollama come from: every source gives whole lists, again whenever they change."""

from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from ai_gateway.balancing.endpoint import Pod
from ai_gateway.discovery.left_out import LeftOut
from ai_gateway.wire.address import Address


class Found(NamedTuple):
    """A whole list: the addresses, and for those that are pods what is known of them."""

    addresses: tuple[Address, ...] = ()
    pods: Mapping[Address, Pod] = {}


class SourceStatus(msgspec.Struct, frozen=True):
    """How a source fares. Times in seconds; None: it has nothing of the kind.

    A complaint says what stands in its way; a hint what to look at where nothing does, and yet nothing is found.
    """

    age_seconds: float | None = None  # since it last heard from whoever it asks
    reason: str | None = None
    seen: int | None = None  # what it looked at, ready or not
    lists: int = 0  # whole lists that it asked for
    failures: int = 0
    selector: str | None = None  # of labels, that it asks for
    namespaces: tuple[str, ...] | None = None  # where it asks
    left_out: tuple[LeftOut, ...] = ()  # of what it has seen
    hint: str | None = None


class Source(Protocol):
    """One way to find endpoints."""

    @property
    def name(self) -> str:
        """A word for logs and /v1/health."""

    def lists(self) -> AsyncGenerator[Found]:
        """The whole list at once, and again after each change; ends where nothing can change any more."""

    def status(self) -> SourceStatus:
        """How it fares; a source that cannot fail has nothing to say."""
        return SourceStatus()
