"""The calls that real and simulated processes get."""

from collections import Counter
from dataclasses import replace

import pytest
from bench.reality.divided import DIVISOR, SECONDS, divided
from bench.reality.trace import draw
from bench.simulate.traffic import draw as draw_world
from bench.simulate.worlds import WORLDS

MODELS = ("one", "two", "three", "four")


def test_each_model_has_its_share_of_the_calls() -> None:
    """So many calls in so many seconds, with short prompts; the same for a seed."""
    arrivals = draw(1, MODELS, 60, 15.0)
    assert arrivals == draw(1, MODELS, 60, 15.0) != draw(2, MODELS, 60, 15.0)
    assert Counter(arrival.model for arrival in arrivals) == {"one": 28, "two": 16, "three": 8, "four": 8}
    assert [arrival.at for arrival in arrivals] == sorted(arrival.at for arrival in arrivals)
    assert arrivals[-1].at == pytest.approx(15.0)
    assert all(len(arrival.text.split()) == 4 for arrival in arrivals)


def test_the_divided_world_has_the_same_sessions_sooner() -> None:
    """Its calls are those of world C, with answers of fewer tokens."""
    trace = divided(3)
    whole = draw_world(replace(WORLDS["C"], seconds=SECONDS), 3).sessions
    assert [one.begins_at * DIVISOR for one in trace.sessions] == pytest.approx([one.begins_at for one in whole])
    assert [one.model for one in trace.sessions] == [one.model for one in whole]
    turns = [turn for session in trace.sessions for turn in session.turns]
    originals = [turn for session in whole for turn in session.turns]
    assert [turn.new_tokens for turn in turns] == [turn.new_tokens for turn in originals]
    assert [turn.answer_tokens for turn in turns] == [max(1, round(one.answer_tokens / DIVISOR)) for one in originals]
