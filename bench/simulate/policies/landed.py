"""The policy of the gateway before explicit loads: warm first, then least in flight, in any free slot."""

from bench.simulate.contract import Model
from bench.simulate.policies.waiting import Waiting


class WarmLeastInFlight(Waiting):
    """A call takes a slot wherever the model is installed; a pod where it is resident comes first. Else it waits."""

    def dispatch(self, model: Model) -> None:
        """See Waiting."""
        queue = self.queues[model]
        while queue:
            free = [pod.number for pod in self.outside.pods if self.is_free(pod.number, model)]
            if not free:
                return
            ranks = {pod: (not self.is_resident(pod, model), self.totals[pod]) for pod in free}
            best = min(ranks.values())
            self.send(queue.popleft(), self.outside.rng.choice([pod for pod in free if ranks[pod] == best]))
