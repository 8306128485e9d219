"""A copy of one collection of Kubernetes objects, kept up to date by list and watch in a thread of its own.

The rules are those of the API's own clients (Kubernetes API concepts, "Efficient detection of changes"): list, then
watch from the version of the list; every event and bookmark brings a newer version; a watch that ends is taken up
where it ended; 410, as a status or inside the stream, asks for a new list. What is known stays known until a new
list is there: an API server that is away empties nothing.
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
LONGEST_ASKED_SECONDS: Final = 60.0  # of what a Retry-After is believed
TOO_SOON_SECONDS: Final = 1.0  # a watch that ends sooner, without a byte, is a failure


class Collection(msgspec.Struct, frozen=True):
    """Which objects: `path` of the list, `query` that selects, `words` for logs ("pods in namespace ai")."""

    path: str
    query: Mapping[str, str]
    words: str


def _wait(stopping: threading.Event, seconds: float) -> None:
    stopping.wait(seconds)


class WatchSettings(msgspec.Struct, frozen=True):
    """How a collection is followed.

    `watch_seconds` until the server ends a watch, +-20 %; `read_seconds` for a list, and of a watch's silence after
    its end. A test brings a clock (monotonic seconds), a wait and chance of its own.
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
    metadata: _Meta = msgspec.field(default_factory=_Meta)  # a Status may have none
    code: int | None = None  # of a Status, in an ERROR event
    message: str | None = None


class _Page(msgspec.Struct):
    metadata: _Meta
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class Gone(ApiFailure):
    """The server no longer knows the version that a watch or a page began from."""


# Makes of an object's JSON what is kept of it, or None for what is not wanted. Raises one of UNREADABLE.
Read = Callable[[bytes], T | None]


class Reflector(Generic[T]):
    """The copy, by namespace and name. Changed by its thread alone; `values` and the rest may be read anywhere.

    `changed` is called in the thread after each change of the copy or of `is_listed`, and must not wait.
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
        self._failure = WatchFailure(collection.words, settings.clock)
        self._unexpected = FailureLog(log)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stream: Stream | None = None
        self.is_listed = False
        self.heard_at: float | None = None  # when bytes came last, on the clock
        self.lists = 0
        self.total_failures = 0

    def __repr__(self) -> str:
        return f"<Mirror of {self._collection.words}, {len(self._items)} objects>"

    @property
    def reason(self) -> str | None:
        """What stands in the way now."""
        return self._failure.reason

    def values(self) -> list[T]:
        """What the copy holds now, in the order of first appearance."""
        with self._lock:
            return list(self._items.values())

    def start(self) -> None:
        """Begins, in a daemon thread: a process that ends does not wait for it."""
        name = f"watch {self._collection.words}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        """Ends the thread soon; does not wait for it."""
        self._stopping.set()
        stream = self._stream
        if stream is not None:
            stream.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.iterate()

    def iterate(self) -> None:
        """One list if one is needed, and one watch until it ends; after a failure the wait for the next turn."""
        try:
            if self._version is None:
                self._list()
            self._watch()
        except Gone:
            self._version = None
            if self._settings.clock() - self._listed_at < TOO_SOON_SECONDS:
                self._pause(SHORTEST_BACKOFF_SECONDS)  # what was listed just now cannot be gone: not in a hot loop
        except ApiFailure as failure:
            if not self._stopping.is_set():
                self._fail(failure)
        except Exception as failure:  # one of ours in one iteration must not end all later ones
            self._unexpected.note(failure, "following %s failed; it begins anew", self._collection.words)
            self._version = None
            self._pause(LONGEST_BACKOFF_SECONDS)

    def _list(self) -> None:
        """Reads the whole collection in pages, then replaces the copy at once."""
        self._verb, self._listed_at = "list", self._settings.clock()
        items: dict[tuple[str, str], T] = {}
        query = {**self._collection.query, "limit": str(PAGE_OBJECTS)}
        while True:
            try:
                content = self._api.get(self._collection.path, query, self._settings.read_seconds)
            except StatusFailure as reason:
                raise _gone(reason) from None
            self._heard()
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
        """Takes events until the server ends the watch."""
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
        began, heard = self._settings.clock(), self.heard_at
        silence = seconds + self._settings.read_seconds * self._settings.rng.uniform(1, 1 + JITTER)
        try:
            with self._api.stream(self._collection.path, query, silence) as stream:
                self._stream = stream
                if self._stopping.is_set():
                    return  # asked to stop while this was opened: nobody could end the reading
                self._recovered()
                for line in stream.lines():
                    self._heard()
                    if line:
                        self._take(_decoded(line, _Event))
                    if self._stopping.is_set():
                        return
        except StatusFailure as reason:
            if reason.status not in (401, 429):
                self._version = None  # whatever the server dislikes about this watch, a new list mends it
            raise _gone(reason) from None
        finally:
            self._stream = None
        if self.heard_at == heard and self._settings.clock() - began < TOO_SOON_SECONDS:
            raise Unreachable("the watch ended at once")

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
        """One object that cannot be read is left out, and costs the others nothing."""
        key = _key(_decoded(content, _Object).metadata)
        try:
            value = self._read(bytes(content))
        except UNREADABLE as error:
            log.warning("%s: %s cannot be read: %s", self._collection.words, "/".join(key), error)
            value = None
        if value is None:
            items.pop(key, None)
        else:
            items[key] = value

    def _heard(self) -> None:
        self.heard_at = self._settings.clock()

    def _recovered(self) -> None:
        self._failures = 0
        self._failure.end()

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
                    return  # a token that was rotated: the new one is tried at once
        elif isinstance(failure, Unreachable) and failure.is_distrust:
            self._api.forget_credentials()  # the authority was rotated, too
        doublings = min(self._failures, 8)  # of an outage of days there is no power of two
        longest = min(LONGEST_BACKOFF_SECONDS, SHORTEST_BACKOFF_SECONDS * 2**doublings)
        pause = self._settings.rng.uniform(SHORTEST_BACKOFF_SECONDS, longest)
        self._pause(pause if asked is None else max(pause, min(asked, LONGEST_ASKED_SECONDS)))

    def _pause(self, seconds: float) -> None:
        self._settings.wait(self._stopping, seconds)


def _key(metadata: _Meta) -> tuple[str, str]:
    return metadata.namespace or "", metadata.name or ""


def _gone(reason: StatusFailure) -> ApiFailure:
    return Gone(str(reason)) if reason.status == 410 else reason


S = TypeVar("S", _Page, _Event, _Object)


def _decoded(content: bytes | msgspec.Raw, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(content, type=kind)
    except UNREADABLE as error:
        raise Unreachable(f"the answer is not that of a Kubernetes API server: {error}") from error
