"""Calls of a conversation go where it was."""

import random

from tests.balancing.worlds import Clock

from ai_gateway.balancing.affinity import Affinity

KEPT_SECONDS = 600.0


def keys(count: int) -> list[bytes]:
    """Digests of conversations, the same in each run."""
    rng = random.Random(7)
    return [rng.randbytes(16) for _ in range(count)]


def affinity(most: int = 100) -> tuple[Affinity[str], Clock]:
    """An empty one, and its clock."""
    clock = Clock()
    return Affinity(clock, most, KEPT_SECONDS), clock


def test_the_longest_part_that_is_known_counts() -> None:
    """A branch of a conversation may have gone elsewhere."""
    found, _ = affinity()
    found.remember(b"short", "a")
    found.remember(b"long", "b")
    assert found.find((b"longer", b"long", b"short")) == "b"
    assert found.find((b"longer", b"short")) == "a"
    assert found.find((b"longer",)) is None
    assert found.find(()) is None


def test_the_last_endpoint_of_a_conversation_counts() -> None:
    """The others have less of it."""
    found, _ = affinity()
    found.remember(b"key", "a")
    found.remember(b"key", "b")
    assert found.find((b"key",)) == "b"
    assert repr(found) == "<Affinity of 1 conversations to 2 endpoints>"


def test_a_conversation_is_forgotten_after_ten_minutes() -> None:
    """Counted from its last call."""
    found, clock = affinity()
    found.remember(b"key", "a")
    clock.now += KEPT_SECONDS - 1
    found.remember(b"key", "a")
    clock.now += KEPT_SECONDS - 1
    assert found.find((b"key",)) == "a"
    clock.now += 1
    assert found.find((b"key",)) is None


def test_what_is_over_leaves_no_trace() -> None:
    """Each new conversation takes two old ones away."""
    found, clock = affinity()
    for key in keys(10):
        found.remember(key, "a")
    clock.now += KEPT_SECONDS
    for _ in range(10):
        found.remember(b"key", "a")
    assert len(found) == 1


def test_where_there_is_no_room_the_oldest_goes_first() -> None:
    """A conversation that goes on is not old."""
    found, _ = affinity(most=2)
    for key in (b"1", b"2", b"1", b"3"):
        found.remember(key, "a")
    assert [found.find((key,)) for key in (b"1", b"2", b"3")] == ["a", None, "a"]


def test_a_forgotten_endpoint_is_found_no_more() -> None:
    """Shorter parts of a conversation, at other endpoints, are."""
    found, _ = affinity()
    found.remember(b"short", "a")
    found.remember(b"long", "b")
    found.forget("b")
    found.forget("never seen")
    assert found.find((b"long", b"short")) == "a"
    assert found.find((b"long",)) is None


def test_an_endpoint_that_comes_back_begins_anew() -> None:
    """What it had in memory is gone."""
    found, _ = affinity()
    found.remember(b"old", "a")
    found.forget("a")
    found.remember(b"new", "a")
    assert found.find((b"old",)) is None
    assert found.find((b"new",)) == "a"
