"""A reflector lists and watches: it continues where it ended, lists again if it must, and never empties its copy."""

import logging
import threading
from collections.abc import Iterator
from typing import cast

import msgspec
import pytest
from tests.cluster.script import PODS, Named, Script, bookmark, error_event, event, names, page

from ai_gateway.cluster.api import ApiServer, StatusFailure, Stream, Unreachable
from ai_gateway.cluster.reflector import Reflector, WatchSettings

GONE = StatusFailure(410, "too old resource version")
AWAY = Unreachable("Connection refused")


def test_a_list_is_read_in_pages_and_applied_as_a_whole() -> None:
    """The watch begins from the version of the list."""
    script = Script()
    script.lists = [page("a", "b", more="next"), page("c", version="12")]
    script.watches = [[]]
    reflector = script.reflector()
    reflector.iterate()
    assert names(reflector) == ["a", "b", "c"]
    assert script.list_queries[0] == {"labelSelector": "app=x", "limit": "500"}
    assert script.list_queries[1]["continue"] == "next"
    assert script.watch_queries[0]["resourceVersion"] == "12"
    assert script.watch_queries[0]["allowWatchBookmarks"] == "true"


def test_events_change_the_copy() -> None:
    """It reports each change; deleted objects leave the copy."""
    script = Script()
    script.lists = [page("a", "b")]
    script.watches = [[event("ADDED", "c", "11"), event("DELETED", "a", "12"), event("MODIFIED", "b", "13")]]
    reflector = script.reflector()
    reflector.iterate()
    assert names(reflector) == ["b", "c"]
    assert script.changes == 4


@pytest.mark.parametrize("last", [event("MODIFIED", "a", "17"), bookmark("17")])
def test_a_new_watch_continues_where_the_last_one_ended(last: bytes) -> None:
    """At once, also from the version of a bookmark."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[last], []]
    reflector = script.reflector()
    reflector.iterate()
    reflector.iterate()
    assert [query["resourceVersion"] for query in script.watch_queries] == ["10", "17"]
    assert (len(script.list_queries), script.pauses) == (1, [])


@pytest.mark.parametrize("watch", [GONE, [event("ADDED", "b", "11"), error_event(410)]])
def test_a_gone_version_is_listed_again_and_the_copy_stays_meanwhile(
    watch: Exception | list[bytes | Exception],
) -> None:
    """As a status, and inside a watch."""
    script = Script()
    script.lists = [page("a"), page("a", "c", version="90")]
    script.watches = [watch, []]
    reflector = script.reflector()
    reflector.iterate()
    assert "a" in names(reflector)
    reflector.iterate()
    assert names(reflector) == ["a", "c"]
    assert script.watch_queries[-1]["resourceVersion"] == "90"
    assert reflector.reason is None


def test_a_server_that_always_says_gone_gets_pauses() -> None:
    """A fresh list cannot be gone."""
    script = Script()
    script.line_seconds = 0.0
    script.lists = [page("a")] * 3
    script.watches = [GONE] * 3
    reflector = script.reflector()
    for _ in range(3):
        reflector.iterate()
    assert script.pauses == [0.5] * 3


@pytest.mark.parametrize(
    "failure", [AWAY, StatusFailure(500, "etcd"), StatusFailure(403, "forbidden"), StatusFailure(503, "starting")]
)
def test_a_failure_keeps_the_copy_and_is_retried_after_a_jittered_pause(failure: Exception) -> None:
    """Of half a second to three, however long it lasts: an outage of days, too."""
    script = Script()
    script.lists = [page("a"), *[failure] * 3000]
    script.watches = [failure] * 3000
    reflector = script.reflector()
    for _ in range(2500):
        reflector.iterate()
    assert names(reflector) == ["a"]
    assert len(script.pauses) == 2500
    assert 0.5 <= min(script.pauses) < max(script.pauses) <= 3.0
    assert max(script.pauses[10:]) > 2.5
    assert len(set(script.pauses)) > 2000


def test_an_hour_without_the_server_at_the_real_times_ends_with_the_right_view() -> None:
    """One turn after it is back; its age has grown all the while."""
    script = Script()
    script.lists = [page("a"), page("b", version="99")]
    script.watches = [[], *[AWAY] * 5000]
    reflector = script.reflector()
    reflector.iterate()
    began = script.now
    while script.now < began + 3600:
        reflector.iterate()
    assert names(reflector) == ["a"]
    assert reflector.heard_at is not None
    assert script.now - reflector.heard_at > 3600
    script.watches = [GONE, [event("ADDED", "c", "100")]]
    reflector.iterate()
    reflector.iterate()
    assert names(reflector) == ["b", "c"]
    assert reflector.reason is None


def test_rejected_credentials_are_read_again_and_retried_at_once() -> None:
    """The first time; a token that is simply wrong is not tried without a pause."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [StatusFailure(401, "Unauthorized"), StatusFailure(401, "Unauthorized"), []]
    reflector = script.reflector()
    reflector.iterate()
    assert (script.forgotten, script.pauses) == (1, [])
    reflector.iterate()
    assert (script.forgotten, len(script.pauses)) == (2, 1)
    reflector.iterate()
    assert len(script.list_queries) == 1
    assert reflector.reason is None


