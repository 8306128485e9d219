"""A copy that lists and watches: it goes on where it ended, begins anew where it must, and never empties itself."""

import logging
import threading
from collections.abc import Iterator
from typing import cast

import msgspec
import pytest
from tests.cluster.script import PODS, Named, Script, bookmark, error_event, event, names, page

from ai_gateway.cluster.api import ApiServer, Refused, Stream, Unreachable
from ai_gateway.cluster.mirror import Manner, Mirror

GONE = Refused(410, "too old resource version")
AWAY = Unreachable("Connection refused")


def test_a_list_is_read_in_pages_and_taken_whole() -> None:
    """The watch begins from the version of the list."""
    script = Script()
    script.lists = [page("a", "b", more="next"), page("c", version="12")]
    script.watches = [[]]
    mirror = script.mirror()
    mirror.turn()
    assert names(mirror) == ["a", "b", "c"]
    assert script.list_queries[0] == {"labelSelector": "app=x", "limit": "500"}
    assert script.list_queries[1]["continue"] == "next"
    assert script.watch_queries[0]["resourceVersion"] == "12"
    assert script.watch_queries[0]["allowWatchBookmarks"] == "true"


def test_events_change_the_copy() -> None:
    """Each is told; what is not wanted any more goes."""
    script = Script()
    script.lists = [page("a", "b")]
    script.watches = [[event("ADDED", "c", "11"), event("DELETED", "a", "12"), event("MODIFIED", "b", "13")]]
    mirror = script.mirror()
    mirror.turn()
    assert names(mirror) == ["b", "c"]
    assert script.changes == 4


@pytest.mark.parametrize("last", [event("MODIFIED", "a", "17"), bookmark("17")])
def test_a_watch_that_ends_is_taken_up_where_it_ended(last: bytes) -> None:
    """At once, also from the version of a bookmark."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[last], []]
    mirror = script.mirror()
    mirror.turn()
    mirror.turn()
    assert [query["resourceVersion"] for query in script.watch_queries] == ["10", "17"]
    assert (len(script.list_queries), script.pauses) == (1, [])


@pytest.mark.parametrize("watch", [GONE, [event("ADDED", "b", "11"), error_event(410)]])
def test_a_version_that_is_gone_is_listed_anew_and_nothing_is_empty_meanwhile(
    watch: Exception | list[bytes | Exception],
) -> None:
    """As a status, and inside a watch."""
    script = Script()
    script.lists = [page("a"), page("a", "c", version="90")]
    script.watches = [watch, []]
    mirror = script.mirror()
    mirror.turn()
    assert "a" in names(mirror)
    mirror.turn()
    assert names(mirror) == ["a", "c"]
    assert script.watch_queries[-1]["resourceVersion"] == "90"
    assert mirror.complaint is None


def test_a_server_that_always_says_gone_is_not_asked_without_a_pause() -> None:
    """What was listed just now cannot be gone."""
    script = Script()
    script.line_seconds = 0.0
    script.lists = [page("a")] * 3
    script.watches = [GONE] * 3
    mirror = script.mirror()
    for _ in range(3):
        mirror.turn()
    assert script.pauses == [0.5] * 3


@pytest.mark.parametrize("failure", [AWAY, Refused(500, "etcd"), Refused(403, "forbidden"), Refused(503, "starting")])
def test_a_failure_empties_nothing_and_is_tried_again_after_a_jittered_pause(failure: Exception) -> None:
    """Of half a second to three, however long it lasts: an outage of days, too."""
    script = Script()
    script.lists = [page("a"), *[failure] * 3000]
    script.watches = [failure] * 3000
    mirror = script.mirror()
    for _ in range(2500):
        mirror.turn()
    assert names(mirror) == ["a"]
    assert len(script.pauses) == 2500
    assert 0.5 <= min(script.pauses) < max(script.pauses) <= 3.0
    assert max(script.pauses[10:]) > 2.5
    assert len(set(script.pauses)) > 2000


def test_an_hour_without_the_server_at_the_real_times_ends_with_the_right_view() -> None:
    """One turn after it is back; its age has grown all the while."""
    script = Script()
    script.lists = [page("a"), page("b", version="99")]
    script.watches = [[], *[AWAY] * 5000]
    mirror = script.mirror()
    mirror.turn()
    began = script.now
    while script.now < began + 3600:
        mirror.turn()
    assert names(mirror) == ["a"]
    assert mirror.heard_at is not None
    assert script.now - mirror.heard_at > 3600
    script.watches = [GONE, [event("ADDED", "c", "100")]]
    mirror.turn()
    mirror.turn()
    assert names(mirror) == ["b", "c"]
    assert mirror.complaint is None


def test_credentials_that_are_not_accepted_are_read_anew_and_tried_at_once() -> None:
    """The first time; a token that is simply wrong is not tried without a pause."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [Refused(401, "Unauthorized"), Refused(401, "Unauthorized"), []]
    mirror = script.mirror()
    mirror.turn()
    assert (script.forgotten, script.pauses) == (1, [])
    mirror.turn()
    assert (script.forgotten, len(script.pauses)) == (2, 1)
    mirror.turn()
    assert len(script.list_queries) == 1
    assert mirror.complaint is None


