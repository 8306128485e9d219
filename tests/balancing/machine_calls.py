"""The calls of test_machine.py."""

from hypothesis import HealthCheck, settings

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.ticket import Claim, Ticket

SLOTS = 2
SETTINGS = settings(
    max_examples=80,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class Call:
    """A call that waits, and how often it was settled."""

    def __init__(self, fleet: Fleet, model: str, avoid: frozenset[Endpoint], claim: Claim) -> None:
        self.fleet, self.model, self.settled = fleet, model, 0
        self.ticket = Ticket(avoid, self._settle, claim)

    def _settle(self) -> None:
        self.settled += 1
        assert (self.ticket.choice is None) != (self.ticket.error is None)
        if self.ticket.choice is not None:
            check(self.ticket.choice.endpoint, self.model, self.ticket.avoid)

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it was sent, if it was."""
        return None if self.ticket.choice is None else self.ticket.choice.endpoint


def check(endpoint: Endpoint, model: str, avoid: frozenset[Endpoint]) -> None:
    """A call may be sent there."""
    assert endpoint.is_usable
    assert endpoint not in avoid
    assert not endpoint.is_reserved(model)
    assert endpoint.busy(model) <= SLOTS
