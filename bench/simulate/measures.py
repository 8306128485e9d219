"""What one run says: waits for the first token, loads, hits of the prompt cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.simulate.simulation import Record, Run

GONE: Final = ("left", "refused")
SOON_SECONDS: Final = 5.0
CURVE: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The figures of one run, over the calls that arrived after the warm-up. Waits are seconds to the first token.

    A call without a first token waits until the end of the run, or until its client left or was refused.
    """

    calls: int
    p50: float
    p95: float
    p99: float
    soon: float  # share of the calls whose first token came within 5 s
    goodput: float  # answers a second whose first token came within 5 s
    answers: float  # answers a second
    refused: float  # share of the calls
    loads: int
    hits: float  # share of the prompts' tokens that a slot had cached
    above_slots: int  # calls that were sent to a pod whose slots for their model were taken
    longest: float  # wait, in median loads
    unanswered: int  # without a first token at the end, without those that left or were refused
    left: int
    p95_of: Mapping[str, float]  # by caller
    curve: tuple[float, ...]  # the waits at the shares of CURVE


def measure(run: Run) -> Measures:
    """The figures of a run."""
    world = run.trace.world
    records = [record for record in run.records if record.call.arrived_at >= world.warm_up_seconds]
    waits = sorted(wait(record, world.seconds) for record in records)
    begun = [record for record in records if record.first_at is not None]
    soon = [record for record in begun if wait(record, world.seconds) <= SOON_SECONDS]
    good = sum(record.outcome == "answered" for record in soon)
    return Measures(
        calls=len(records),
        p50=quantile(waits, 0.5),
        p95=quantile(waits, 0.95),
        p99=quantile(waits, 0.99),
        soon=len(soon) / max(1, len(records)),
        goodput=good / (world.seconds - world.warm_up_seconds),
        answers=sum(record.outcome == "answered" for record in records) / (world.seconds - world.warm_up_seconds),
        refused=sum(record.outcome == "refused" for record in records) / max(1, len(records)),
        loads=run.loads,
        hits=sum(record.cached_tokens for record in begun) / max(1, sum(record.call.prompt_tokens for record in begun)),
        above_slots=sum(record.was_above_slots for record in records),
        longest=waits[-1] / world.load_seconds if waits else 0.0,
        unanswered=sum(record.first_at is None and record.outcome not in GONE for record in records),
        left=sum(record.outcome == "left" for record in records),
        p95_of=_by_caller(records, world.seconds),
        curve=tuple(quantile(waits, share) for share in CURVE),
    )


def wait(record: Record, end: float) -> float:
    """How long a call waited for its first token, or has waited."""
    if record.first_at is not None:
        until = record.first_at
    else:
        until = record.ended_at if record.outcome in GONE and record.ended_at is not None else end
    return until - record.call.arrived_at


def quantile(values: Sequence[float], share: float) -> float:
    """Of sorted values, linear between two of them; 0 of none."""
    if not values:
        return 0.0
    place = share * (len(values) - 1)
    lower = int(place)
    upper = min(lower + 1, len(values) - 1)
    return values[lower] + (values[upper] - values[lower]) * (place - lower)


def _by_caller(records: Sequence[Record], end: float) -> dict[str, float]:
    waits: dict[str, list[float]] = {}
    for record in records:
        waits.setdefault(record.call.caller, []).append(wait(record, end))
    return {caller: quantile(sorted(some), 0.95) for caller, some in sorted(waits.items())}
