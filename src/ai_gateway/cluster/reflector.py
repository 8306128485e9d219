"""A copy of one collection of Kubernetes objects. A thread keeps it up to date by list and watch.

It follows the rules of the API's own clients (Kubernetes API concepts, "Efficient detection of changes"). It lists,
then watches from the version of the list. Each event and bookmark brings a newer version. When a watch ends, the next
one continues from there. 410, as a status or inside the stream, demands a new list. The copy stays until the new list
is complete: an API server outage never empties it.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

import msgspec

from ai_gateway.cluster.api import ApiFailure, ApiServer, StatusFailure, Stream, Unreachable
from ai_gateway.cluster.watch_failure import WatchFailure
from ai_gateway.failure_log import FailureLog
from ai_gateway.wire.unreadable import UNREADABLE

log = logging.getLogger("ai_gateway.cluster")

T = TypeVar("T")

PAGE_OBJECTS: Final = 500
JITTER: Final = 0.2
SHORTEST_BACKOFF_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 3.0
LONGEST_ASKED_SECONDS: Final = 60.0  # longest Retry-After that it follows
TOO_SOON_SECONDS: Final = 1.0  # a watch that ends sooner, without a byte, is a failure


class Collection(msgspec.Struct, frozen=True):
    """Which objects: `path` of the list, `query` that selects, `description` for logs ("pods in namespace ai")."""

    path: str
    query: Mapping[str, str]
    description: str


def _wait(stopping: threading.Event, seconds: float) -> None:
    stopping.wait(seconds)


class WatchSettings(msgspec.Struct, frozen=True):
    """How to follow a collection.

    The server ends a watch after `watch_seconds`, +-20 %. `read_seconds` is the timeout of a list, and of the silence
    of a watch after its end. Tests pass their own clock (monotonic seconds), `wait` and `rng`.
    """

    watch_seconds: float
    read_seconds: float
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Event, float], None] = _wait
    rng: random.Random = msgspec.field(default_factory=random.Random)


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str | None = None
    continued: str | None = msgspec.field(default=None, name="continue")
    uid: str | None = None
    name: str | None = None
    namespace: str | None = None


class _Object(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)  # a Status may lack it
    code: int | None = None  # of a Status, in an ERROR event
    message: str | None = None


class _Page(msgspec.Struct):
    metadata: _Meta
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class Gone(ApiFailure):
    """The server no longer knows the version that a watch or a page started from."""


# Reads an object's JSON: returns what to keep of it, or None to leave it out. Raises one of UNREADABLE.
Read = Callable[[bytes], T | None]


class Reflector(Generic[T]):
    """The copy, by namespace and name. Only its thread changes it; any thread may read it.

    The thread calls `changed` after each change of the copy or of `is_listed`. `changed` must not wait.
    """

    def __init__(
        self,
        api: ApiServer,
        collection: Collection,
        settings: WatchSettings,
        read: Read[T],
        changed: Callable[[], None],
    ) -> None:
        self._api = api
        self._collection = collection
        self._read = read
        self._changed = changed
        self._settings = settings
        self._items: dict[tuple[str, str], T] = {}
        self._version: str | None = None
        self._failures = 0
        self._verb = "list"
        self._listed_at = -math.inf
        self._failure = WatchFailure(collection.description, settings.clock)
        self._unexpected = FailureLog(log)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stream: Stream | None = None
        self.is_listed = False
        self.heard_at: float | None = None  # when the last bytes came, on the clock
        self.lists = 0
        self.total_failures = 0

    def __repr__(self) -> str:
        return f"<Reflector of {self._collection.description}, {len(self._items)} objects>"

    @property
    def reason(self) -> str | None:
        """Why it cannot follow the collection now."""
        return self._failure.reason

    def values(self) -> list[T]:
        """The objects of the copy, in the order of their first appearance."""
        with self._lock:
            return list(self._items.values())

    def start(self) -> None:
        """Starts a daemon thread, so that the process can exit without waiting for it."""
        name = f"watch {self._collection.description}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        """Asks the thread to end; does not wait for it."""
        self._stopping.set()
        stream = self._stream
        if stream is not None:
            stream.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.iterate()

    def iterate(self) -> None:
        """Lists if needed, and watches until the watch ends. Waits after a failure."""
        try:
            if self._version is None:
                self._list()
            self._watch()
        except Gone:
            self._version = None
            if self._settings.clock() - self._listed_at < TOO_SOON_SECONDS:
                self._pause(SHORTEST_BACKOFF_SECONDS)  # a fresh list cannot be gone: avoid a hot loop
        except ApiFailure as failure:
            if not self._stopping.is_set():
                self._fail(failure)
        except Exception as failure:  # a bug in one iteration must not end all later ones
            sentence = "cannot follow %s: unexpected failure; the gateway lists again"
            self._unexpected.note(failure, sentence, self._collection.description)
            self._version = None
            self._pause(LONGEST_BACKOFF_SECONDS)

    def _list(self) -> None:
        """Reads the whole collection in pages, then replaces the copy."""
        self._verb, self._listed_at = "list", self._settings.clock()
        items: dict[tuple[str, str], T] = {}
        query = {**self._collection.query, "limit": str(PAGE_OBJECTS)}
        while True:
            try:
                content = self._api.get(self._collection.path, query, self._settings.read_seconds)
            except StatusFailure as failure:
                raise _gone(failure) from None
            self.heard_at = self._settings.clock()
            page = _decoded(content, _Page)
            for item in page.items or ():
                self._note(items, item)
            if not page.metadata.continued:
                break
            query["continue"] = page.metadata.continued
        self.lists += 1
        self._version = page.metadata.resource_version
        with self._lock:
            self._items = items
        self.is_listed = True
        self._changed()

    def _watch(self) -> None:
        """Applies events until the server ends the watch."""
        self._verb = "watch"
        spread = self._settings.rng.uniform(1 - JITTER, 1 + JITTER)
        seconds = max(1, round(self._settings.watch_seconds * spread))
        query = {
            **self._collection.query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version or "",
            "timeoutSeconds": str(seconds),
        }
        began, contact = self._settings.clock(), self.heard_at
        silence = seconds + self._settings.read_seconds * self._settings.rng.uniform(1, 1 + JITTER)
        try:
            with self._api.stream(self._collection.path, query, silence) as stream:
                self._stream = stream
                if self._stopping.is_set():
                    return  # stopped while the watch was opened: `stop` could not end the read
                self._failures = 0
                self._failure.end()
                for line in stream.lines():
                    self.heard_at = self._settings.clock()
                    if line:
                        self._take(_decoded(line, _Event))
                    if self._stopping.is_set():
                        return
        except StatusFailure as failure:
            if failure.status not in (401, 429):
                self._version = None  # a new list helps, whatever the server has against this watch
            raise _gone(failure) from None
        finally:
            self._stream = None
        if self.heard_at == contact and self._settings.clock() - began < TOO_SOON_SECONDS:
            raise Unreachable("the server ended the watch at once")

    def _take(self, event: _Event) -> None:
        found = _decoded(event.object, _Object)
        if event.type == "ERROR":
            raise _gone(StatusFailure(found.code or 500, found.message or "the watch failed"))
        if event.type != "BOOKMARK":
            with self._lock:
                if event.type == "DELETED":
                    self._items.pop(_key(found.metadata), None)
                else:
                    self._note(self._items, event.object)
        self._version = found.metadata.resource_version or self._version
        if event.type != "BOOKMARK":
            self._changed()

    def _note(self, items: dict[tuple[str, str], T], content: msgspec.Raw) -> None:
        """Stores one object. Leaves it out if it cannot be read; the others stay."""
        key = _key(_decoded(content, _Object).metadata)
        try:
            value = self._read(bytes(content))
        except UNREADABLE as error:
            log.warning("%s: %s cannot be read: %s", self._collection.description, "/".join(key), error)
            value = None
        if value is None:
            items.pop(key, None)
        else:
            items[key] = value

    def _fail(self, failure: ApiFailure) -> None:
        self._failures += 1
        self.total_failures += 1
        self._failure.note(failure, self._verb, keeps=self.is_listed)
        asked = None
        if isinstance(failure, StatusFailure):
            asked = failure.retry_after_seconds
            if failure.status == 401:
                self._api.forget_credentials()
                if self._failures == 1:
                    return  # the token was rotated: try the new one at once
        elif isinstance(failure, Unreachable) and failure.is_distrust:
            self._api.forget_credentials()  # the CA may have been rotated
        doublings = min(self._failures, 8)  # an outage of days must not overflow the power of two
        longest = min(LONGEST_BACKOFF_SECONDS, SHORTEST_BACKOFF_SECONDS * 2**doublings)
        pause = self._settings.rng.uniform(SHORTEST_BACKOFF_SECONDS, longest)
        self._pause(pause if asked is None else max(pause, min(asked, LONGEST_ASKED_SECONDS)))

    def _pause(self, seconds: float) -> None:
        self._settings.wait(self._stopping, seconds)


def _key(metadata: _Meta) -> tuple[str, str]:
    return metadata.namespace or "", metadata.name or ""


def _gone(failure: StatusFailure) -> ApiFailure:
    return Gone(str(failure)) if failure.status == 410 else failure


S = TypeVar("S", _Page, _Event, _Object)


def _decoded(content: bytes | msgspec.Raw, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(content, type=kind)
    except UNREADABLE as error:
        raise Unreachable(f"the answer is not from a Kubernetes API server: {error}") from error
