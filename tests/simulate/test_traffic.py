"""The traffic of the worlds: its statistics, and that every policy gets the same."""

import itertools
import math
import statistics
from dataclasses import replace

import pytest
from bench.simulate.policies import POLICIES
from bench.simulate.simulation import simulate
from bench.simulate.traffic import Trace, draw
from bench.simulate.worlds import WORLDS


@pytest.fixture(scope="module")
def long() -> Trace:
    """A hundred thousand seconds of world C."""
    return draw(replace(WORLDS["C"], seconds=100_000.0), 7)


def test_calls_come_at_the_rate_of_the_world(long: Trace) -> None:
    turns = [len(session.turns) for session in long.sessions]
    assert statistics.fmean(turns) == pytest.approx(4.0, rel=0.03)
    assert sum(turns) / 100_000 == pytest.approx(1.6, rel=0.05)


def test_sessions_come_in_bursts_of_a_variation_of_2(long: Trace) -> None:
    times = [session.begins_at for session in long.sessions]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert statistics.stdev(gaps) / statistics.fmean(gaps) == pytest.approx(2.0, rel=0.05)


def test_the_lengths_and_pauses_have_their_medians(long: Trace) -> None:
    first = [session.turns[0] for session in long.sessions]
    later = [turn for session in long.sessions for turn in session.turns[1:]]
    assert statistics.median(turn.new_tokens for turn in first) == pytest.approx(1020, rel=0.03)
    assert statistics.median(turn.new_tokens for turn in later) == pytest.approx(60, rel=0.03)
    assert statistics.median(turn.answer_tokens for turn in later) == pytest.approx(129, rel=0.03)
    assert statistics.median(turn.think_seconds for turn in later) == pytest.approx(15, rel=0.03)
    logs = [math.log(turn.think_seconds) for turn in later]
    assert statistics.stdev(logs) == pytest.approx(0.8, rel=0.03)


def test_models_are_asked_for_by_zipf(long: Trace) -> None:
    counts = [sum(session.model is model for session in long.sessions) for model in long.models]
    assert counts[0] / counts[1] == pytest.approx(2.0, rel=0.1)
    assert counts[0] / counts[5] == pytest.approx(6.0, rel=0.15)


def test_loads_have_their_median_and_each_its_own_time(long: Trace) -> None:
    loads = [long.load_seconds(0, long.models[0], count) for count in range(2000)]
    assert statistics.median(loads) == pytest.approx(12.0, rel=0.03)
    assert long.load_seconds(0, long.models[0], 5) == loads[5]


def test_a_seed_always_draws_the_same_and_another_one_something_else() -> None:
    assert draw(WORLDS["D"], 3) == draw(WORLDS["D"], 3)
    assert draw(WORLDS["D"], 3).sessions != draw(WORLDS["D"], 4).sessions


def test_a_burst_has_more_calls() -> None:
    world = replace(WORLDS["C"], seconds=20_000.0, burst=(5000.0, 10_000.0, 3.0))
    times = [session.begins_at for session in draw(world, 1).sessions]
    inside = sum(5000 <= time < 10_000 for time in times)
    after = sum(10_000 <= time < 15_000 for time in times)
    assert inside / after == pytest.approx(3.0, rel=0.25)


def test_every_policy_gets_the_same_trace() -> None:
    """Sessions begin at the same moments, with the same lengths; only later turns depend on the policy."""
    trace = draw(replace(WORLDS["B"], seconds=150.0), 1)
    seen = []
    for row in POLICIES.values():
        run = simulate(trace, row.recipe)
        firsts = [record for record in run.records if record.turn == 0]
        seen.append([(one.call.conversation, one.call.arrived_at, one.call.prompt_tokens) for one in firsts])
    assert all(one == seen[0] for one in seen)
    assert seen[0]


def test_a_run_repeats_itself() -> None:
    trace = draw(replace(WORLDS["D"], seconds=200.0), 1)
    for name in ("random", "late"):
        once, again = (simulate(trace, POLICIES[name].recipe) for _ in range(2))
        assert [one.first_at for one in once.records] == [one.first_at for one in again.records]
