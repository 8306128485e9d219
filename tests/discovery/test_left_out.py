"""Summaries of why pods are left out stay short, however many there are."""

from ai_gateway.balancing.pod import Pod
from ai_gateway.discovery.left_out import MOST_NAMED, LeftOut, grouped


def pods(reason: str, count: int, namespace: str = "ai") -> list[tuple[Pod, str]]:
    return [(Pod(f"{reason}-{number}", namespace), reason) for number in range(count)]


def test_pods_are_grouped_by_their_reason_the_most_frequent_first() -> None:
    assert grouped([*pods("odd", 1), *pods("slow", 2)]) == (
        LeftOut("slow", 2, ("ai/slow-0", "ai/slow-1")),
        LeftOut("odd", 1, ("ai/odd-0",)),
    )
    assert grouped([]) == ()


def test_a_pod_that_is_listed_twice_counts_once() -> None:
    """One with an address of each family stands in two slices; one of another namespace is another."""
    assert grouped([*pods("slow", 1), *pods("slow", 1)]) == (LeftOut("slow", 1, ("ai/slow-0",)),)
    assert grouped([*pods("slow", 1), *pods("slow", 1, "lab")])[0].count == 2


def test_twenty_are_named_in_all_and_all_are_counted() -> None:
    """Five thousand of one kind do not hide the one of another."""
    groups = grouped([*pods("slow", 5000), *pods("odd", 1), *pods("gone", 300)])
    assert [(group.reason, group.count) for group in groups] == [("slow", 5000), ("gone", 300), ("odd", 1)]
    assert sum(len(group.pods) for group in groups) == MOST_NAMED
    assert [len(group.pods) for group in groups] == [9, 10, 1]


def test_more_reasons_than_names_are_all_counted() -> None:
    groups = grouped([pair for number in range(30) for pair in pods(f"r{number}", 2)])
    assert sum(group.count for group in groups) == 60
    assert sum(len(group.pods) for group in groups) == MOST_NAMED
