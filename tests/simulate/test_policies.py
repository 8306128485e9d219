"""Every policy keeps the contract in every kind of world."""

from dataclasses import replace

import pytest
from bench.simulate.measures import measure, wait
from bench.simulate.policies import POLICIES
from bench.simulate.simulation import Run, simulate
from bench.simulate.traffic import draw
from bench.simulate.worlds import VARIANTS, WORLDS, Crash, varied

SHORT = replace(WORLDS["C"], seconds=120.0, warm_up_seconds=0.0)


def run_of(policy: str, *variants: str) -> Run:
    row = POLICIES[policy]
    world = row.world(varied(SHORT, variants))
    if world.crashes:
        world = replace(world, crashes=tuple(Crash(pod, 60.0 + pod, 20.0 * pod) for pod in range(6)))
    if world.burst is not None:
        world = replace(world, burst=(30.0, 60.0, 3.0))
    return simulate(draw(world, 2), row.recipe)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_call_ends_or_counts_with_its_age(policy: str, variant: str) -> None:
    run = run_of(policy, variant)
    assert run.records
    for record in run.records:
        is_over = record.outcome in ("answered", "failed", "left", "refused")
        assert is_over == (record.ended_at is not None)
        assert 0 <= wait(record, 120.0) <= 120.0 - record.call.arrived_at
        if record.outcome == "answered":
            assert record.first_at is not None
            assert record.call.arrived_at <= record.sent_at <= record.first_at
    assert measure(run).unanswered == sum(
        one.first_at is None and one.outcome not in ("left", "refused") for one in run.records
    )


@pytest.mark.parametrize("policy", [name for name, row in POLICIES.items() if row.binds_late])
def test_late_binding_sends_nothing_above_the_slots(policy: str) -> None:
    for variant in ("one-slot", "cancels", "embeddings"):
        assert not any(record.was_above_slots for record in run_of(policy, variant).records)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_crash_ends_only_calls_that_had_begun(policy: str) -> None:
    run = run_of(policy, "crash")
    failed = [record for record in run.records if record.outcome == "failed"]
    assert all(record.first_at is not None for record in failed)
    again = [record for record in run.records if record.attempts > 1]
    assert failed or again


@pytest.mark.parametrize("policy", POLICIES)
def test_whoever_waits_for_less_than_the_impatient_is_answered(policy: str) -> None:
    run = run_of(policy, "cancels")
    left = [record for record in run.records if record.outcome == "left"]
    for record in left:
        patience = record.session.turns[record.turn].patience_seconds
        assert patience is not None
        assert record.ended_at == pytest.approx(record.call.arrived_at + patience)


@pytest.mark.parametrize("policy", ["late", "landed", "clairvoyant"])
def test_a_quiet_world_answers_nearly_all(policy: str) -> None:
    assert measure(run_of(policy)).unanswered <= 5


def test_more_gateways_share_the_calls() -> None:
    run = run_of("late", "three-gateways")
    assert {record.gateway for record in run.records} == {0, 1, 2}
