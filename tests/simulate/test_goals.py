"""What the gateway's scheduler reaches in simulated worlds: a change of its rules must not break these.

The limits leave room for chance: they are far from what ten seeds reach (docs/balancing.md), and near enough to notice
a rule that is gone.
"""

from collections.abc import Callable
from functools import cache

import pytest
from bench.simulate.experiment import Task, perform
from bench.simulate.measures import Measures
from bench.simulate.ratios import paired
from bench.simulate.worlds import WORLDS

SEEDS = (0, 1)
RIVALS = ("shipped", "least", "model", "landed")


@cache
def measured(world: str) -> dict[str, list[Measures]]:
    """The measures of each policy, by seed."""
    runs = [perform(Task(WORLDS[world], seed, RIVALS)).measures for seed in SEEDS]
    return {policy: [run[policy] for run in runs] for policy in RIVALS}


def better(world: str, rival: str, figure: Callable[[Measures], float]) -> float:
    """How many times a rival's figure is as large as ours."""
    of = measured(world)
    return paired([figure(one) for one in of[rival]], [figure(one) for one in of["shipped"]]).value


def p95(one: Measures) -> float:
    return one.p95


@pytest.mark.parametrize(
    ("world", "rival", "times"),
    [
        ("C", "least", 25.0),
        ("C", "model", 9.0),
        ("C", "landed", 1.1),
        ("D", "least", 8.0),
        ("D", "model", 3.0),
        ("D", "landed", 2.0),
    ],
)
def test_the_first_token_comes_so_many_times_sooner(world: str, rival: str, times: float) -> None:
    """Of all policies the gateway's own has the shortest 95th percentile where models exceed memory."""
    assert better(world, rival, p95) >= times


def test_few_models_are_loaded_again() -> None:
    """A model that is in use stays where it is: least in flight loads 25 times as often."""
    assert better("C", "least", lambda one: one.loads) >= 25.0


def test_most_calls_of_an_overcommitted_fleet_find_their_model() -> None:
    """Where a fifth of the models has no room, four of five calls still get their first token within 5 s."""
    assert min(one.soon for one in measured("D")["shipped"]) >= 0.75
    assert better("D", "model", lambda one: one.soon) <= 1 / 1.5


@pytest.mark.parametrize("world", ["C", "D"])
def test_nobody_waits_longer_than_five_loads(world: str) -> None:
    """A model that few ask for gets its turn."""
    assert max(one.longest for one in measured(world)["shipped"]) <= 5.0


@pytest.mark.parametrize("world", ["C", "D"])
def test_no_runner_gets_more_calls_than_it_has_slots(world: str) -> None:
    """One gateway knows all calls, so that none waits inside an endpoint."""
    assert sum(one.above_slots for one in measured(world)["shipped"]) == 0
