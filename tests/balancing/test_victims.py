"""Which runner makes room for another one, and how."""

from tests.balancing.loading_world import SIZE, A, B, C, Loading, settings

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.forecast import QUICK_SECONDS
from ai_gateway.balancing.resident import Resident, Weights
from ai_gateway.balancing.settings import STARVE_SECONDS, PoolSettings
from ai_gateway.balancing.victims import DWELL_SECONDS, KEEP_ONLY_SECONDS


def reserved(endpoint: Endpoint) -> str | None:
    """The runner that gets nothing more."""
    return endpoint.reserved


def test_an_idle_runner_makes_room() -> None:
    """First it is unloaded, then it must be gone from /api/ps, and only then the other is loaded."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    world.clock.now += DWELL_SECONDS
    waiting = world.want(A)
    load = world.next()
    assert (load.phase, load.victim and load.victim.name, endpoint.reserved) == ("unloading", B, B)
    world.see(endpoint)
    assert load.phase == "unloading"  # the answer is not there yet
    world.fleet.loads.unloaded(load)
    world.clock.now += 1
    world.see(endpoint, B)
    assert load.phase == "unloading"
    world.clock.now += 1
    world.see(endpoint)
    assert world.load() is load
    assert waiting.endpoint is endpoint
    assert reserved(endpoint) is None


def test_a_list_from_before_the_unload_was_answered_shows_nothing() -> None:
    """It may be of a moment in which Ollama had just begun."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    world.clock.now += DWELL_SECONDS
    asked_at = world.clock.now
    world.want(A)
    world.clock.now += 1
    load = world.next()
    world.fleet.loads.unloaded(load)
    world.fleet.saw_residents(endpoint, (), asked_at)
    assert load.phase == "unloading"


def test_a_runner_that_was_used_lately_stays_for_a_while() -> None:
    """For ten seconds after its last call, ours or another's."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    pool, _ = world.run(B)
    world.clock.now += DWELL_SECONDS
    pool.give_back(endpoint)
    world.want(A)
    world.pass_time(DWELL_SECONDS - 0.1)
    assert world.orders == []
    world.pass_time(0.1)
    assert world.next().phase == "unloading"


def test_where_a_load_is_quick_a_runner_goes_sooner() -> None:
    """In proportion to the load's time: it costs less to be wrong."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.fleet.learned.load_seconds.note(A, QUICK_SECONDS / 5)
    world.see(endpoint, B)
    world.want(A)
    world.pass_time(DWELL_SECONDS / 5 - 0.1)
    assert world.orders == []
    world.pass_time(0.1)
    assert world.next().phase == "unloading"


def test_where_a_load_is_quick_a_call_starves_sooner() -> None:
    """A runner that is in use gets nothing more then."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.fleet.learned.load_seconds.note(A, QUICK_SECONDS / 5)
    world.see(endpoint, B)
    world.run(B)
    world.want(A)
    world.pass_time(STARVE_SECONDS / 5)
    assert reserved(endpoint) is None
    world.pass_time(0.1)
    assert reserved(endpoint) == B


def test_room_that_nobody_waits_for_any_more_is_not_made() -> None:
    """The caller left while the runner that would go was in use: it gets calls again, and stays loaded."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    pool, _ = world.run(B)
    waiting = world.want(A)
    world.pass_time(STARVE_SECONDS + 0.1)
    world.pass_time(1)
    assert reserved(endpoint) == B
    more = world.queue(pool=pool)
    world.fleet.pool(A).leave(waiting.ticket)
    world.pass_time(1)
    assert (reserved(endpoint), world.fleet.loads.of, world.orders) == (None, {}, [])
    pool.give_back(endpoint)
    assert more.endpoint is endpoint


