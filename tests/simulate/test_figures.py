"""Figures, ratios and what is written about them."""

import math
from xml.etree import ElementTree

import pytest
from bench.simulate.__main__ import chosen_worlds, parser, report
from bench.simulate.experiment import experiment
from bench.simulate.measures import measure, quantile
from bench.simulate.plots import curves, intervals
from bench.simulate.policies import POLICIES
from bench.simulate.ratios import geometric, paired
from bench.simulate.simulation import simulate
from tests.simulate.tiny import A, trace, turn


def test_a_quantile_lies_between_its_neighbours() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert quantile([1.0], 0.95) == 1.0
    assert quantile([], 0.95) == 0.0


def test_the_geometric_mean_has_a_t_interval_of_the_logarithms() -> None:
    mean = geometric([1.0, 10.0, 100.0])
    assert mean.value == pytest.approx(10.0)
    half = 4.303 * math.log(10.0) / math.sqrt(3)
    assert mean.high == pytest.approx(10.0 * math.exp(half))
    assert mean.low == pytest.approx(10.0 * math.exp(-half))


def test_a_ratio_is_paired_by_seed() -> None:
    assert paired([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == pytest.approx((2.0, 2.0, 2.0))


def test_one_seed_has_no_interval() -> None:
    assert geometric([3.0]) == pytest.approx((3.0, 3.0, 3.0))


def test_the_measures_of_a_run() -> None:
    """Two calls: one after a load of 10 s and a second of prompt, one that begins too late to be answered."""
    run = simulate(
        trace((0.0, A, (turn(1500, 40),)), (11.5, A, (turn(1500, 40),)), seconds=12.0), POLICIES["late"].recipe
    )
    figures = measure(run)
    assert (figures.calls, figures.loads, figures.unanswered, figures.above_slots) == (2, 1, 1, 0)
    assert figures.longest == pytest.approx(11.025 / 10.0)
    assert figures.p50 == pytest.approx((11.025 + 0.5) / 2)
    assert (figures.soon, figures.hits) == (0.0, 0.0)


def test_calls_of_the_warm_up_are_not_counted() -> None:
    run = simulate(
        trace((0.0, A, (turn(1500, 40),)), (20.0, A, (turn(1500, 40),)), warm_up_seconds=5.0), POLICIES["late"].recipe
    )
    assert measure(run).calls == 1
    assert measure(run).p95 == pytest.approx(1.025)


def test_the_command_names_its_worlds_and_writes_a_page_with_pictures() -> None:
    chosen = parser().parse_args(
        [
            "--worlds",
            "C",
            "--policies",
            "late,least",
            "--seeds",
            "2",
            "--seconds",
            "200",
            "--variant",
            "greedy",
            "--slots",
            "2",
        ]
    )
    (world,) = chosen_worlds(chosen)
    assert (world.name, world.slots, len(world.callers)) == ("C greedy, slots 2, seconds 200", 2, 2)
    results = experiment([world], chosen.policies, chosen.seeds, 1, lambda _: None)
    page = report(chosen, [world], results, [])
    assert "| least in flight |" in page
    assert "p95 of light, s" in page
    for picture in (intervals(results, [world], chosen.policies), curves(results, world, chosen.policies)):
        assert ElementTree.fromstring(picture).tag.endswith("svg")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--worlds", "Z"])
