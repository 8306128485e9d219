"""What may go wrong in the midst of a list, of a watch, or in the gateway itself: nothing of it empties the copy.

The rules of list and watch are in `test_mirror.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
import pytest
from tests.cluster.script import Named, Script, error_event, event, names, page

from ai_gateway.cluster.api import Refused, Stream, Unreachable

GONE = Refused(410, "too old resource version")
AWAY = Unreachable("Connection refused")


def test_a_list_that_breaks_off_between_its_pages_changes_nothing() -> None:
    """Half a list is no list; the next one is read from its beginning."""
    script = Script()
    script.lists = [page("a"), page("b", more="next"), AWAY, page("b", version="90")]
    script.watches = [GONE, []]
    mirror = script.mirror()
    for _ in range(2):
        mirror.turn()
    assert names(mirror) == ["a"]
    mirror.turn()
    assert names(mirror) == ["b"]
    assert "continue" not in script.list_queries[-1]


def test_pages_that_are_gone_are_listed_anew() -> None:
    """A list that took too long lost its place: 410 between two pages."""
    script = Script()
    script.lists = [page("a", more="next"), GONE, page("a", "b", version="90")]
    script.watches = [[]]
    mirror = script.mirror()
    mirror.turn()
    assert not mirror.is_listed
    mirror.turn()
    assert names(mirror) == ["a", "b"]
    assert mirror.complaint is None


def test_a_missing_right_to_watch_and_one_to_list_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    """Both at once, within the same minute."""
    forbidden = Refused(403, "cannot do it")
    script = Script()
    script.lists = [page("a"), forbidden]
    script.watches = [forbidden]
    mirror = script.mirror()
    for _ in range(2):
        mirror.turn()
    first, second = (record.getMessage() for record in caplog.records)
    assert "does not allow to watch pods in namespace ai" in first
    assert "does not allow to list pods in namespace ai" in second


def test_an_authority_that_was_rotated_is_read_anew() -> None:
    """A certificate that does not fit is tried again after a pause."""
    script = Script()
    script.lists = [Unreachable("certificate verify failed", is_distrust=True), page("a")]
    script.watches = [[]]
    mirror = script.mirror()
    mirror.turn()
    assert (script.forgotten, len(script.pauses)) == (1, 1)
    mirror.turn()
    assert names(mirror) == ["a"]


def test_an_error_inside_a_watch_that_is_not_gone_leads_to_a_new_list_after_a_pause() -> None:
    """What is known stays until then."""
    script = Script()
    script.lists = [page("a"), page("b", version="90")]
    script.watches = [[error_event(500)], []]
    mirror = script.mirror()
    mirror.turn()
    assert (names(mirror), len(script.pauses)) == (["a"], 1)
    mirror.turn()
    assert names(mirror) == ["b"]


@pytest.mark.parametrize("fault", [None, msgspec.ValidationError("no name")])
def test_what_was_known_and_is_not_wanted_or_cannot_be_read_any_more_goes(fault: Exception | None) -> None:
    seen = 0

    def read(content: bytes) -> Named | None:
        nonlocal seen
        seen += 1
        if seen <= 2:
            return Named(msgspec.json.decode(content)["metadata"]["name"])
        if fault is not None:
            raise fault
        return None

    script = Script()
    script.lists = [page("a", "b")]
    script.watches = [[event("MODIFIED", "a", "11")]]
    mirror = script.mirror(read)
    mirror.turn()
    assert names(mirror) == ["b"]


def test_a_fault_of_the_gateways_own_ends_no_later_turn(caplog: pytest.LogCaptureFixture) -> None:
    """It is told with its trace, and everything is listed anew after the longest pause."""
    faults = [RuntimeError("a bug")]

    def read(content: bytes) -> Named | None:
        if faults:
            raise faults.pop()
        return Named("a")

    script = Script()
    script.lists = [page("a"), page("a")]
    script.watches = [[]]
    mirror = script.mirror(read)
    mirror.turn()
    assert script.pauses == [3.0]
    mirror.turn()
    assert names(mirror) == ["a"]
    assert "a bug" in caplog.text


def test_a_mirror_that_is_stopped_while_a_watch_is_opened_does_not_read_it() -> None:
    """Nobody could end the reading."""
    script = Script()
    script.lists = [page("a")]
    script.watches = [[event("ADDED", "b", "11")]]
    mirror = script.mirror()
    opened = script.stream

    @contextmanager
    def stream(path: str, query: Mapping[str, str], silence_seconds: float) -> Iterator[Stream]:
        mirror.stop()
        with opened(path, query, silence_seconds) as lines:
            yield lines

    script.stream = stream  # type: ignore[method-assign]  # the test's own fake
    mirror.turn()
    assert names(mirror) == ["a"]
    assert script.pauses == []
