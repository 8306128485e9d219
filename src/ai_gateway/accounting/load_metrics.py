"""The metrics of loads: those that this gateway makes, counted as they happen, and what it learned of models."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, get_args

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Load, Phase, Step
from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import OTHER, counters, histograms

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)


class LoadMetrics:
    """Counts the loads of a fleet. Changed by `note`, which it hands to the fleet; `samples` has the numbers."""

    def __init__(self, fleet: Fleet, current: CurrentConfig) -> None:
        self._fleet = fleet
        self._current = current
        self._begun = counters()
        self._seconds = histograms(names.BUCKETS[names.LOAD_SECONDS])
        fleet.loads.note = self.note

    def note(self, load: Load, step: Step) -> None:
        """Counts one that begins or ends."""
        model = self._label(load.model)
        if step == "begun":
            self._begun.at(model, "free" if load.victim is None else "made").value += 1
        else:
            self._seconds.at(model, step).observe(self._fleet.now() - load.phase_at)

    def samples(self) -> Iterator[Sample]:
        """All numbers now."""
        fleet = self._fleet
        yield from (Sample(names.LOADS, counter.value, labels) for labels, counter in self._begun.items())
        yield from (Sample(names.LOAD_SECONDS, kept.read(), labels) for labels, kept in self._seconds.items())
        phases = Counter(load.phase for load in fleet.loads.of.values())
        yield from (Sample(names.LOADS_UNDER_WAY, phases[phase], (phase,)) for phase in PHASES)
        yield Sample(names.LOADS_DECIDED, fleet.decides)
        failing = Counter(key for _, key in fleet.loads.backoffs)
        for entry in self._current.now.catalog.models(fleet):
            yield from self._of_model(entry, failing)

    def _of_model(self, entry: ServedModel, failing: Counter[str]) -> Iterator[Sample]:
        learned, key, label = self._fleet.learned, self._fleet.runner_of(entry.key), (entry.id,)
        yield Sample(names.LOAD_FAILING, failing[key], label)
        for name, seconds in (
            (names.LEARNED_LOAD, learned.load_seconds.get(key)),
            (names.LEARNED_CALL, learned.call_seconds.get(entry.key)),
        ):
            if seconds is not None:
                yield Sample(name, seconds, label)

    def _label(self, model: str) -> str:
        """The catalog's id of Ollama's name. A model that is served no more has none."""
        entries = self._current.now.catalog.models(self._fleet)
        return next((entry.id for entry in entries if entry.key == model), OTHER)
