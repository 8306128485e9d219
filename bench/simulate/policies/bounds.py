"""Two bounds: every model resident everywhere, and a heuristic that knows the trace. Neither is an optimum."""

import heapq
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bench.simulate.contract import Call, Ending, Model, Outside
from bench.simulate.policies.loading import LateBinding
from bench.simulate.traffic import Trace
from bench.simulate.worlds import World

EXTRA_COST: Final = 1.0  # how much more of `1 + 0.2 n` a known prefix is worth
COST: Final = 0.2
PLAN_SECONDS: Final = 1.0
AHEAD: Final = 1.25  # so many median loads before its next call a model is loaded


def with_all_resident(world: World) -> World:
    """The same world where every pod has a place for every model, and has them all loaded."""
    models = world.models + (1 if world.embeddings_per_second else 0)
    return replace(with_one_gateway(world), places=models, is_loaded=True)


def with_one_gateway(world: World) -> World:
    """The same world with one gateway, which sees all calls."""
    return world if world.gateways == 1 else replace(world, gateways=1)


class AffineBinding(LateBinding):
    """A conversation stays on its pod as long as that pod is not much busier than the best."""

    def __init__(self, outside: Outside) -> None:
        super().__init__(outside)
        self._where: dict[int, int] = {}

    def choose(self, call: Call, free: Sequence[int]) -> int:
        """See LateBinding."""
        known = self._where.get(call.conversation)
        best = min(self.totals[pod] for pod in free)
        stays = known is not None and known in free and COST * (self.totals[known] - best) <= EXTRA_COST
        pod = known if stays and known is not None else super().choose(call, free)
        self._where[call.conversation] = pod
        return pod


class Clairvoyant(AffineBinding):
    """Knows when each session begins and how long each client thinks, so it knows each model's next call.

    It loads a model so early that it is there when that call arrives, and replaces the idle model whose next call is
    farthest away (Belady's rule), spare copies first. It does not look beyond that call, and knows no lengths.
    """

    def __init__(self, outside: Outside, trace: Trace) -> None:
        super().__init__(outside)
        self._sessions = trace.sessions
        self._load_seconds = trace.world.load_seconds
        self._turns: dict[int, int] = {}  # of each conversation, how many have ended
        self._begins = {m: [s.begins_at for s in trace.sessions if s.model is m] for m in trace.models}
        self._thought: dict[Model, list[float]] = {model: [] for model in trace.models}  # heaps
        outside.call_at(PLAN_SECONDS, self._plan)

    def ended(self, call: Call, pod: int, ending: Ending) -> None:
        """See Policy."""
        if ending.outcome == "answered":
            turn = self._turns[call.conversation] = self._turns.get(call.conversation, 0) + 1
            turns = self._sessions[call.conversation].turns
            if turn < len(turns):
                heapq.heappush(self._thought[call.model], self.outside.now + turns[turn].think_seconds)
        super().ended(call, pod, ending)

    def next_call(self, model: Model) -> float:
        """When a model is needed next: now if it is in use or waited for."""
        now = self.outside.now
        if self.queues[model] or any(counts[model] for counts in self.in_flight):
            return now
        begins, thought = self._begins[model], self._thought[model]
        while thought and thought[0] <= now:
            heapq.heappop(thought)
        place = bisect_right(begins, now)
        return min(begins[place] if place < len(begins) else math.inf, thought[0] if thought else math.inf)

    def copies(self, model: Model) -> int:
        """On how many pods it is resident or being loaded."""
        resident = sum(self.is_resident(pod, model) for pod in range(len(self.views)))
        return resident + sum(other is model for other in self.loading)

    def may_replace(self, victim: Model, model: Model) -> bool:
        """See LateBinding: the last copy goes only for a model that is needed clearly earlier, or nowhere to be had."""
        if self.copies(victim) > 1:
            return True
        ahead = self._load_seconds * (0.0 if self.copies(model) == 0 else 2.0)
        return self.next_call(victim) > self.next_call(model) + ahead

    def worth(self, pod: int, victim: Model) -> float:
        """See LateBinding."""
        spare = self.copies(victim) > 1
        return -self.next_call(victim) - (1e9 if spare else 0.0)

    def _plan(self) -> None:
        """Loads ahead what is resident nowhere and needed soon."""
        now = self.outside.now
        needed = sorted((self.next_call(model), model.name, model) for model in self.outside.models)
        for time, _, model in needed:
            if time <= now + AHEAD * self._load_seconds and self.copies(model) == 0 and not self.queues[model]:
                self.load_somewhere(model)
        self.outside.call_at(now + PLAN_SECONDS, self._plan)
