"""Late binding and explicit loads, and nothing else: a call is sent where its model is resident and a slot is free."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from bench.simulate.contract import Call, Ending, Listed, Model, Outside
from bench.simulate.policies.waiting import Waiting

BACK_OFF_SECONDS: Final = 10.0


class LateBinding(Waiting):
    """Loads a model whose calls wait, into free room or in place of the model that has been idle longest."""

    def __init__(self, outside: Outside) -> None:
        super().__init__(outside)
        self.loading: list[Model | None] = [None] * len(outside.pods)
        self.idle_since = [dict.fromkeys(outside.models, 0.0) for _ in outside.pods]
        self._models = {model.digest: model for model in outside.models}

    def arrive(self, call: Call) -> None:
        """See Policy."""
        super().arrive(call)
        self.decide()

    def ended(self, call: Call, pod: int, ending: Ending) -> None:
        """See Policy."""
        super().ended(call, pod, ending)
        self.idle_since[pod][call.model] = self.outside.now
        self.decide()

    def saw(self, pod: int, listing: Sequence[Listed] | None) -> None:
        """See Policy. In old versions a loading model is listed, but no call is sent there before it is loaded."""
        super().saw(pod, listing)
        self.decide()

    def is_resident(self, pod: int, model: Model) -> bool:
        """See Waiting."""
        return super().is_resident(pod, model) and self.loading[pod] is not model

    def dispatch(self, model: Model) -> None:
        """See Waiting."""
        queue = self.queues[model]
        while queue:
            free = [pod for pod in range(len(self.totals)) if self.is_resident(pod, model) and self.is_free(pod, model)]
            if not free:
                return
            call = queue.popleft()
            self.send(call, self.choose(call, free))

    def choose(self, call: Call, free: Sequence[int]) -> int:
        """The pod for a call among those that could run it now: the least busy one, ties at random."""
        least = min(self.totals[pod] for pod in free)
        return self.outside.rng.choice([pod for pod in free if self.totals[pod] == least])

    def decide(self) -> None:
        """Begins the loads that are worth it, for the model first whose call has waited longest."""
        waiting = [queue for queue in self.queues.values() if queue]
        for queue in sorted(waiting, key=lambda queue: queue[0].arrived_at):
            model = queue[0].model
            coming = sum(self.slots(pod, model) for pod, other in enumerate(self.loading) if other is model)
            if coming < len(queue):
                self.load_somewhere(model)

    def load_somewhere(self, model: Model) -> None:
        """Begins a load of a model where there is room, or in place of an idle one, if there is such a pod."""
        pods = self.loadable(model)
        room = [pod for pod in pods if self.has_room(pod)]
        if room:
            self.load(min(room, key=lambda pod: (len(self.views[pod] or ()), self.totals[pod])), model)
            return
        victims = [(pod, other) for pod in pods for other in self.idle_on(pod) if self.may_replace(other, model)]
        if victims:
            pod, other = min(victims, key=lambda victim: self.worth(*victim))
            self.replace(pod, other, model)

    def loadable(self, model: Model) -> list[int]:
        """The pods that are up, load nothing, and do not have the model."""
        up = [pod for pod, view in enumerate(self.views) if view is not None and self.loading[pod] is None]
        return [pod for pod in up if not self.is_resident(pod, model)]

    def has_room(self, pod: int) -> bool:
        """Whether another model can be loaded without replacing one."""
        return len(self.views[pod] or ()) < self.outside.pods[pod].places

    def idle_on(self, pod: int) -> Iterator[Model]:
        """The models on a pod that no call of this gateway uses or waits for."""
        for digest in sorted(self.views[pod] or ()):
            model = self._models[digest]
            if not self.in_flight[pod][model] and not self.queues[model]:
                yield model

    def may_replace(self, victim: Model, model: Model) -> bool:
        """Whether an idle model may go for the sake of another one."""
        return True

    def worth(self, pod: int, victim: Model) -> float:
        """The victim that is worth least is replaced: here the one that has been idle longest."""
        return self.idle_since[pod][victim]

    def load(self, pod: int, model: Model) -> None:
        """Loads a model into a pod."""
        self.loading[pod] = model
        self.outside.preload(pod, model, partial(self._loaded, pod, model))

    def replace(self, pod: int, victim: Model, model: Model) -> None:
        """Unloads a model, and loads another one in its place."""
        self.loading[pod] = model
        view = self.views[pod]
        if view is not None:
            view.discard(victim.digest)
        self.outside.unload(pod, victim, partial(self._unloaded, pod, model))

    def _unloaded(self, pod: int, model: Model, is_answered: bool) -> None:
        if is_answered:
            self.outside.preload(pod, model, partial(self._loaded, pod, model))
        else:
            self._loaded(pod, model, False)

    def _loaded(self, pod: int, model: Model, is_loaded: bool) -> None:
        if not is_loaded:
            self.views[pod] = None  # until a poll is answered
            self.outside.call_at(self.outside.now + BACK_OFF_SECONDS, partial(self._free, pod))
            return
        self.loading[pod] = None
        self.idle_since[pod][model] = self.outside.now
        view = self.views[pod]
        if view is not None:
            view.add(model.digest)
        self.dispatch(model)
        self.decide()

    def _free(self, pod: int) -> None:
        self.loading[pod] = None
        self.decide()