@pytest.mark.parametrize(("lists", "watches", "verb"), [(1, 0, "list"), (0, 1, "watch")])
def test_a_missing_right_is_named_once_a_minute(
    lists: int, watches: int, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the verb and what it is wanted for."""
    forbidden = StatusFailure(403, "cannot do it")
    script = Script()
    script.lists = [forbidden if lists else page("a")] * 400
    script.watches = [forbidden] * 400
    reflector = script.reflector()
    began = script.now
    while script.now < began + 300:
        reflector.iterate()
    lines = [record.getMessage() for record in caplog.records]
    assert 5 <= len(lines) <= 6
    assert all(
        f"does not allow the gateway to {verb} pods in namespace ai: grant list and watch" in line for line in lines
    )
    assert names(reflector) == ([] if lists else ["a"])


def test_a_server_that_is_overloaded_says_how_long_to_wait() -> None:
    """Up to a minute; the version is kept."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [StatusFailure(429, "slow down", 20.0), StatusFailure(429, "slow down", 9999.0), []]
    reflector = script.reflector()
    for _ in range(3):
        reflector.iterate()
    assert script.pauses == [20.0, 60.0]
    assert len(script.list_queries) == 1


def test_watch_times_have_jitter() -> None:
    """4 to 6 minutes for the server, and the silence that is put up with lies beyond its end."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[bookmark("11")] for _ in range(200)]
    reflector = script.reflector()
    for _ in range(200):
        reflector.iterate()
    asked = [int(query["timeoutSeconds"]) for query in script.watch_queries]
    assert 240 <= min(asked) < 250
    assert 350 < max(asked) <= 360
    assert all(15 <= silence - seconds <= 18 for silence, seconds in zip(script.silences, asked, strict=True))


def test_a_stalled_watch_is_continued_where_it_was() -> None:
    """Its silence gives a reason, and needs no new list."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[bookmark("11"), Unreachable("Read timed out.")], [event("ADDED", "b", "12")]]
    reflector = script.reflector()
    reflector.iterate()
    assert reflector.reason == "Read timed out."
    reflector.iterate()
    assert names(reflector) == ["a", "b"]
    assert script.watch_queries[1]["resourceVersion"] == "11"
    assert len(script.list_queries) == 1


def test_only_bytes_count_as_contact() -> None:
    """An opened watch is no contact: it may stay silent for hours."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[], [bookmark("11")]]
    reflector = script.reflector()
    reflector.iterate()
    heard = reflector.heard_at
    assert heard == 1000.0
    reflector.iterate()
    assert reflector.heard_at == heard + 4.0


def test_a_watch_that_ends_at_once_is_no_hot_loop() -> None:
    """A proxy may answer and close."""
    script = Script()
    script.line_seconds = 0.0
    script.lists = [page("a")]
    script.watches = [[]] * 10
    reflector = script.reflector()
    for _ in range(10):
        reflector.iterate()
    assert len(script.pauses) == 10


def test_an_object_that_cannot_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """The others stay; one that was known and cannot be read any more goes."""

    def read(content: bytes) -> Named | None:
        if b'"odd"' in content:
            raise msgspec.ValidationError("no name at all")
        return Named(msgspec.json.decode(content)["metadata"]["name"])

    script = Script()
    script.lists = [page("a", "odd", "b")]
    script.watches = [[]]
    reflector = script.reflector(read)
    reflector.iterate()
    assert names(reflector) == ["a", "b"]
    assert "ai/odd cannot be read: no name at all" in caplog.text


@pytest.mark.parametrize("nonsense", [b"<html>", b"[]", b'{"items": 5}', b"\xff\xfe"])
def test_a_server_that_is_no_api_server_gives_a_reason(nonsense: bytes) -> None:
    """The gateway tries again: it may become one."""
    script = Script()
    script.lists = [nonsense, page("a")]
    script.watches = [[]]
    reflector = script.reflector()
    reflector.iterate()
    assert "not from a Kubernetes API server" in str(reflector.reason)
    reflector.iterate()
    assert names(reflector) == ["a"]


def test_a_recovery_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Only if a failure was logged before."""
    caplog.set_level(logging.INFO, logger="ai_gateway.cluster")
    script = Script()
    script.lists = [page("a")]
    script.watches = [AWAY, [bookmark("11")], [bookmark("12")]]
    reflector = script.reflector()
    for _ in range(3):
        reflector.iterate()
    assert [record.getMessage() for record in caplog.records][1:] == ["following pods in namespace ai again"]


class Endless:
    """A watch that stays silent until it is stopped."""

    def __init__(self) -> None:
        self.is_read = threading.Event()
        self.is_stopped = threading.Event()

    def lines(self) -> Iterator[bytes]:
        """See Stream."""
        self.is_read.set()
        assert self.is_stopped.wait(60)
        yield from ()

    def stop(self) -> None:
        """See Stream."""
        self.is_stopped.set()


def test_a_stopped_reflector_ends_its_thread() -> None:
    """Also in the middle of a watch that may last for minutes."""
    endless = Endless()

    class Server(Script):
        def stream(self, *_: object) -> "Server":  # type: ignore[override]  # the same in one object
            return self

        def __enter__(self) -> Stream:
            return cast("Stream", endless)

        def __exit__(self, *_: object) -> None:
            return None

    script = Server()
    script.lists = [page("a")]
    reflector: Reflector[Named] = Reflector(
        cast("ApiServer", script), PODS, WatchSettings(300.0, 15.0), lambda _: None, lambda: None
    )
    before = set(threading.enumerate())
    reflector.start()
    assert endless.is_read.wait(60)
    (thread,) = set(threading.enumerate()) - before
    reflector.stop()
    thread.join(30)
    assert not thread.is_alive()
