"""What the manifests of the whole fleet stand for, each known once for all endpoints."""

from collections.abc import Iterable
from typing import Final

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.resident import HeldModel, Weights

MOST_WEIGHTS: Final = 10_000  # digests of the whole fleet


class KnownWeights:
    """Weights by the digest of their manifest. Changed by the fleet."""

    __slots__ = ("by_digest",)

    def __init__(self) -> None:
        self.by_digest: dict[str, Weights] = {}

    def unknown_on(self, endpoint: Endpoint) -> list[HeldModel]:
        """A model for each digest on the endpoint's disk that stands for unknown weights, while there is room."""
        room = MOST_WEIGHTS - len(self.by_digest)
        held = (endpoint.held or {}).values()
        unknown = {one.digest: one for one in held if one.digest not in self.by_digest and not one.is_remote}
        unknown.pop("", None)
        return list(unknown.values())[: max(0, room)]

    def note(self, digest: str, weights: Weights, endpoints: Iterable[Endpoint]) -> None:
        """Notes what a digest stands for, on all endpoints that know it, if any still do."""
        knowing = [endpoint for endpoint in endpoints if endpoint.residency.knows(digest)]
        if knowing:
            self.by_digest[digest] = weights
        for endpoint in knowing:
            endpoint.residency.learn(digest)

    def forget(self, digests: Iterable[str], endpoints: Iterable[Endpoint]) -> None:
        """Forgets those of these digests that no endpoint knows any more."""
        gone = self.by_digest.keys() & set(digests)
        if gone:
            everywhere = [endpoint.residency for endpoint in endpoints]
            for digest in gone:
                if not any(residency.knows(digest) for residency in everywhere):
                    del self.by_digest[digest]
