"""A few calls through one pod, with every time worked out by hand."""

import pytest
from bench.simulate.pods import Pod
from bench.simulate.policies import POLICIES
from bench.simulate.simulation import Record, simulate
from bench.simulate.timeline import Timeline
from bench.simulate.traffic import Trace
from tests.simulate.tiny import A, B, trace, turn


def records(trace: Trace, policy: str = "least") -> list[Record]:
    return list(simulate(trace, POLICIES[policy].recipe).records)


def test_a_first_call_waits_for_the_load_and_its_prompt() -> None:
    (record,) = records(trace((1.0, A, (turn(3000, 40),))))
    assert record.first_at == pytest.approx(1.0 + 10.0 + 2.0 + 0.025)
    assert record.ended_at == pytest.approx(1.0 + 10.0 + 2.0 + 1.0)


def test_a_later_turn_reads_only_what_is_new() -> None:
    first, second = records(trace((0.0, A, (turn(1500, 40), turn(150, 40, think_seconds=5.0)))))
    assert first.ended_at == pytest.approx(12.0)
    assert second.call.arrived_at == pytest.approx(17.0)
    assert second.call.prompt_tokens == 1500 + 40 + 150
    assert second.cached_tokens == 1540
    assert second.first_at == pytest.approx(17.0 + 0.1 + 0.025)


def test_another_conversation_finds_nothing_in_the_cache() -> None:
    _, other = records(trace((0.0, A, (turn(1500, 40),)), (20.0, A, (turn(1500, 40),)), slots=1))
    assert other.cached_tokens == 0


def test_two_calls_at_once_slow_each_other() -> None:
    calls = records(trace((0.0, A, (turn(1500, 40),)), (0.0, A, (turn(1500, 40),))))
    assert [call.ended_at for call in calls] == [pytest.approx(10.0 + 2.0 * 1.2)] * 2


def test_a_call_above_the_slots_waits_in_ollama_and_is_counted() -> None:
    first, second = records(trace((0.0, A, (turn(1500, 40),)), (0.0, A, (turn(1500, 40),)), slots=1))
    assert (first.was_above_slots, second.was_above_slots) == (False, True)
    assert second.first_at == pytest.approx(12.0 + 1.025)


def test_late_binding_keeps_it_in_the_gateway() -> None:
    first, second = records(trace((0.0, A, (turn(1500, 40),)), (0.0, A, (turn(1500, 40),)), slots=1), "late")
    assert not second.was_above_slots
    assert second.sent_at == first.ended_at == pytest.approx(12.0)


def test_late_binding_replaces_an_idle_model() -> None:
    calls = records(trace((0.0, A, (turn(1500, 40),)), (20.0, B, (turn(1500, 40),)), places=1), "late")
    assert calls[1].sent_at == pytest.approx(30.0)
    assert calls[1].first_at == pytest.approx(30.0 + 1.025)


def test_a_client_that_leaves_gives_its_slot_to_the_next() -> None:
    first, second = records(
        trace((0.0, A, (turn(1500, 40, patience=10.5),)), (10.1, A, (turn(1500, 40),)), slots=1), "landed"
    )
    assert (first.outcome, first.first_at) == ("left", None)
    assert second.sent_at == pytest.approx(10.5)


def test_a_call_without_an_answer_stays_open_at_the_end() -> None:
    (record,) = records(trace((0.0, A, (turn(1500, 40),)), seconds=5.0))
    assert (record.outcome, record.first_at) == (None, None)


@pytest.mark.parametrize(("era", "seconds"), [("0.33", 10.0), ("0.24", 6.0)])
def test_a_gateway_sees_a_loading_model_when_its_era_lists_it(era: str, seconds: float) -> None:
    timeline = Timeline()
    pod = Pod(0, trace((0.0, A, (turn(1, 1),)), era=era), timeline)
    pod.scheduler.ask(pod.ticket(A, "x"))
    timeline.at(seconds - 0.1, lambda: None)
    timeline.run(seconds - 0.1)
    assert pod.listing() == ()
    timeline.run(seconds + 0.1)
    pod.scheduler.advance()
    assert [one.digest for one in pod.listing()] == ["digest-a"]


def test_a_bounded_queue_refuses_on_arrival_and_after_its_time() -> None:
    """Two may wait 5 s while the model is loaded, a third is refused at once. Waits for a load do not count."""
    short = (turn(100, 40),)
    first, long, *others = records(
        trace(
            (0.0, A, (turn(1500, 40),)), (20.0, A, (turn(1500, 400),)), (20.1, A, short), (20.2, A, short),
            (20.3, A, short), slots=1, max_waiting=2, queue_seconds=5.0,
        ),
        "shipped",
    )  # fmt: skip
    assert (first.outcome, long.outcome) == ("answered", "answered")
    assert [record.outcome for record in others] == ["refused"] * 3
    assert [record.ended_at for record in others] == pytest.approx([25.1, 25.2, 20.3])
