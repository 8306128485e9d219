"""Failures in the middle of a list, of a watch, or in the gateway itself never empty the copy.

The rules of list and watch are in `test_reflector.py`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import msgspec
import pytest
from tests.cluster.script import Named, Script, bookmark, error_event, event, names, page

from ai_gateway.cluster.api import StatusFailure, Stream, Unreachable

GONE = StatusFailure(410, "too old resource version")
AWAY = Unreachable("Connection refused")


def test_a_list_that_fails_between_pages_changes_nothing() -> None:
    """Half a list is no list; the next one is read from its beginning."""
    script = Script()
    script.lists = [page("a"), page("b", more="next"), AWAY, page("b", version="90")]
    script.watches = [GONE, []]
    reflector = script.reflector()
    for _ in range(2):
        reflector.iterate()
    assert names(reflector) == ["a"]
    reflector.iterate()
    assert names(reflector) == ["b"]
    assert "continue" not in script.list_queries[-1]


def test_gone_pages_are_listed_again() -> None:
    """A list that took too long lost its place: 410 between two pages."""
    script = Script()
    script.lists = [page("a", more="next"), GONE, page("a", "b", version="90")]
    script.watches = [[]]
    reflector = script.reflector()
    reflector.iterate()
    assert not reflector.is_listed
    reflector.iterate()
    assert names(reflector) == ["a", "b"]
    assert reflector.reason is None


def test_missing_rights_to_watch_and_to_list_are_logged_separately(caplog: pytest.LogCaptureFixture) -> None:
    """Both at once, within the same minute."""
    forbidden = StatusFailure(403, "cannot do it")
    script = Script()
    script.lists = [page("a"), forbidden]
    script.watches = [forbidden]
    reflector = script.reflector()
    for _ in range(2):
        reflector.iterate()
    first, second = (record.getMessage() for record in caplog.records)
    assert "does not allow the gateway to watch pods in namespace ai" in first
    assert "does not allow the gateway to list pods in namespace ai" in second


def test_a_rotated_authority_is_read_again() -> None:
    """A certificate that does not fit is tried again after a pause."""
    script = Script()
    script.lists = [Unreachable("certificate verify failed", is_distrust=True), page("a")]
    script.watches = [[]]
    reflector = script.reflector()
    reflector.iterate()
    assert (script.forgotten, len(script.pauses)) == (1, 1)
    reflector.iterate()
    assert names(reflector) == ["a"]


def test_an_error_inside_a_watch_that_is_not_gone_leads_to_a_new_list_after_a_pause() -> None:
    """What is known stays until then."""
    script = Script()
    script.lists = [page("a"), page("b", version="90")]
    script.watches = [[error_event(500)], []]
    reflector = script.reflector()
    reflector.iterate()
    assert (names(reflector), len(script.pauses)) == (["a"], 1)
    reflector.iterate()
    assert names(reflector) == ["b"]


@pytest.mark.parametrize("failure", [None, msgspec.ValidationError("no name")])
def test_a_known_object_that_is_left_out_or_unreadable_is_removed(failure: Exception | None) -> None:
    seen = 0

    def read(content: bytes) -> Named | None:
        nonlocal seen
        seen += 1
        if seen <= 2:
            return Named(msgspec.json.decode(content)["metadata"]["name"])
        if failure is not None:
            raise failure
        return None

    script = Script()
    script.lists = [page("a", "b")]
    script.watches = [[event("MODIFIED", "a", "11")]]
    reflector = script.reflector(read)
    reflector.iterate()
    assert names(reflector) == ["b"]


@pytest.mark.parametrize("place", ["list", "watch"])
def test_an_unexpected_failure_ends_no_later_iteration(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log has its traceback once, and the reflector lists again after the longest pause."""
    failures = [RuntimeError("a bug"), RuntimeError("a bug")]

    def read(content: bytes) -> Named | None:
        name = msgspec.json.decode(content)["metadata"]["name"]
        if name == "odd" and failures:
            raise failures.pop()
        return Named(name)

    script = Script()
    failing = page("odd" if place == "list" else "a")
    script.lists = [failing, failing, page("a", version="90")]
    script.watches = [[]] if place == "list" else [[event("ADDED", "odd", "11")], [event("ADDED", "odd", "11")], []]
    reflector = script.reflector(read)
    reflector.iterate()
    reflector.iterate()
    assert script.pauses == [3.0, 3.0]
    reflector.iterate()
    assert names(reflector) == ["a"]
    assert script.watch_queries[-1]["resourceVersion"] == "90"
    assert caplog.text.count("a bug") == 1


