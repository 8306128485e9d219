"""A pod's OLLAMA_NUM_PARALLEL bounds its calls, and a new pod is another endpoint than the old one."""

import random

import pytest
from tests.balancing.worlds import MODEL, World, fleet_settings

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.pod import Pod
from ai_gateway.wire.address import Address

OLD, NEW = Address("10.0.0.1", uid="old"), Address("10.0.0.1", uid="new")


def pod(slots: int | None) -> Pod:
    return Pod("ollama-0", "ai", num_parallel=slots)


def of_pods(*pods: Pod, slots: int = 1, own: int | None = None) -> World:
    """A fleet of these pods, up, each with the model."""
    world = World(0)
    listed = {Address(f"10.0.0.{number}", uid=str(number)): pod for number, pod in enumerate(pods)}
    world.fleet.apply(listed, listed)
    for endpoint in world.endpoints:
        world.begin(endpoint, is_warm=False)
    world.configure(fleet_settings(slots, 10, own))
    return world


@pytest.mark.parametrize(
    ("pod", "own", "slots"),
    [
        (None, None, 2),  # no pod: the config's general word
        (None, 5, 5),
        (pod(None), None, 2),  # a pod without the variable
        (pod(None), 5, 5),
        (pod(4), None, 4),  # it overrides the general value, up
        (pod(1), None, 1),  # and down
        (pod(4), 3, 3),  # the model takes no more anywhere
        (pod(4), 9, 4),  # and Ollama runs no more than its own number
    ],
)
def test_a_pods_slots_override_the_config_and_the_models_own_bound_them(
    pod: Pod | None, own: int | None, slots: int
) -> None:
    endpoint = Endpoint(OLD, random.Random(1))
    endpoint.pod = pod
    assert endpoint.slots(MODEL, 2, own) == slots


def test_each_pod_gets_as_many_calls_as_its_ollama_runs() -> None:
    """The next one waits, and goes where a slot is given back."""
    world = of_pods(pod(3), pod(1))
    large, small = world.endpoints
    taken = [world.take() for _ in range(4)]
    assert (taken.count(large), taken.count(small)) == (3, 1)
    waiting = world.queue()
    world.pool.give_back(small)
    assert waiting.endpoint is small


def test_a_models_own_slots_bound_a_pod_with_more() -> None:
    world = of_pods(pod(4), own=2)
    world.take()
    world.take()
    assert world.queue().settled == 0


def test_more_slots_of_a_pod_serve_waiting_calls_at_once() -> None:
    """The list that says so binds them: no call has to end first. Its streams stay counted."""
    world = of_pods(pod(1))
    endpoint = world.take()
    waiting = world.queue()
    world.fleet.apply([endpoint.address], {endpoint.address: pod(2)})
    assert waiting.endpoint is endpoint
    assert endpoint.total_in_flight == 2


def test_fewer_slots_of_a_pod_end_no_call_and_start_none() -> None:
    world = of_pods(pod(2))
    endpoint = world.take()
    world.take()
    world.fleet.apply([endpoint.address], {endpoint.address: pod(1)})
    waiting = world.queue()
    world.pool.give_back(endpoint)
    assert (waiting.settled, endpoint.total_in_flight) == (0, 1)
    world.pool.give_back(endpoint)
    assert waiting.settled == 1


def test_an_endpoint_without_a_pod_has_the_general_slots() -> None:
    """As when the config goes over to a source that knows none."""
    world = of_pods(pod(4), slots=1)
    (endpoint,) = world.endpoints
    world.fleet.apply([endpoint.address])
    assert endpoint.pod is None
    world.take()
    assert world.queue().settled == 0


def test_a_new_pod_with_the_ip_of_the_old_one_is_another_endpoint() -> None:
    """It begins with nothing, while the old one keeps its streams until they end."""
    world = World(0)
    (old,), _ = world.fleet.apply([OLD], {OLD: pod(1)})
    world.begin(old)
    assert world.take() is old
    (new,), gone = world.fleet.apply([NEW], {NEW: pod(1)})
    assert gone == [old]
    assert (new.total_in_flight, new.is_reachable, new.held) == (0, None, None)
    assert (old.state, old.total_in_flight, world.fleet.leaving) == ("draining", 1, [old])
    world.begin(new)
    assert world.take() is new
    world.pool.give_back(old)
    world.fleet.apply([NEW], {NEW: pod(1)})
    assert (world.fleet.leaving, new.total_in_flight) == ([], 1)


def test_a_slot_that_the_old_pod_gives_back_is_not_the_new_ones() -> None:
    """Calls that wait for the new pod go on waiting."""
    world = World(0)
    (old,), _ = world.fleet.apply([OLD], {OLD: pod(1)})
    world.begin(old)
    world.take()
    (new,), _ = world.fleet.apply([NEW], {NEW: pod(1)})
    world.begin(new)
    world.take()
    waiting = world.queue()
    world.pool.give_back(old)
    assert waiting.settled == 0
    world.pool.give_back(new)
    assert waiting.endpoint is new
