"""Endpoints from the Kubernetes API, followed by watches: pods by their labels, or a Service's endpoint slices."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Final, Generic, Protocol, TypeVar

from ai_gateway.balancing.endpoint import Pod
from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.bell import Bell
from ai_gateway.cluster.mirror import Collection, Manner, Mirror
from ai_gateway.config.types import Kubernetes
from ai_gateway.discovery.endpoint_slices import Slice, join, read_slice
from ai_gateway.discovery.pods import Candidate, found_in, read_pod
from ai_gateway.discovery.source import Found, Source, Standing
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.discovery")

# Where one of several namespaces does not answer at the start, the others are used after this time.
FIRST_LISTS_SECONDS: Final = 5.0

T = TypeVar("T")


class Kind(Protocol[T]):
    """What is watched, and how a list of it becomes endpoints."""

    @property
    def word(self) -> str:
        """Its plural, for logs."""

    def collection(self, namespace: str) -> Collection:
        """Where it is listed."""

    def read(self, content: bytes) -> T | None:
        """What is kept of one object."""

    def found(self, kept: Iterable[T]) -> Mapping[Address, Pod]:
        """The endpoints that take calls."""

    def seen(self, kept: Iterable[T]) -> int:
        """How many there are, ready or not."""

    def complaints(self, kept: Iterable[T]) -> Iterable[str]:
        """What is odd, a sentence each."""


class Pods(Kind[Candidate]):
    """Pods with certain labels."""

    word = "pods"

    def __init__(self, settings: Kubernetes, own_uid: str | None = None) -> None:
        self._settings = settings
        self._own_uid = own_uid

    def collection(self, namespace: str) -> Collection:
        """See Kind."""
        query = {"labelSelector": self._settings.label_selector}
        return Collection(f"/api/v1/namespaces/{namespace}/pods", query, f"pods in namespace {namespace}")

    def read(self, content: bytes) -> Candidate | None:
        """See Kind."""
        return read_pod(content, self._settings, self._own_uid)

    def found(self, kept: Iterable[Candidate]) -> Mapping[Address, Pod]:
        """See Kind."""
        return found_in(kept)

    def seen(self, kept: Iterable[Candidate]) -> int:
        """See Kind."""
        return sum(1 for _ in kept)

    def complaints(self, kept: Iterable[Candidate]) -> Iterable[str]:
        """See Kind."""
        for candidate in kept:
            if candidate.complaint is not None:
                yield f"pod {candidate.pod.namespace}/{candidate.pod.name} {candidate.complaint}"


class EndpointSlices(Kind[Slice]):
    """The endpoint slices of one Service."""

    word = "endpoint slices"

    def __init__(self, settings: Kubernetes) -> None:
        self._settings = settings

    def collection(self, namespace: str) -> Collection:
        """See Kind."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        query = {"labelSelector": f"kubernetes.io/service-name={self._settings.service}"}
        return Collection(path, query, f"endpointslices in namespace {namespace}")

    def read(self, content: bytes) -> Slice | None:
        """See Kind."""
        return read_slice(content, self._settings)

    def found(self, kept: Iterable[Slice]) -> Mapping[Address, Pod]:
        """See Kind."""
        return join(kept)

    def seen(self, kept: Iterable[Slice]) -> int:
        """See Kind."""
        return sum(part.named for part in kept)

    def complaints(self, kept: Iterable[Slice]) -> Iterable[str]:
        """See Kind."""
        return {f"Service {self._settings.service} {part.complaint}" for part in kept if part.complaint}


class KubernetesSource(Source, Generic[T]):
    """Follows one kind in some namespaces. Changed by its generator alone; threads ring the bell."""

    def __init__(
        self,
        kind: Kind[T],
        settings: Kubernetes,
        api: ApiServer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind = kind
        self._settings = settings
        self._api = api
        self._clock = clock
        self._mirrors: list[Mirror[T]] = []
        self._told: set[str] = set()

    @property
    def name(self) -> str:
        """See Source."""
        return f"kubernetes {self._kind.word}"

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source. Nothing is given before something was listed: a server that is away empties no fleet."""
        bell = Bell()
        namespaces = self._settings.namespaces or (await asyncio.to_thread(self._api.access.namespace),)
        manner = Manner(self._settings.watch_timeout, self._settings.read_timeout)
        self._mirrors = [
            Mirror(self._api, self._kind.collection(namespace), manner, self._kind.read, bell.ring)
            for namespace in dict.fromkeys(namespaces)
        ]
        for mirror in self._mirrors:
            mirror.start()
        try:
            await self._first_lists(bell)
            last: Found | None = None
            while True:
                found = self._found()
                if found != last:
                    last = found
                    yield found
                await bell.wait()
        finally:
            for mirror in self._mirrors:
                mirror.stop()

    def standing(self) -> Standing:
        """See Source. Its age is that of the namespace heard from last of all."""
        heard = [mirror.heard_at for mirror in self._mirrors]
        oldest = None if None in heard or not heard else min(at for at in heard if at is not None)
        complaints = [mirror.complaint for mirror in self._mirrors if mirror.complaint]
        return Standing(
            age_seconds=None if oldest is None else max(0.0, self._clock() - oldest),
            complaint="; ".join(complaints) or None,
            seen=self._kind.seen(self._kept()),
            lists=sum(mirror.lists for mirror in self._mirrors),
            failures=sum(mirror.total_failures for mirror in self._mirrors),
        )

    async def _first_lists(self, bell: Bell) -> None:
        patience_ends = self._clock() + FIRST_LISTS_SECONDS
        while not all(mirror.is_listed for mirror in self._mirrors):
            some = any(mirror.is_listed for mirror in self._mirrors)
            left = patience_ends - self._clock()
            if some and left <= 0:
                return
            await bell.wait(max(left, 0.0) if some else None)

    def _kept(self) -> list[T]:
        return [value for mirror in self._mirrors for value in mirror.values()]

    def _found(self) -> Found:
        kept = self._kept()
        for complaint in self._kind.complaints(kept):
            if complaint not in self._told:
                self._told.add(complaint)
                log.warning("discovery: %s; it is left out", complaint)
        pods = self._kind.found(kept)
        return Found(tuple(pods), pods)


def kubernetes_source(settings: Kubernetes, api: ApiServer) -> Source:
    """The source for `discovery.kubernetes`."""
    if settings.mode == "pods":
        return KubernetesSource(Pods(settings, api.access.own_uid), settings, api)
    return KubernetesSource(EndpointSlices(settings), settings, api)
