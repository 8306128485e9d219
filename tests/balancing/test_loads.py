"""Which endpoint loads which model, and when."""

from tests.balancing.loading_world import SIZE, A, B, C, Loading, settings

from ai_gateway.balancing.resident import HeldModel, Weights
from ai_gateway.balancing.settings import PoolSettings


def test_a_model_that_is_loaded_nowhere_is_loaded_where_there_is_room() -> None:
    """And the call that waits for it goes there when that is over."""
    world = Loading(2)
    waiting = world.want(A)
    load = world.load()
    assert (load.model, load.victim, waiting.endpoint) == (A, None, load.endpoint)
    assert world.orders == []


def test_a_load_that_suffices_is_not_begun_twice() -> None:
    """Rounds and polls come and go while it is under way."""
    world = Loading(3)
    world.want(A)
    for endpoint in world.endpoints:
        world.see(endpoint)
        world.pass_time(1)
    assert len(world.orders) == 1


def test_who_waits_longest_is_loaded_first() -> None:
    """One load at a time per endpoint."""
    world = Loading(1, rooms=3)
    world.queue(pool=world.fleet.pool(B))
    world.clock.now += 1
    world.want(A)
    assert world.next().model == B
    world.fleet.decide()
    assert world.orders == []


def test_many_calls_that_wait_get_several_copies() -> None:
    """As many as their number needs."""
    world = Loading(4)
    for _ in range(3):
        world.queue(pool=world.fleet.pool(A))
    for _ in range(5):
        world.fleet.decide()
    assert {load.endpoint for load in world.orders} < set(world.endpoints)
    assert [load.model for load in world.orders] == [A, A, A]


def test_where_there_is_room_a_further_copy_is_loaded_early() -> None:
    """When demand exceeds 0.4 of the slots, before anybody waits."""
    world = Loading(2)
    world.see(world.endpoints[0], A)
    world.run(A)
    world.fleet.decide()
    assert world.load().endpoint is world.endpoints[1]


def test_a_model_with_little_demand_gets_no_further_copy() -> None:
    """Room is kept for others."""
    world = Loading(2, given=settings(a=PoolSettings(10, None, 100)))
    world.see(world.endpoints[0], A)
    for _ in range(4):
        world.run(A)
    world.fleet.decide()
    assert world.orders == []


def test_copies_that_must_stay_are_loaded_without_a_call() -> None:
    """From the beginning, with the config's keep_alive, and again when they are gone."""
    world = Loading(2, given=settings(b=PoolSettings(1, None, 10, resident=2, keep_alive="-1")))
    world.fleet.decide()
    world.fleet.decide()
    assert {load.model for load in world.orders} == {B}
    assert {load.keep_alive for load in world.orders} == {"-1"}
    first, second = world.load().endpoint, world.load().endpoint
    assert {first, second} == set(world.endpoints)
    world.clock.now += 1
    world.see(first)
    world.fleet.decide()
    assert world.load().endpoint is first


def test_a_pool_that_must_stay_loaded_is_never_forgotten() -> None:
    """Nothing else would load its model when an endpoint with it comes back."""
    world = Loading(1, given=settings(b=PoolSettings(1, None, 10, resident=1)))
    (endpoint,) = world.endpoints
    world.clock.now += 1000
    world.fleet.apply([])
    world.clock.now += 1000
    world.fleet.apply([endpoint.address])
    assert B in {pool.model for pool in world.fleet.pools()}


def test_copies_of_another_manifest_count_as_well() -> None:
    """While a tag is pulled anew on one endpoint after the other, each has its own file under it."""
    world = Loading(2)
    first, second = world.endpoints
    world.fleet.saw_models(second, {A: HeldModel(A, "new", SIZE, 0)})
    world.see(second, A, digests={A: "new"})
    world.run(A)
    world.fleet.decide()
    assert [load.endpoint for load in world.orders] == [first]
    world.fleet.loads.loaded(world.next())
    world.pass_time(1)
    assert world.orders == []


def test_without_a_view_of_an_endpoint_nothing_is_loaded_there() -> None:
    """It may be full."""
    world = Loading(2)
    first, second = world.endpoints
    world.clock.now += 20
    world.saw_no_residents(first)
    world.want(A)
    assert world.load().endpoint is second


def test_a_name_that_only_some_endpoints_have_is_loaded_there() -> None:
    """Though another name of the same file is loaded elsewhere: its runner serves no call for this one."""
    slots = PoolSettings(4, None, 100)
    world = Loading(2, given=settings(a=slots, b=slots))
    first, second = world.endpoints
    for name in (A, B):
        world.fleet.saw_weights(name, Weights("blob"))
    world.fleet.saw_models(second, {A: HeldModel(A, A, SIZE, 0)})
    world.see(first, C)
    world.see(second, A)
    world.run(A)
    world.clock.now += 100
    world.want(B)
    assert world.unload().endpoint is first
    load = world.load()
    assert (load.endpoint, load.model) == (first, B)
    world.fleet.decide()
    assert world.orders == []
