"""Endpoints from watches on the Kubernetes API: pods by their labels, or the endpoint slices of a Service."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Final, Generic, Protocol, TypeVar

from ai_gateway.balancing.pod import Pod
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

# If one of several namespaces does not answer at startup, the gateway uses the others after this time.
FIRST_LISTS_SECONDS: Final = 5.0
MOST_NAMED: Final = 5  # namespaces in a hint

T = TypeVar("T")


class Kind(Protocol[T]):
    """A kind of object to watch, and how a list of it becomes endpoints."""

    @property
    def word(self) -> str:
        """The plural of its name, for logs."""

    def collection(self, namespace: str) -> Collection:
        """The collection to list in a namespace."""

    def read(self, content: bytes) -> T | None:
        """What to keep of one object; None leaves it out."""

    def found(self, kept: Iterable[T]) -> Mapping[Address, Pod]:
        """The endpoints that take calls."""

    def unready(self, kept: Iterable[T]) -> Iterable[Address]:
        """The endpoints that take no calls now, and are not being deleted."""

    def seen(self, kept: Iterable[T]) -> int:
        """How many endpoints there are, ready or not."""

    def reasons(self, kept: Iterable[T]) -> Iterable[str]:
        """The reasons why objects can never become endpoints, one sentence each."""

    def left_out(self, kept: Iterable[T]) -> Iterable[tuple[Pod, str]]:
        """The pods that take no calls, and the reasons."""

    def selector(self) -> str:
        """The label selector of a list."""

    def absence_hint(self, kept: Iterable[T], where: str) -> str:
        """A hint if nothing was seen: the query, and how to check it. `where` names the namespaces."""


class Pods(Kind[Candidate]):
    """Pods that match a label selector."""

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

    def unready(self, kept: Iterable[Candidate]) -> Iterable[Address]:
        """See Kind."""
        return (candidate.unready for candidate in kept if candidate.unready is not None)

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

    def absence_hint(self, kept: Iterable[Candidate], where: str) -> str:
        """See Kind."""
        return (
            f"no pod in {where} has the labels {self.selector()}: list the labels of your pods with `kubectl get pods "
            "--show-labels`, and set labels and namespaces in discovery.kubernetes (discovery.labelSelector and "
            "discovery.namespaces of the chart)"
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

    def unready(self, kept: Iterable[Slice]) -> Iterable[Address]:
        """See Kind."""
        return (address for part in kept for address in part.unready)

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

    def absence_hint(self, kept: Iterable[Slice], where: str) -> str:
        """See Kind. A Service whose selector matches nothing has an empty slice."""
        service = self._settings.service
        if any(True for _ in kept):
            return f"Service {service} in {where} has no endpoints: compare its selector with the labels of your pods"
        return (
            f"there are no endpoint slices of a Service {service} in {where}: list your Services with `kubectl get "
            "services`, and set name and namespaces in discovery.kubernetes (discovery.serviceName and "
            "discovery.namespaces of the chart)"
        )


class KubernetesSource(Source, Generic[T]):
    """Follows one kind in some namespaces. Only its generator changes it; threads notify the generator."""

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
        self._reflectors: dict[str, Reflector[T]] = {}  # by namespace
        self._warned: set[str] = set()
        self._last: Found | None = None  # that it gave

    @property
    def name(self) -> str:
        """See Source."""
        return f"kubernetes {self._kind.word}"

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source. It gives nothing before the first list: an API server outage never empties the fleet."""
        notice, self._last = ChangeNotice(), None
        namespaces = self._settings.namespaces or (await asyncio.to_thread(self._api.access.namespace),)
        settings = WatchSettings(self._settings.watch_timeout, self._settings.read_timeout)
        self._reflectors = {
            namespace: Reflector(self._api, self._kind.collection(namespace), settings, self._kind.read, notice.notify)
            for namespace in namespaces
        }
        for reflector in self._reflectors.values():
            reflector.start()
        try:
            await self._first_lists(notice)
            while True:
                found = self._found()
                if self._last is None or found.endpoints != self._last.endpoints:
                    self._last = found
                    if not found.addresses:
                        log.info("discovery: %s", self.status().hint)
                    yield found
                await notice.wait()
        finally:
            for reflector in self._reflectors.values():
                reflector.stop()

    def status(self) -> SourceStatus:
        """See Source. The age is that of the namespace that has been silent longest."""
        heard = [reflector.heard_at for reflector in self._reflectors.values()]
        oldest = None if None in heard or not heard else min(at for at in heard if at is not None)
        reasons = [reflector.reason for reflector in self._reflectors.values() if reflector.reason]
        kept = {namespace: reflector.values() for namespace, reflector in self._reflectors.items()}
        together = [value for values in kept.values() for value in values]
        seen = self._kind.seen(together)
        return SourceStatus(
            age_seconds=None if oldest is None else max(0.0, self._clock() - oldest),
            reason="; ".join(reasons) or None,
            seen=seen,
            lists=sum(reflector.lists for reflector in self._reflectors.values()),
            failures=sum(reflector.total_failures for reflector in self._reflectors.values()),
            selector=self._kind.selector(),
            namespaces=tuple(kept) or self._settings.namespaces or None,
            left_out=grouped(self._kind.left_out(together)),
            hint=self._absence_hint(kept) or (self._unready_hint(seen) if seen else None),
        )

    def _absence_hint(self, kept: Mapping[str, list[T]]) -> str | None:
        """A hint if some of the namespaces that answer have nothing."""
        listed = {namespace: values for namespace, values in kept.items() if self._reflectors[namespace].is_listed}
        empty = {namespace: values for namespace, values in listed.items() if not self._kind.seen(values)}
        together = [value for values in empty.values() for value in values]
        return self._kind.absence_hint(together, _words(tuple(empty))) if empty else None

    def _unready_hint(self, seen: int) -> str | None:
        is_useless = self._last is not None and not self._last.addresses
        return f"{seen} seen, but none takes calls: see left_out in /v1/health" if is_useless else None

    async def _first_lists(self, notice: ChangeNotice) -> None:
        patience_ends = self._clock() + FIRST_LISTS_SECONDS
        while not all(reflector.is_listed for reflector in self._reflectors.values()):
            some = any(reflector.is_listed for reflector in self._reflectors.values())
            left = patience_ends - self._clock()
            if some and left <= 0:
                return
            await notice.wait(max(left, 0.0) if some else None)

    def _kept(self) -> list[T]:
        return [value for reflector in self._reflectors.values() for value in reflector.values()]

    def _found(self) -> Found:
        kept = self._kept()
        reasons = set(self._kind.reasons(kept))
        for reason in sorted(reasons - self._warned):
            log.warning("discovery: %s; it is left out", reason)
        self._warned = reasons  # forgets pods that are gone: a Job may create one a minute
        pods = self._kind.found(kept)
        return Found(tuple(pods), pods, frozenset(self._kind.unready(kept)))


def _words(namespaces: tuple[str, ...]) -> str:
    more = f" and {len(namespaces) - MOST_NAMED} more" if len(namespaces) > MOST_NAMED else ""
    return f"namespace{'s' if len(namespaces) > 1 else ''} {', '.join(namespaces[:MOST_NAMED])}{more}"


def kubernetes_source(settings: Kubernetes, api: ApiServer) -> Source:
    """The source for `discovery.kubernetes`."""
    if settings.mode == "pods":
        return KubernetesSource(Pods(settings, api.access.own_uid), settings, api)
    return KubernetesSource(EndpointSlices(settings), settings, api)
