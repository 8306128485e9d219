"""Names of models come and go: a model that is gone leaves nothing behind."""

from tests.balancing.worlds import MODEL, World, held

from ai_gateway.balancing.fleet import POOL_SECONDS
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.settings import FleetSettings, PoolSettings


def name(number: int) -> str:
    return f"model-{number}:latest"


def turn_over(world: World, rounds: int, seconds: float) -> None:
    """Each list has another model, which is asked for once and fails."""
    (endpoint,) = world.endpoints
    for number in range(rounds):
        world.fleet.saw_models(endpoint, held(MODEL, name(number)))
        world.saw_loaded(endpoint, name(number))
        pool = world.fleet.pool(name(number))
        assert pool.ask() is not None
        pool.give_back(endpoint)
        world.fleet.failed_model(endpoint, name(number))
        world.fleet.succeeded(endpoint, MODEL)
        world.clock.now += seconds


def test_names_that_change_with_every_poll_do_not_add_up() -> None:
    """Pools are dropped a minute after their last use, and a model's health at once."""
    world = World(count=1)
    turn_over(world, 1000, seconds=10.0)
    assert len(list(world.fleet.pools())) <= POOL_SECONDS / 10 + 2
    (endpoint,) = world.endpoints
    assert len(endpoint._model_health) == 1


def test_a_forgotten_pool_comes_back_with_its_settings() -> None:
    """Those of the config that came in between."""
    world = World(count=1)
    world.clock.now += 10 * POOL_SECONDS
    world.fleet.apply([])
    assert list(world.fleet.pools()) == []
    settings = PoolSettings(3, 4, 5)
    world.configure(FleetSettings(pools={MODEL: settings}))
    assert world.fleet.pool(MODEL).settings == settings
    assert world.fleet.pool("other:latest").settings == PoolSettings()


def test_a_pool_stays_while_a_call_is_on_its_way_to_it() -> None:
    """Else the call would wait where nobody binds it to a slot."""
    world = World(count=1)
    world.clock.now += 10 * POOL_SECONDS
    pool = world.fleet.pool(MODEL)
    world.clock.now += POOL_SECONDS / 2
    world.fleet.apply([])
    assert list(world.fleet.pools()) == [pool]


def test_a_look_keeps_no_pool() -> None:
    """Neither one that is not there, nor one that nobody asks for any more."""
    world = World(count=1)
    used_at = world.pool.used_at
    world.clock.now += POOL_SECONDS
    assert world.fleet.peek(MODEL) is world.pool
    assert world.fleet.peek("other:latest").settings == PoolSettings(1, None, 10)
    assert list(world.fleet.pools()) == [world.pool]
    assert world.pool.used_at == used_at


def pool_after_its_model_went(world: World) -> Pool:
    """The pool by its name, long after the endpoint's list was without it."""
    world.clock.now += 10 * POOL_SECONDS
    world.fleet.saw_models(world.endpoints[0], held("other:latest"))
    return world.fleet.pool(MODEL)


def test_the_pool_of_a_call_that_runs_stays() -> None:
    """Its slot is given back where it was taken."""
    world = World(count=1)
    endpoint = world.take()
    assert pool_after_its_model_went(world) is world.pool
    world.pool.give_back(endpoint)
    world.clock.now += 10 * POOL_SECONDS
    world.fleet.saw_models(endpoint, held())
    assert list(world.fleet.pools()) == []


def test_calls_that_wait_for_a_removed_model_are_refused() -> None:
    """No call waits in a pool that the fleet does not have."""
    world = World(count=1)
    world.take()
    waiting = world.queue()
    assert pool_after_its_model_went(world) is world.pool
    assert waiting.settled == 1


def test_pools_go_with_the_last_endpoint_that_held_their_model() -> None:
    """It left the list of discovery."""
    world = World(count=1)
    world.clock.now += 10 * POOL_SECONDS
    world.fleet.apply([])
    assert list(world.fleet.pools()) == []


def test_the_reason_of_a_failed_poll_is_new_once() -> None:
    """A log that is written with every poll tells nothing; a probe that fails says more."""
    world = World(count=1)
    (endpoint,) = world.endpoints
    said = [world.fleet.note_check(endpoint, "/api/tags", words) for words in ("a", "a", "b", None, None)]
    assert said == [True, False, True, True, False]
    world.fleet.note_check(endpoint, "/api/ps", "x")
    world.fleet.saw_down(endpoint, "gone")
    assert endpoint.check_reasons == {}


def test_models_without_a_digest_are_not_the_same_model() -> None:
    """Nothing tells that one of them is loaded where the other is."""
    world = World(count=1)
    (endpoint,) = world.endpoints
    models = held("a:latest", "b:latest")
    blank = {key: type(model)(model.name, "", 1, 0) for key, model in models.items()}
    world.fleet.saw_models(endpoint, blank)
    world.saw_loaded(endpoint, "a:latest")
    assert endpoint.is_resident("a:latest")
    assert not endpoint.is_resident("b:latest")
