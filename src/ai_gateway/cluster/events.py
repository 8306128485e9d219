"""Kubernetes Events about a refused config, and about models that follow it. `kubectl describe` shows them under the
ConfigMap.

Each distinct content has one Event, whose name contains the hash of the content: several replicas report the same one.
Its count rises if someone writes the same content again. The ConfigMap then has a new resource version. A refused
config comes before models, however many of them wait.
"""

import asyncio
import logging
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from ai_gateway.cluster.api import ApiFailure, ApiServer, StatusFailure
from ai_gateway.cluster.token_bucket import TokenBucket
from ai_gateway.failure_log import FailureLog
from ai_gateway.wire.unreadable import UNREADABLE

log = logging.getLogger("ai_gateway.config")

BURST: Final = 50
PER_SECOND: Final = 1.0
MAX_WAITING: Final = 200
NOTE_BYTES: Final = 1024  # limit of the API for a message
SEND_SECONDS: Final = 5.0
TRIES: Final = 4
RETRY_SECONDS: Final = 1.0
REPEAT_SECONDS: Final = 60.0
COMPONENT: Final = "ai-gateway-ollama"
Reason = Literal["ConfigRejected", "ModelReady", "ModelReloading", "ModelFailed"]


class Subject(msgspec.Struct, frozen=True):
    """The object that an Event is about."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str


class _Report(msgspec.Struct, frozen=True):
    subject: Subject
    digest: str
    message: str
    at: str
    reason: Reason

    @property
    def name(self) -> str:
        """The name of the Event. The name of an object may have 253 characters."""
        return f"{self.subject.name[:230].rstrip('-.')}.{self.digest}"

    def event(self, count: int, first: str) -> dict[str, Any]:
        """The Event as the API takes it (core/v1)."""
        about = self.subject
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": self.name, "namespace": about.namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": about.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
                "resourceVersion": about.resource_version,
            },
            "reason": self.reason,
            "message": _cut(self.message),
            "type": "Normal" if self.reason in ("ModelReady", "ModelReloading") else "Warning",
            "source": {"component": COMPONENT},
            "firstTimestamp": first,
            "lastTimestamp": self.at,
            "count": count,
        }


class _About(msgspec.Struct, rename="camel"):
    resource_version: str | None = None


class _Known(msgspec.Struct, rename="camel"):
    """The parts that we read of an existing Event."""

    metadata: _About
    involved_object: _About
    count: int | None = None
    first_timestamp: str | None = None


class Events:
    """Holds reports until `run` has sent them. `report` and `run` change it, in one event loop."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._waiting: deque[_Report] = deque()  # of refused configs
        self._of_models: deque[_Report] = deque()
        self._more = asyncio.Event()
        self._bucket = TokenBucket(BURST, PER_SECOND)
        self._warned_at = -REPEAT_SECONDS
        self._failures = FailureLog(log)
        self._is_sending = False
        self.total_dropped = 0

    @property
    def is_busy(self) -> bool:
        """Whether reports are still to be sent."""
        return self._is_sending or bool(self._waiting or self._of_models)

    def report(self, subject: Subject, digest: str, message: str, reason: Reason = "ConfigRejected") -> None:
        """Queues a report, the same one as others of this digest. If the queue is full, drops and counts it."""
        waiting = self._waiting if reason == "ConfigRejected" else self._of_models
        if len(waiting) >= MAX_WAITING:
            self.total_dropped += 1
            return
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        waiting.append(_Report(subject, digest, message, at, reason))
        self._more.set()

    async def run(self) -> None:
        """Sends queued reports, 50 at once and then one a second, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting or self._of_models:
                await asyncio.sleep(self._bucket.take(time.monotonic()))
                self._is_sending = True
                try:
                    await self._deliver((self._waiting or self._of_models).popleft())
                except Exception as failure:  # one of ours in one report must not end all later ones
                    self._failures.note(failure, "config: a report could not be sent as a Kubernetes Event")
                    self.total_dropped += 1
                self._is_sending = False

    async def _deliver(self, report: _Report) -> None:
        for attempt in range(TRIES):
            try:
                await asyncio.to_thread(send, self._api, report)
            except ApiFailure as failure:
                if isinstance(failure, StatusFailure) and failure.status in (403, 404):
                    return self._drop(f"grant create and patch on events to the gateway ({failure})")
                if attempt == TRIES - 1:
                    return self._drop(str(failure))
                await asyncio.sleep(RETRY_SECONDS)
            except UNREADABLE as error:  # not an API server: later reports go on
                return self._drop(f"the answer is not from a Kubernetes API server ({error})")
            else:
                return None
        return None

    def _drop(self, sentence: str) -> None:
        self.total_dropped += 1
        now = time.monotonic()
        if now - self._warned_at >= REPEAT_SECONDS:
            self._warned_at = now
            log.warning("config: cannot send a Kubernetes Event: %s", sentence)


def send(api: ApiServer, report: _Report) -> None:
    """Writes one Event. Blocks. Raises ApiFailure."""
    place = f"/api/v1/namespaces/{report.subject.namespace}/events"
    try:
        api.send("POST", place, report.event(1, report.at), SEND_SECONDS)
    except StatusFailure as failure:
        if failure.status != 409:
            raise
        _count_up(api, f"{place}/{report.name}", report)


def _count_up(api: ApiServer, place: str, report: _Report) -> None:
    """Raises the count. It reads the Event with an empty patch, so the gateway does not need the right `get`."""
    known = msgspec.json.decode(api.send("PATCH", place, {}, SEND_SECONDS), type=_Known)
    if known.involved_object.resource_version == report.subject.resource_version:
        return  # another replica reported the same edit, or this one did before a restart
    event = report.event((known.count or 1) + 1, known.first_timestamp or report.at)
    # With the version that we read: of two replicas, one gets a conflict and retries with the other's count.
    event["metadata"] = {"resourceVersion": known.metadata.resource_version}
    api.send("PATCH", place, event, SEND_SECONDS)


def _cut(message: str) -> str:
    """Cuts to the limit of the API, between characters. Replaces half surrogate pairs, which YAML may contain."""
    return message.encode(errors="replace")[:NOTE_BYTES].decode(errors="ignore")
