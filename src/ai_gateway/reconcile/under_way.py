"""The steps that are being carried out: on each endpoint a pull, which may take hours, and one other step beside it."""

from collections.abc import Collection, Iterable

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.reconcile.steps import Delete, Pull, Step


class UnderWay:
    """Changed by `begin` and `end`."""

    def __init__(self) -> None:
        self._pulls: dict[Endpoint, Step] = {}
        self._others: dict[Endpoint, Step] = {}

    def __contains__(self, endpoint: object) -> bool:
        return endpoint in self._pulls or endpoint in self._others

    def __bool__(self) -> bool:
        return bool(self._pulls or self._others)

    def values(self) -> list[Step]:
        """All steps."""
        return [*self._pulls.values(), *self._others.values()]

    @property
    def pulls(self) -> Collection[Endpoint]:
        """The endpoints that pull."""
        return self._pulls.keys()

    def on(self, endpoint: Endpoint, key: str) -> bool:
        """Whether a step for a model goes on there."""
        steps = self._pulls.get(endpoint), self._others.get(endpoint)
        return any(step is not None and step.key == key for step in steps)

    def has_room_for(self, step: Step, sharing: Iterable[Endpoint]) -> bool:
        """Whether a step may begin. Nothing is deleted on a disk that a pull is writing to: what it finds there it does
        not load, and Ollama may take it away with the name that is deleted. `sharing`: the endpoints with that disk."""
        if step.endpoint in (self._pulls if isinstance(step, Pull) else self._others):
            return False
        if isinstance(step, Delete):
            return not any(endpoint in self._pulls for endpoint in sharing)
        if isinstance(step, Pull):
            return not any(isinstance(self._others.get(endpoint), Delete) for endpoint in sharing)
        return True

    def begin(self, step: Step) -> None:
        """There is room for it."""
        (self._pulls if isinstance(step, Pull) else self._others)[step.endpoint] = step

    def end(self, step: Step) -> None:
        """It is over, however."""
        steps = self._pulls if isinstance(step, Pull) else self._others
        if steps.get(step.endpoint) is step:
            del steps[step.endpoint]