@pytest.mark.parametrize(("lists", "watches", "verb"), [(1, 0, "list"), (0, 1, "watch")])
def test_a_missing_right_is_named_once_a_minute(
    lists: int, watches: int, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the verb and what it is wanted for."""
    forbidden = Refused(403, "cannot do it")
    script = Script()
    script.lists = [forbidden if lists else page("a")] * 400
    script.watches = [forbidden] * 400
    mirror = script.mirror()
    began = script.now
    while script.now < began + 300:
        mirror.turn()
    told = [record.getMessage() for record in caplog.records]
    assert 5 <= len(told) <= 6
    assert all(f"does not allow to {verb} pods in namespace ai: grant list and watch" in line for line in told)
    assert names(mirror) == ([] if lists else ["a"])


def test_a_server_that_is_overloaded_says_how_long_to_wait() -> None:
    """Up to a minute; the version is kept."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [Refused(429, "slow down", 20.0), Refused(429, "slow down", 9999.0), []]
    mirror = script.mirror()
    for _ in range(3):
        mirror.turn()
    assert script.pauses == [20.0, 60.0]
    assert len(script.list_queries) == 1


def test_the_times_that_are_asked_for_are_spread() -> None:
    """4 to 6 minutes for the server, and the silence that is put up with lies beyond its end."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[bookmark("11")] for _ in range(200)]
    mirror = script.mirror()
    for _ in range(200):
        mirror.turn()
    asked = [int(query["timeoutSeconds"]) for query in script.watch_queries]
    assert 240 <= min(asked) < 250
    assert 350 < max(asked) <= 360
    assert all(15 <= silence - seconds <= 18 for silence, seconds in zip(script.silences, asked, strict=True))


def test_a_watch_that_stalls_is_taken_up_from_where_it_was() -> None:
    """Its silence is a failure that is told, and no list is needed."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[bookmark("11"), Unreachable("Read timed out.")], [event("ADDED", "b", "12")]]
    mirror = script.mirror()
    mirror.turn()
    assert mirror.complaint == "Read timed out."
    mirror.turn()
    assert names(mirror) == ["a", "b"]
    assert script.watch_queries[1]["resourceVersion"] == "11"
    assert len(script.list_queries) == 1


def test_only_bytes_count_as_heard() -> None:
    """Not that a watch was opened: that is how others stay green for hours while nothing comes."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[], [bookmark("11")]]
    mirror = script.mirror()
    mirror.turn()
    heard = mirror.heard_at
    assert heard == 1000.0
    mirror.turn()
    assert mirror.heard_at == heard + 4.0


def test_a_watch_that_ends_at_once_is_no_hot_loop() -> None:
    """A proxy may answer and close."""
    script = Script()
    script.line_seconds = 0.0
    script.lists = [page("a")]
    script.watches = [[]] * 10
    mirror = script.mirror()
    for _ in range(10):
        mirror.turn()
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
    mirror = script.mirror(read)
    mirror.turn()
    assert names(mirror) == ["a", "b"]
    assert "ai/odd cannot be read: no name at all" in caplog.text


@pytest.mark.parametrize("nonsense", [b"<html>", b"[]", b'{"items": 5}', b"\xff\xfe"])
def test_what_is_no_api_server_is_complained_of(nonsense: bytes) -> None:
    """And asked again: it may become one."""
    script = Script()
    script.lists = [nonsense, page("a")]
    script.watches = [[]]
    mirror = script.mirror()
    mirror.turn()
    assert "not that of a Kubernetes API server" in str(mirror.complaint)
    mirror.turn()
    assert names(mirror) == ["a"]


def test_the_end_of_trouble_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Only where trouble was said before."""
    caplog.set_level(logging.INFO, logger="ai_gateway.cluster")
    script = Script()
    script.lists = [page("a")]
    script.watches = [AWAY, [bookmark("11")], [bookmark("12")]]
    mirror = script.mirror()
    for _ in range(3):
        mirror.turn()
    assert [record.getMessage() for record in caplog.records][1:] == ["following pods in namespace ai again"]


class Endless:
    """A watch on which nothing comes until somebody stops it."""

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


def test_a_mirror_that_is_stopped_ends_its_thread() -> None:
    """Also in the midst of a watch that may last for minutes."""
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
    mirror: Mirror[Named] = Mirror(cast("ApiServer", script), PODS, Manner(300.0, 15.0), lambda _: None, lambda: None)
    before = set(threading.enumerate())
    mirror.start()
    assert endless.is_read.wait(60)
    (thread,) = set(threading.enumerate()) - before
    mirror.stop()
    thread.join(30)
    assert not thread.is_alive()
