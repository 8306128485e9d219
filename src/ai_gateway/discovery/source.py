"""The protocol of sources of endpoints. A source gives whole lists, one after each change."""

from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from ai_gateway.balancing.pod import Pod
from ai_gateway.discovery.left_out import LeftOut
from ai_gateway.wire.address import Address


class Found(NamedTuple):
    """A whole list: the addresses, and for pods what is known about them."""

    addresses: tuple[Address, ...] = ()
    pods: Mapping[Address, Pod] = {}
    unready: frozenset[Address] = frozenset()  # of pods that take no calls now, and are not being deleted

    @property
    def endpoints(self) -> tuple[tuple[Address, ...], Mapping[Address, Pod]]:
        """What makes it another list. A change among pods that take no calls makes none."""
        return self.addresses, self.pods


class SourceStatus(msgspec.Struct, frozen=True):
    """The status of a source. None: the source has no such value.

    `reason` says why it fails. `hint` says what to check if it works but finds nothing.
    """

    age_seconds: float | None = None  # since its last answer
    reason: str | None = None
    seen: int | None = None  # endpoints, ready or not
    lists: int = 0  # whole lists that it requested
    failures: int = 0
    selector: str | None = None  # of labels
    namespaces: tuple[str, ...] | None = None  # that it follows
    left_out: tuple[LeftOut, ...] = ()  # of those seen
    hint: str | None = None


class Source(Protocol):
    """One way to find endpoints."""

    @property
    def name(self) -> str:
        """A word for logs and /v1/health."""

    def lists(self) -> AsyncGenerator[Found]:
        """Yields the whole list at once, and again after each change; ends if it can never change."""

    def status(self) -> SourceStatus:
        """Its status; empty for a source that cannot fail."""
        return SourceStatus()