def test_a_reflector_stopped_while_it_opens_a_watch_does_not_read_it() -> None:
    """`stop` could not end the read."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[event("ADDED", "b", "11")]]
    reflector = script.reflector()
    opened = script.stream

    @contextmanager
    def stream(path: str, query: Mapping[str, str], silence_seconds: float) -> Iterator[Stream]:
        reflector.stop()
        with opened(path, query, silence_seconds) as lines:
            yield lines

    script.stream = stream  # type: ignore[method-assign]  # the test's own fake
    reflector.iterate()
    assert names(reflector) == ["a"]
    assert script.pauses == []


@pytest.mark.parametrize("left", ["between events", "while the stream breaks"])
def test_a_reflector_stopped_while_it_reads_applies_nothing_more(left: str) -> None:
    """A stream that breaks because of `stop` is no failure."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[bookmark("11"), AWAY if left == "while the stream breaks" else event("ADDED", "b", "12")]]
    reflector = script.reflector()
    opened = script.stream

    class Left:
        """A stream whose first line comes when the reflector has been asked to stop."""

        def __init__(self, stream: Stream) -> None:
            self._lines = stream.lines()

        def lines(self) -> Iterator[bytes]:
            """See Stream."""
            if left == "while the stream breaks":
                next(self._lines)
            reflector.stop()
            yield from self._lines

        def stop(self) -> None:
            """See Stream."""

    @contextmanager
    def stream(path: str, query: Mapping[str, str], silence_seconds: float) -> Iterator[Stream]:
        with opened(path, query, silence_seconds) as lines:
            yield cast("Stream", Left(lines))

    script.stream = stream  # type: ignore[method-assign]  # the test's own fake
    reflector.iterate()
    assert names(reflector) == ["a"]
    assert (reflector.total_failures, reflector.reason, script.pauses) == (0, None, [])


def test_after_an_outage_the_next_failure_starts_with_the_shortest_pause() -> None:
    """Credentials that are rejected then are retried at once, as the first time."""
    script = Script()
    script.lists = [page("a")] * 9
    script.watches = [*[AWAY] * 9, [bookmark("11"), StatusFailure(401, "Unauthorized")], [bookmark("12"), AWAY]]
    reflector = script.reflector()
    for _ in range(9):
        reflector.iterate()
    assert max(script.pauses) > 1.0
    script.pauses.clear()
    reflector.iterate()
    assert (script.forgotten, script.pauses) == (1, [])
    reflector.iterate()
    assert [0.5 <= pause <= 1.0 for pause in script.pauses] == [True]


def test_a_retry_after_of_zero_still_gets_a_pause() -> None:
    """Retry-After: 0 must not cause a hot loop."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [StatusFailure(429, "slow down", 0.0)]
    script.reflector().iterate()
    assert script.pauses[0] >= 0.5


def test_a_short_watch_is_continued_at_once_if_it_sent_anything() -> None:
    """Only one that ends without a byte is odd."""
    script = Script()
    script.line_seconds = 0.01
    script.lists = [page("a")]
    script.watches = [[event("ADDED", "b", "11")], [bookmark("12")]]
    reflector = script.reflector()
    for _ in range(2):
        reflector.iterate()
    assert (script.pauses, reflector.reason) == ([], None)


def test_an_event_without_a_version_keeps_the_last_one() -> None:
    """Known events are not requested again, and no new list is needed."""
    nameless = json.dumps({"type": "BOOKMARK", "object": {"metadata": {}}}).encode()
    script = Script()
    script.lists = [page("a")]
    script.watches = [[event("ADDED", "b", "11"), nameless], []]
    reflector = script.reflector()
    for _ in range(2):
        reflector.iterate()
    assert [query["resourceVersion"] for query in script.watch_queries] == ["10", "11"]
    assert len(script.list_queries) == 1


def test_a_bookmark_changes_nothing() -> None:
    """It wakes no waiter: bookmarks come about once a minute, for every collection."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[bookmark("11"), bookmark("12")]]
    script.reflector().iterate()
    assert script.changes == 1  # the list


def test_a_gone_error_without_metadata_is_understood() -> None:
    """Formerly the gateway did not accept it, and requested the same version for ever."""
    status = {"kind": "Status", "code": 410, "message": "too old resource version"}
    script = Script()
    script.lists = [page("a"), page("b", version="90")]
    script.watches = [[json.dumps({"type": "ERROR", "object": status}).encode()], []]
    reflector = script.reflector()
    for _ in range(2):
        reflector.iterate()
    assert names(reflector) == ["b"]


def test_the_log_says_that_the_known_state_stays_in_force(caplog: pytest.LogCaptureFixture) -> None:
    """Before the first list there is no known state."""
    script = Script()
    script.lists = [AWAY, page("a"), StatusFailure(503, "starting")]
    script.watches = [StatusFailure(503, "starting")]
    reflector = script.reflector()
    for _ in range(3):
        reflector.iterate()
    first, second, _ = (record.getMessage() for record in caplog.records)
    assert first == "cannot follow pods in namespace ai: Connection refused"
    assert second == "cannot follow pods in namespace ai; the last known state stays in force: 503 starting"