def test_room_is_made_for_calls_that_wait_elsewhere_and_for_copies_that_must_stay() -> None:
    """Of a model that no call waits for here."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    world.run(B)
    waiting = world.want(A)
    world.pass_time(STARVE_SECONDS + 0.1)
    pool = world.fleet.pool(A)
    pool.leave(waiting.ticket)
    pool.peer_waiting = 1
    world.pass_time(1)
    assert reserved(endpoint) == B
    pool.peer_waiting = 0
    pool.settings = PoolSettings(resident=1)
    world.pass_time(1)
    assert reserved(endpoint) == B


def test_a_spare_copy_goes_first() -> None:
    """Not the only one of a model, though that is idle for longer."""
    world = Loading(3)
    first, second, third = world.endpoints
    for model in (B, C):
        world.fleet.pool(model)
    world.see(first, B)
    world.clock.now += 100
    world.see(second, C)
    world.see(third, C)
    world.clock.now += DWELL_SECONDS
    world.want(A)
    assert world.next().endpoint in (second, third)


def test_of_the_only_copies_the_one_that_is_missed_least_goes() -> None:
    """By how often it is asked for, and how long it takes to load."""
    world = Loading(2)
    first, second = world.endpoints
    world.see(first, B)
    world.see(second, C)
    for model in (B, B, C):
        pool, endpoint = world.run(model)
        pool.give_back(endpoint)
    world.clock.now += DWELL_SECONDS
    world.want(A)
    assert world.next().endpoint is second


def test_two_models_never_take_both_copies_of_a_third_in_one_round() -> None:
    """The second of them sees what the first has taken."""
    world = Loading(2, given=settings(c=PoolSettings(1, None, 10, resident=1)))
    for endpoint in world.endpoints:
        world.see(endpoint, C)
    world.clock.now += DWELL_SECONDS
    world.queue(pool=world.fleet.pool(B))
    world.want(A)
    assert len(world.orders) == 1


def test_the_only_copy_of_a_model_that_was_used_within_a_minute_stays_beside_a_further_copy() -> None:
    """Unless the wait for that exceeds a load."""
    world = Loading(2)
    first, second = world.endpoints
    world.fleet.learned.call_seconds.note(A, 1.0)
    world.fleet.learned.load_seconds.note(A, 10.0)
    world.see(first, A)
    world.see(second, B)
    pool, _ = world.run(B)
    pool.give_back(second)
    world.run(A)
    for _ in range(4):
        world.queue(pool=world.fleet.pool(A))
    world.clock.now += DWELL_SECONDS
    world.fleet.decide()
    assert world.orders == []
    for _ in range(7):
        world.queue(pool=world.fleet.pool(A))
    world.fleet.decide()
    assert world.next().endpoint is second


def test_after_a_minute_it_goes() -> None:
    """When the wait exceeds 0.3 of a load."""
    world = Loading(2)
    first, second = world.endpoints
    world.fleet.learned.call_seconds.note(A, 1.0)
    world.fleet.learned.load_seconds.note(A, 10.0)
    world.fleet.pool(B)
    world.see(first, A)
    world.see(second, B)
    world.run(A)
    for _ in range(3):
        world.queue(pool=world.fleet.pool(A))
    world.clock.now += KEEP_ONLY_SECONDS
    world.fleet.decide()
    assert world.orders == []
    world.want(A)
    assert world.next().endpoint is second


def test_a_model_that_waits_too_long_reserves_a_busy_runner() -> None:
    """That gets nothing more, and makes room when its calls are over."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    pool, _ = world.run(B)
    waiting = world.want(A)
    world.pass_time(STARVE_SECONDS)
    assert reserved(endpoint) is None
    world.pass_time(0.1)
    assert reserved(endpoint) == B
    other = world.want(B)
    assert world.orders == []
    pool.give_back(endpoint)
    assert other.endpoint is None
    world.unload()
    world.load()
    assert waiting.endpoint is endpoint


def test_the_reserved_runner_is_the_one_with_the_least_to_do() -> None:
    """A spare copy before the only one of a model."""
    world = Loading(3)
    first, second, third = world.endpoints
    world.see(first, B)
    world.see(second, C)
    world.see(third, C)
    for model in (B, C, C):
        world.run(model)
    world.want(A)
    world.pass_time(STARVE_SECONDS + 1)
    assert [endpoint.reserved for endpoint in world.endpoints].count(C) == 1
    assert first.reserved is None


def test_copies_that_must_stay_stay() -> None:
    """`resident`; others go before."""
    world = Loading(2, given=settings(b=PoolSettings(1, None, 10, resident=1)))
    first, second = world.endpoints
    world.see(first, B)
    world.see(second, C)
    world.clock.now += DWELL_SECONDS
    world.want(A)
    assert world.next().endpoint is second


def test_a_runner_without_a_name_is_left_to_ollama() -> None:
    """Its tag was pulled anew: nothing unloads it by name, and Ollama lets it go for the load."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B, digests={B: "old"})
    world.clock.now += DWELL_SECONDS
    waiting = world.want(A)
    assert world.load().victim is not None
    assert waiting.endpoint is endpoint


def test_the_same_file_with_another_context_is_loaded_once_more_and_not_twice() -> None:
    """It is its own victim; then its context is what the name gets."""
    world = Loading(1, rooms=3)
    (endpoint,) = world.endpoints
    world.fleet.saw_weights(A, Weights("blob", 1 << 20))

    def see(context: int) -> None:
        world.fleet.saw_residents(endpoint, (Resident(A, A, SIZE, SIZE, context),), world.clock.now)

    see(8192)
    world.clock.now += DWELL_SECONDS
    waiting = world.want(A)
    world.unload()
    world.load()
    world.clock.now += 1
    see(8192)
    assert waiting.endpoint is endpoint
    world.fleet.pool(A).give_back(endpoint)
    world.run(A)
    world.pass_time(100)
    assert world.orders == []


def test_a_model_in_use_by_somebody_else_is_no_victim() -> None:
    """Its expiry is past, so a call runs there."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    resident = Resident(B, B, SIZE, SIZE, None, world.clock.now)
    world.clock.now += 2 * DWELL_SECONDS
    world.fleet.saw_residents(endpoint, (resident,), world.clock.now, 0.0)
    world.want(A)
    assert world.orders == []


def test_calls_of_no_policy_go_to_a_reserved_runner() -> None:
    """Else one that is always in use would never make room."""
    world = Loading(1, given=settings(b=PoolSettings(2, None, 100, "round_robin")))
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    pool, _ = world.run(B)
    world.want(A)
    world.pass_time(STARVE_SECONDS + 1)
    assert reserved(endpoint) == B
    later = world.want(B)
    assert later.endpoint is None
    pool.give_back(endpoint)
    world.unload()
    assert later.endpoint is endpoint


def test_a_reserved_runner_whose_file_becomes_known_stays_reserved() -> None:
    """Its key is another one then. It makes room when its calls have ended, and not before it is gone."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    pool, _ = world.run(B)
    world.want(A)
    world.pass_time(STARVE_SECONDS + 1)
    world.fleet.saw_weights(B, Weights("blob"))
    world.pass_time(1)
    assert world.orders == []
    assert endpoint.is_reserved(B)
    pool.give_back(endpoint)
    load = world.next()
    world.fleet.loads.unloaded(load)
    world.clock.now += 1
    world.see(endpoint, B)
    assert load.phase == "unloading"
