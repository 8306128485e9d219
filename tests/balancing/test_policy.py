"""Which endpoint gets a call: one without failures, then one with the model loaded, then the least busy."""

from tests.balancing.worlds import MODEL, World, held


def test_an_endpoint_with_the_model_loaded_is_preferred() -> None:
    """Also to an idle one: a load costs more than a wait."""
    world = World(2, slots=3)
    first, second = world.endpoints
    world.fleet.saw_residents(second, frozenset([MODEL]))
    choice = world.pool.ask()
    assert choice is not None
    assert (choice.endpoint, choice.is_warm, choice.reason) == (second, True, "least_in_flight")
    assert [world.take() for _ in range(3)] == [second, second, first]


def test_among_equals_the_least_busy_is_chosen() -> None:
    """All its calls count, those for other models too."""
    world = World(2, slots=9)
    first, second = world.endpoints
    for endpoint in world.endpoints:
        world.fleet.saw_models(endpoint, held(MODEL, "other:latest"))
    for _ in range(3):
        first.take_slot("other:latest")
    assert [world.take() for _ in range(3)] == [second] * 3
    assert {world.take(), world.take()} == {first, second}


def test_an_endpoint_with_recent_failures_comes_last() -> None:
    """Before it is ejected; a call that goes well forgives it."""
    world = World(2, slots=9)
    first, second = world.endpoints
    world.fleet.saw_residents(first, frozenset([MODEL]))
    world.fleet.failed(first)
    assert world.take() is second
    world.fleet.succeeded(first, MODEL)
    assert world.take() is first


def test_ties_are_broken_at_random() -> None:
    """Several gateways do not all begin with the same endpoint."""
    chosen = set()
    world = World(4, slots=99)
    for _ in range(40):
        endpoint = world.take()
        chosen.add(endpoint.address.host)
        world.pool.give_back(endpoint)
    assert len(chosen) == 4


def test_the_only_candidate_is_said_to_be_the_only_one() -> None:
    """For readers of the trace."""
    world = World(1)
    world.fleet.saw_residents(world.endpoints[0], frozenset([MODEL]))
    choice = world.pool.ask()
    assert choice is not None
    assert (choice.reason, choice.is_warm) == ("only", True)
