"""A call gets a slot, a place in the queue, or an error, exactly once."""

import pytest
from tests.balancing.worlds import MODEL, World, addresses, fleet_settings, held

from ai_gateway.balancing.settings import FleetSettings, PoolSettings
from ai_gateway.errors import ModelMissing, NoEndpoint, QueueFull


def test_a_free_slot_is_given_at_once() -> None:
    """And is counted on its endpoint."""
    world = World(1)
    endpoint = world.take()
    assert (endpoint.in_flight, endpoint.total_in_flight) == ({MODEL: 1}, 1)


def test_an_endpoint_never_gets_more_calls_than_slots() -> None:
    """The next call waits until a slot is given back."""
    world = World(1, slots=2)
    endpoint = world.take()
    world.take()
    waiting = world.queue()
    assert waiting.settled == 0
    world.pool.give_back(endpoint)
    assert waiting.endpoint is endpoint
    assert endpoint.in_flight == {MODEL: 2}


def test_another_model_has_slots_of_its_own() -> None:
    """Slots are counted per endpoint and model."""
    world = World(1)
    world.take()
    world.fleet.saw_models(world.endpoints[0], held(MODEL, "other:latest"))
    world.saw_loaded(world.endpoints[0], MODEL, "other:latest")
    assert world.fleet.pool("other:latest").ask() is not None
    assert world.endpoints[0].total_in_flight == 2


def test_the_call_that_waits_longest_is_served_first() -> None:
    """Also before a new call while the queue is not empty."""
    world = World(1)
    endpoint = world.take()
    waiting = [world.queue() for _ in range(3)]
    for served in range(3):
        world.pool.give_back(endpoint)
        assert [one.settled for one in waiting] == [1] * (served + 1) + [0] * (2 - served)


def test_a_call_that_leaves_the_queue_gets_nothing() -> None:
    """The next one gets its slot."""
    world = World(1)
    endpoint = world.take()
    first, second = world.queue(), world.queue()
    world.pool.leave(first.ticket)
    world.pool.give_back(endpoint)
    assert (first.settled, second.settled) == (0, 1)


def test_a_call_that_leaves_when_its_slot_was_granted_gives_it_back() -> None:
    """No slot leaks between the grant and the waiter's waking."""
    world = World(1)
    endpoint = world.take()
    first, second = world.queue(), world.queue()
    world.pool.give_back(endpoint)
    world.pool.leave(first.ticket)
    assert second.endpoint is endpoint
    world.pool.leave(second.ticket)
    assert endpoint.total_in_flight == 0


def test_leaving_twice_takes_nothing_from_others() -> None:
    """A ticket that is not in the queue any more is simply gone."""
    world = World(1)
    world.take()
    first = world.queue()
    world.pool.leave(first.ticket)
    world.pool.leave(first.ticket)
    assert world.pool.waiting == 0


def test_a_full_queue_refuses() -> None:
    """The bound is the config's."""
    world = World(1, max_waiting=1)
    world.take()
    world.queue()
    with pytest.raises(QueueFull, match="1 requests already wait"):
        world.pool.ask()


def test_without_a_queue_a_busy_model_refuses_at_once() -> None:
    """`max_waiting: 0`."""
    world = World(1, max_waiting=0)
    world.take()
    with pytest.raises(QueueFull, match="no call may wait for one"):
        world.pool.ask()


def test_a_model_on_no_endpoint_is_missing() -> None:
    """The sentence says what to do about it."""
    world = World(2)
    for endpoint in world.endpoints:
        world.fleet.saw_models(endpoint, held("other:latest"))
    with pytest.raises(ModelMissing, match=r"`pull: if_missing` under it in config\.yml"):
        world.pool.ask()


def test_without_an_endpoint_there_is_none() -> None:
    """Not up is another matter than not there."""
    world = World(1)
    world.fleet.saw_down(world.endpoints[0], "refused")
    with pytest.raises(NoEndpoint):
        world.pool.ask()
    with pytest.raises(NoEndpoint):
        World(0).pool.ask()


def test_a_call_goes_only_where_the_model_is() -> None:
    """However idle the other endpoint is."""
    world = World(2, slots=3)
    world.fleet.saw_models(world.endpoints[0], held("other:latest"))
    assert [world.take() for _ in range(3)] == [world.endpoints[1]] * 3


