"""The warm policy over processes: on real Ollamas against others, and on simulated ones against its prediction.

`python -m bench.reality` runs both and keeps the tables.
"""

from pathlib import Path

import pytest
from bench.reality import comparison, simulated
from bench.reality.pods import running
from tests.tools.build_ollama import binary_path

pytestmark = pytest.mark.ollama


def test_calls_wait_less_and_models_are_loaded_less_often(tmp_path: Path) -> None:
    """Four models, room for three: the time to the first token (p95) and the loads, median of three rounds.

    Against least in flight, and against the plain Service that users have today.
    """
    if not binary_path().exists():
        pytest.fail("Ollama is not built; run: python tests/tools/build_ollama.py", pytrace=False)
    with running(tmp_path) as pods:
        figures = comparison.compare(pods)
    for way, most in (("least_in_flight", 0.7), ("service", 0.5)):
        assert figures.p95("warm") <= most * figures.p95(way), figures.table()
        assert figures.loads("warm") <= most * figures.loads(way), figures.table()


async def test_the_simulation_predicts_what_processes_live_through(tmp_path: Path) -> None:
    """The same calls over simulated endpoints: the simulation is worth what this holds.

    A machine that is busy with something else delays processes, which the simulation cannot know: then once more.
    """
    predicted, lived = simulated.predicted(0), await simulated.lived(0, tmp_path)
    if misses(predicted, lived):
        lived = await simulated.lived(0, tmp_path)
    assert not misses(predicted, lived), simulated.table(predicted, lived)


def misses(predicted: simulated.Figures, lived: simulated.Figures) -> list[str]:
    """The figures that are too far from the prediction."""
    allowed = {"p50": max(0.15 * predicted.p50, 0.015), "p95": 0.15 * predicted.p95, "loads": 0.1 * predicted.loads}
    return [name for name, most in allowed.items() if abs(getattr(lived, name) - getattr(predicted, name)) > most]
