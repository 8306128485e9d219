"""Late binding: a call waits in the gateway until the policy has a slot for it. What such policies have in common."""

from collections import deque
from collections.abc import Sequence

from bench.simulate.contract import Call, Ending, Listed, Model, Outside


class Waiting:
    """The frame: own calls by pod and model, the pods' last lists, and a queue for each model. Each has `dispatch`."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.in_flight = [dict.fromkeys(outside.models, 0) for _ in outside.pods]
        self.totals = [0] * len(outside.pods)
        self.views: list[set[str] | None] = [set() for _ in outside.pods]  # digests; None: the pod is down
        self.queues: dict[Model, deque[Call]] = {model: deque() for model in outside.models}

    def dispatch(self, model: Model) -> None:
        """Sends what waits for a model and can be sent."""
        raise NotImplementedError

    def slots(self, pod: int, model: Model) -> int:
        """How many calls of a model may run on a pod."""
        slots = self.outside.pods[pod].slots
        return min(slots, model.own_slots or slots)

    def is_free(self, pod: int, model: Model) -> bool:
        """Whether a slot is free there, or will be once the model is loaded."""
        return self.views[pod] is not None and self.in_flight[pod][model] < self.slots(pod, model)

    def is_resident(self, pod: int, model: Model) -> bool:
        """Whether the model was loaded there at the last look."""
        view = self.views[pod]
        return view is not None and model.digest in view

    def send(self, call: Call, pod: int) -> None:
        """Sends and counts."""
        self.in_flight[pod][call.model] += 1
        self.totals[pod] += 1
        self.outside.send(call, pod)

    def arrive(self, call: Call) -> None:
        """See Policy."""
        self.queues[call.model].append(call)
        self.dispatch(call.model)

    def ended(self, call: Call, pod: int, ending: Ending) -> None:
        """See Policy. A call that failed before its first byte goes to the front of its queue."""
        self.in_flight[pod][call.model] -= 1
        self.totals[pod] -= 1
        if ending.outcome == "failed":
            self.views[pod] = None  # until a poll is answered
            if ending.first_at is None:
                self.queues[call.model].appendleft(call)
        self.dispatch(call.model)

    def left(self, call: Call) -> None:
        """See Policy."""
        self.queues[call.model].remove(call)

    def saw(self, pod: int, listing: Sequence[Listed] | None) -> None:
        """See Policy."""
        self.views[pod] = None if listing is None else {one.digest for one in listing}
        for model, queue in self.queues.items():
            if queue:
                self.dispatch(model)

    def report(self) -> object | None:
        """See Policy."""
        return None

    def heard(self, gateway: int, report: object) -> None:
        """See Policy."""