def test_an_endpoint_with_unknown_models_is_used_only_if_none_surely_has_the_model() -> None:
    """A gateway that has just started serves before the lists of models are in, by two random choices."""
    world = World(1, slots=2, is_warm=False)
    world.fleet.apply(addresses(2))
    known, unknown = world.endpoints
    world.saw_no_residents(unknown)
    assert [world.take(), world.take()] == [known, known]
    world.fleet.saw_down(known, "refused")
    assert world.take() is unknown


def test_a_new_endpoint_gets_no_call_before_it_has_told_what_it_has_loaded() -> None:
    """A call that waits for one would find its model cold, and no gateway would know of that load."""
    world = World(0, settings=FleetSettings(others=PoolSettings(1, None, 10, absence_seconds=60.0)))
    waiting = world.queue()
    world.fleet.apply(addresses(1))
    (endpoint,) = world.endpoints
    world.fleet.saw_up(endpoint, "0.33.0")
    world.fleet.saw_models(endpoint, held(MODEL))
    world.fleet.tick()
    assert (waiting.settled, endpoint.total_in_flight) == (0, 0)
    world.saw_loaded(endpoint, MODEL)
    assert waiting.endpoint is endpoint


def test_a_404_takes_the_model_off_the_endpoint_until_it_is_listed_again() -> None:
    """The call goes elsewhere; the next list is believed again."""
    world = World(2, slots=2)
    first, second = world.endpoints
    world.fleet.mark_missing(first, MODEL)
    assert [world.take(), world.take()] == [second, second]
    world.fleet.saw_models(first, held(MODEL))
    assert world.take() is first


def test_calls_that_wait_for_a_model_that_vanished_are_refused() -> None:
    """At once, each with the reason, and not at the end of their wait."""
    world = World(1)
    world.take()
    waiting = [world.queue(), world.queue()]
    world.fleet.mark_missing(world.endpoints[0], MODEL)
    assert [type(one.ticket.error) for one in waiting] == [ModelMissing] * 2
    assert [one.settled for one in waiting] == [1, 1]
    assert world.pool.waiting == 0


def test_calls_that_wait_when_the_last_endpoint_goes_down_are_refused() -> None:
    """No call waits in vain."""
    world = World(1)
    world.take()
    waiting = world.queue()
    world.fleet.saw_down(world.endpoints[0], "refused")
    assert isinstance(waiting.ticket.error, NoEndpoint)


def test_a_retry_does_not_go_where_it_failed() -> None:
    """Even if that is the only free endpoint: it waits for another."""
    world = World(2)
    first = world.take()
    second = world.take()
    world.pool.give_back(first)
    again = world.queue(first)
    assert again.settled == 0
    world.pool.give_back(second)
    assert again.endpoint is second


def test_a_retry_is_served_before_other_waiting_calls() -> None:
    """It has waited once already; a full queue does not refuse it."""
    world = World(2, max_waiting=1)
    first, second = world.take(), world.take()
    waiting = world.queue()
    again = world.queue(first)
    world.pool.give_back(second)
    assert (again.endpoint, waiting.endpoint) == (second, None)


def test_a_retry_does_not_block_other_calls() -> None:
    """Behind it in the queue is a call for the endpoint that it avoids."""
    world = World(2)
    first, second = world.take(), world.take()
    again = world.queue(first)
    waiting = world.queue()
    world.pool.give_back(first)
    assert (again.endpoint, waiting.endpoint) == (None, first)
    world.pool.give_back(second)
    assert again.endpoint is second


def test_a_slot_that_only_a_retry_cannot_use_goes_to_the_next_call() -> None:
    """A slot is never free while a call that may have it waits."""
    world = World(2)
    first = world.take()
    world.take()
    world.pool.give_back(first)
    again = world.queue(first)
    assert world.take() is first
    assert again.settled == 0


def test_a_call_with_nowhere_else_to_go_is_refused() -> None:
    """It is not sent to the same endpoint twice."""
    world = World(1)
    with pytest.raises(NoEndpoint):
        world.pool.ask(frozenset(world.endpoints))


def test_more_slots_are_used_at_once() -> None:
    """A config with more slots serves waiting calls."""
    world = World(1)
    world.take()
    waiting = [world.queue() for _ in range(3)]
    world.configure(fleet_settings(3, 10))
    assert [one.settled for one in waiting] == [1, 1, 0]


def test_a_pool_says_what_it_is() -> None:
    """In one line, for logs."""
    world = World(1)
    world.take()
    world.queue()
    assert repr(world.pool) == "<Pool llama3:latest, 1 waiting>"
    assert repr(world.endpoints[0]) == "<Endpoint pod-0:11434 up, 1 in flight>"
    assert repr(world.fleet) == "<Fleet of 1, 0 leaving>"
