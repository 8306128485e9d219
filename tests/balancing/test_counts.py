"""The counts of endpoints and the budget: each event once, and nothing else."""

from tests.balancing.worlds import MODEL, World

from ai_gateway.balancing.budget import FLOOR, RetryBudget
from ai_gateway.balancing.lease import Lease, Waits

OTHER = "codellama:13b"


def changes(world: World, *lists: set[str] | None) -> tuple[int, int]:
    """Loads and unloads of an endpoint that tells these, one after the other."""
    (endpoint,) = world.endpoints
    for names in lists:
        if names is None:
            world.saw_no_residents(endpoint)
        else:
            world.saw_loaded(endpoint, *names)
    return endpoint.total_loads, endpoint.total_unloads


def test_models_loaded_before_the_first_poll_do_not_count_as_loads() -> None:
    """The gateway that starts has not loaded anything."""
    assert changes(World(1, is_warm=False), {MODEL, OTHER}) == (0, 0)


def test_models_that_come_and_go_are_counted() -> None:
    """One replaced by another is both."""
    assert changes(World(1, is_warm=False), set(), {MODEL}, {MODEL}, {OTHER}, set()) == (2, 2)


def test_a_poll_without_an_answer_changes_nothing() -> None:
    """Ollama may answer late just while it loads; its next list is compared with the one before."""
    assert changes(World(1, is_warm=False), {MODEL}, None, {MODEL}) == (0, 0)
    assert changes(World(1, is_warm=False), {MODEL}, None, {MODEL, OTHER}) == (1, 0)


def test_an_endpoint_that_comes_back_empty_has_unloaded() -> None:
    """It was down in between: its models are gone with its process."""
    world = World(1, is_warm=False)
    assert changes(world, {MODEL, OTHER}) == (0, 0)
    world.fleet.saw_down(world.endpoints[0], "gone")
    world.fleet.saw_up(world.endpoints[0], "0.24.0")
    assert changes(world, set()) == (0, 2)


def test_failures_are_those_of_calls() -> None:
    """A probe without an answer does not count: an endpoint that is down has no calls to fail."""
    world = World(2)
    first, second = world.endpoints
    world.fleet.failed(first)
    world.fleet.failed_model(first, MODEL)
    world.fleet.saw_down(first, "gone")
    world.fleet.saw_down(second, "gone")
    assert (first.total_failures, second.total_failures) == (2, 0)
    assert first.health.failures > 1  # a probe that fails still counts against its health


async def test_an_attempt_is_a_lease_that_was_used() -> None:
    """Not a slot that was granted to a call whose client has left."""
    world = World(1, is_warm=False)
    (endpoint,) = world.endpoints
    world.saw_loaded(endpoint, MODEL)
    async with Lease(world.pool, Waits(1, 300)):
        waiting = world.queue()
    assert endpoint.total_attempts == 1
    world.pool.leave(waiting.ticket)
    assert endpoint.total_attempts == 1


def test_the_budget_shows_how_many_retries_may_begin() -> None:
    """As many as it then gives."""
    for active in (0, 14, 15, 16, 100):
        budget = RetryBudget(0.2)
        budget.active = active
        left = budget.left
        assert left >= FLOOR
        assert sum(budget.take() is not None for _ in range(200)) == left
        assert budget.left == 0
        budget.active = 0  # the calls have ended before their retries
        assert budget.left == 0
