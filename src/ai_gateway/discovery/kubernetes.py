"""Endpoints from the Kubernetes API, followed by watches: pods by their labels, or a Service's endpoint slices."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Final, Generic, Protocol, TypeVar

from ai_gateway.balancing.endpoint import Pod
from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.change_notice import ChangeNotice
from ai_gateway.cluster.reflector import Collection, Reflector, WatchSettings
from ai_gateway.config.types import Kubernetes
from ai_gateway.discovery.endpoint_slices import Slice, join, read_slice
from ai_gateway.discovery.left_out import grouped
from ai_gateway.discovery.pods import Candidate, found_in, read_pod
from ai_gateway.discovery.source import Found, Source, SourceStatus
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.discovery")

# Where one of several namespaces does not answer at the start, the others are used after this time.
FIRST_LISTS_SECONDS: Final = 5.0
NAMED: Final = 5  # namespaces in a hint

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

    def reasons(self, kept: Iterable[T]) -> Iterable[str]:
        """What is odd, a sentence each."""

    def left_out(self, kept: Iterable[T]) -> Iterable[tuple[Pod, str]]:
        """Who takes no calls, and why."""

    def selector(self) -> str:
        """What a list asks for, of labels."""

    def absence(self, kept: Iterable[T], where: str) -> str:
        """What to say where nothing was seen: what was asked, and how to look. `where` names namespaces."""


class Pods(Kind[Candidate]):
    """Pods with certain labels."""

    word = "pods"

    def __init__(self, settings: Kubernetes, own_uid: str | None = None) -> None:
        self._settings = settings
        self._own_uid = own_uid

    def collection(self, namespace: str) -> Collection:
        """See Kind."""
        query = {"labelSelector": self.selector()}
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

    def reasons(self, kept: Iterable[Candidate]) -> Iterable[str]:
        """See Kind."""
        for candidate in kept:
            if candidate.odd_reason is not None:
                yield f"pod {candidate.pod.namespace}/{candidate.pod.name} {candidate.odd_reason}"

    def left_out(self, kept: Iterable[Candidate]) -> Iterable[tuple[Pod, str]]:
        """See Kind."""
        return ((candidate.pod, candidate.reason) for candidate in kept if candidate.reason is not None)

    def selector(self) -> str:
        """See Kind."""
        return self._settings.label_selector

    def absence(self, kept: Iterable[Candidate], where: str) -> str:
        """See Kind."""
        return (
            f"no pod in {where} has the labels {self.selector()}: `kubectl get pods --show-labels` shows which labels "
            "yours have, and discovery.kubernetes (discovery.labelSelector and discovery.namespaces of the chart) says "
            "which to look for, and where"
        )


class EndpointSlices(Kind[Slice]):
    """The endpoint slices of one Service."""

    word = "endpoint slices"

    def __init__(self, settings: Kubernetes) -> None:
        self._settings = settings

    def collection(self, namespace: str) -> Collection:
        """See Kind."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        query = {"labelSelector": self.selector()}
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

    def reasons(self, kept: Iterable[Slice]) -> Iterable[str]:
        """See Kind."""
        return {f"Service {self._settings.service} {part.odd_reason}" for part in kept if part.odd_reason}

    def left_out(self, kept: Iterable[Slice]) -> Iterable[tuple[Pod, str]]:
        """See Kind."""
        return (left_out for part in kept for left_out in part.left_out)

    def selector(self) -> str:
        """See Kind."""
        return f"kubernetes.io/service-name={self._settings.service}"

    def absence(self, kept: Iterable[Slice], where: str) -> str:
        """See Kind. A Service with a selector has a slice, an empty one where it selects nothing."""
        service = self._settings.service
        if any(True for _ in kept):
            return f"Service {service} in {where} has no endpoints: compare its selector with the labels of your pods"
        return (
            f"no endpoint slices of a Service {service} are in {where}: `kubectl get services` shows which there are, "
            "and discovery.kubernetes (discovery.serviceName and discovery.namespaces of the chart) says which to look "
            "for, and where"
        )


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
        self._mirrors: dict[str, Reflector[T]] = {}  # by namespace
        self._told: set[str] = set()
        self._last: Found | None = None  # that was given

    @property
    def name(self) -> str:
        """See Source."""
        return f"kubernetes {self._kind.word}"

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source. Nothing is given before something was listed: a server that is away empties no fleet."""
        notice, self._last = ChangeNotice(), None
        namespaces = self._settings.namespaces or (await asyncio.to_thread(self._api.access.namespace),)
        settings = WatchSettings(self._settings.watch_timeout, self._settings.read_timeout)
        self._mirrors = {
            namespace: Reflector(self._api, self._kind.collection(namespace), settings, self._kind.read, notice.ring)
            for namespace in namespaces
        }
        for reflector in self._mirrors.values():
            reflector.start()
        try:
            await self._first_lists(notice)
            while True:
                found = self._found()
                if found != self._last:
                    self._last = found
                    if not found.addresses:
                        log.info("discovery: %s", self.status().hint)
                    yield found
                await notice.wait()
        finally:
            for reflector in self._mirrors.values():
                reflector.stop()

    def status(self) -> SourceStatus:
        """See Source. Its age is that of the namespace heard from last of all."""
        heard = [reflector.heard_at for reflector in self._mirrors.values()]
        oldest = None if None in heard or not heard else min(at for at in heard if at is not None)
        reasons = [reflector.reason for reflector in self._mirrors.values() if reflector.reason]
        kept = {namespace: reflector.values() for namespace, reflector in self._mirrors.items()}
        together = [value for values in kept.values() for value in values]
        seen = self._kind.seen(together)
        return SourceStatus(
            age_seconds=None if oldest is None else max(0.0, self._clock() - oldest),
            reason="; ".join(reasons) or None,
            seen=seen,
            lists=sum(reflector.lists for reflector in self._mirrors.values()),
            failures=sum(reflector.total_failures for reflector in self._mirrors.values()),
            selector=self._kind.selector(),
            namespaces=tuple(kept) or self._settings.namespaces or None,
            left_out=grouped(self._kind.left_out(together)),
            hint=self._absence(kept) or (self._uselessness(seen) if seen else None),
        )

    def _absence(self, kept: Mapping[str, list[T]]) -> str | None:
        """Where nothing is seen, of the namespaces that answer."""
        listed = {namespace: values for namespace, values in kept.items() if self._mirrors[namespace].is_listed}
        empty = {namespace: values for namespace, values in listed.items() if not self._kind.seen(values)}
        together = [value for values in empty.values() for value in values]
        return self._kind.absence(together, _words(tuple(empty))) if empty else None

    def _uselessness(self, seen: int) -> str | None:
        is_useless = self._last is not None and not self._last.addresses
        return f"{seen} seen, and none takes calls: left_out of /v1/health says why" if is_useless else None

    async def _first_lists(self, notice: ChangeNotice) -> None:
        patience_ends = self._clock() + FIRST_LISTS_SECONDS
        while not all(reflector.is_listed for reflector in self._mirrors.values()):
            some = any(reflector.is_listed for reflector in self._mirrors.values())
            left = patience_ends - self._clock()
            if some and left <= 0:
                return
            await notice.wait(max(left, 0.0) if some else None)

    def _kept(self) -> list[T]:
        return [value for reflector in self._mirrors.values() for value in reflector.values()]

    def _found(self) -> Found:
        kept = self._kept()
        reasons = set(self._kind.reasons(kept))
        for reason in sorted(reasons - self._told):
            log.warning("discovery: %s; it is left out", reason)
        self._told = reasons  # and no more of those that went, of which there may be one a minute
        pods = self._kind.found(kept)
        return Found(tuple(pods), pods)


def _words(namespaces: tuple[str, ...]) -> str:
    more = f" and {len(namespaces) - NAMED} more" if len(namespaces) > NAMED else ""
    return f"namespace{'s' if len(namespaces) > 1 else ''} {', '.join(namespaces[:NAMED])}{more}"


def kubernetes_source(settings: Kubernetes, api: ApiServer) -> Source:
    """The source for `discovery.kubernetes`."""
    if settings.mode == "pods":
        return KubernetesSource(Pods(settings, api.access.own_uid), settings, api)
    return KubernetesSource(EndpointSlices(settings), settings, api)
