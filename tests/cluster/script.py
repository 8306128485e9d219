"""A scripted API server: gives scripted answers and records requests. No sockets, no waiting."""

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from ai_gateway.cluster.api import ApiServer, Stream
from ai_gateway.cluster.reflector import Collection, Reflector, WatchSettings

Said = bytes | Exception
PODS = Collection("/pods", {"labelSelector": "app=x"}, "pods in namespace ai")


class Named(msgspec.Struct, frozen=True):
    """What these tests keep of an object."""

    name: str


def item(name: str, version: str = "1") -> dict[str, Any]:
    """An object as the API sends it."""
    return {"metadata": {"name": name, "namespace": "ai", "resourceVersion": version}}


def page(*names: str, version: str = "10", more: str = "") -> bytes:
    """A page of a list."""
    meta = {"resourceVersion": version, **({"continue": more} if more else {})}
    return json.dumps({"metadata": meta, "items": [item(name) for name in names]}).encode()


def event(kind: str, name: str, version: str) -> bytes:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": item(name, version)}).encode()


def bookmark(version: str) -> bytes:
    """A line that only tells a version."""
    return json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}).encode()


def error_event(code: int) -> bytes:
    """A watch that fails inside its 200."""
    status = {"kind": "Status", "metadata": {}, "code": code, "message": "too old resource version"}
    return json.dumps({"type": "ERROR", "object": status}).encode()


class Script:
    """Lists and watches in the order they are asked for; a watch is its lines, and an exception there breaks it."""

    def __init__(self) -> None:
        self.lists: list[Said] = []
        self.watches: list[Exception | list[Said]] = []
        self.list_queries: list[dict[str, str]] = []
        self.watch_queries: list[dict[str, str]] = []
        self.silences: list[float] = []
        self.forgotten = 0
        self.now = 1000.0
        self.pauses: list[float] = []
        self.changes = 0
        self.line_seconds = 2.0  # that pass before each line

    def get(self, path: str, query: Mapping[str, str], read_seconds: float) -> bytes:
        """See ApiServer."""
        self.list_queries.append(dict(query))
        said = self.lists.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str], silence_seconds: float) -> Iterator[Stream]:
        """See ApiServer."""
        self.watch_queries.append(dict(query))
        self.silences.append(silence_seconds)
        said = self.watches.pop(0)
        if isinstance(said, Exception):
            raise said
        yield cast("Stream", Lines(self, said))

    def forget_credentials(self) -> None:
        """See ApiServer."""
        self.forgotten += 1

    def reflector(self, read: Callable[[bytes], Named | None] | None = None) -> Reflector[Named]:
        """A mirror that asks this script, on its clock."""
        settings = WatchSettings(300.0, 15.0, lambda: self.now, self._wait, random.Random(7))
        return Reflector(cast("ApiServer", self), PODS, settings, read or read_name, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def _wait(self, stopping: threading.Event, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Lines:
    """A stream of a script."""

    def __init__(self, script: Script, said: list[Said]) -> None:
        self._script = script
        self._said = said

    def lines(self) -> Iterator[bytes]:
        """See Stream."""
        for line in self._said:
            self._script.now += self._script.line_seconds
            if isinstance(line, Exception):
                raise line
            yield line
        self._script.now += self._script.line_seconds

    def stop(self) -> None:
        """See Stream."""


def read_name(content: bytes) -> Named | None:
    """The name; an object called `hidden` is not wanted."""
    name = json.loads(content)["metadata"]["name"]
    return None if name == "hidden" else Named(name)


def names(reflector: Reflector[Named]) -> list[str]:
    """What the copy holds."""
    return [named.name for named in reflector.values()]
