"""Loads that fail, end early, or push others out."""

import pytest
from tests.balancing.loading_world import SIZE, A, B, C, Loading

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.evictions import FULL_SECONDS
from ai_gateway.balancing.load import FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, UNLOAD_SECONDS, next_backoff
from ai_gateway.balancing.resident import Resident
from ai_gateway.balancing.victims import DWELL_SECONDS
from ai_gateway.errors import LoadFailed


def reserved(endpoint: Endpoint) -> str | None:
    """The runner that gets nothing more."""
    return endpoint.reserved


def learned(endpoint: Endpoint) -> int | None:
    """All that fits."""
    return endpoint.full_bytes


def test_a_load_that_fails_is_tried_elsewhere() -> None:
    """And there again after ten seconds."""
    world = Loading(2)
    waiting = world.want(A)
    first = world.next()
    world.fleet.loads.loaded(first, "out of memory")
    world.fleet.decide()
    second = world.load()
    assert waiting.endpoint is second.endpoint is not first.endpoint


def test_a_model_that_no_endpoint_can_load_is_refused_with_the_reason() -> None:
    """At once, and those that come later too, until one may be tried again."""
    world = Loading(2)
    waiting = world.want(A)
    for _ in range(2):
        world.fleet.loads.loaded(world.next(), "out of memory")
        world.fleet.decide()
    error = waiting.ticket.error
    assert isinstance(error, LoadFailed)
    assert "out of memory" in str(error)
    assert error.retry_after == FIRST_BACKOFF_SECONDS
    assert isinstance(world.want(A).ticket.error, LoadFailed)
    assert world.orders == []
    world.clock.now += FIRST_BACKOFF_SECONDS
    assert world.want(A).settled == 0
    assert len(world.orders) == 1


def test_a_load_of_another_model_is_waited_for_before_a_refusal() -> None:
    """The endpoint that is busy with it may load this one afterwards."""
    world = Loading(2, rooms=2)
    world.want(B)
    other = world.next()
    waiting = world.want(A)
    load = world.next()
    assert load.endpoint is not other.endpoint
    world.fleet.loads.loaded(load, "out of memory")
    world.fleet.decide()
    assert waiting.settled == 0
    world.fleet.loads.loaded(other)
    world.fleet.decide()
    assert world.load().endpoint is other.endpoint
    assert waiting.endpoint is other.endpoint


def test_failures_in_a_row_are_tried_less_and_less_often() -> None:
    """Up to five minutes."""
    backoff, seconds = None, []
    for _ in range(8):
        backoff = next_backoff(backoff, 0.0, "full")
        seconds.append(backoff.seconds)
    assert seconds == [10, 20, 40, 80, 160, 300, 300, LONGEST_BACKOFF_SECONDS]


def test_old_failures_are_forgotten() -> None:
    """Endpoints and names come and go."""
    world = Loading(1)
    waiting = world.want(A)
    world.fleet.loads.loaded(world.next(), "out of memory")
    world.pool.leave(waiting.ticket)
    world.pass_time(FIRST_BACKOFF_SECONDS + LONGEST_BACKOFF_SECONDS)
    assert world.fleet.loads.backoffs
    world.pass_time(1)
    assert world.fleet.loads.backoffs == {}


def test_failures_go_with_their_endpoint() -> None:
    """Health and metrics name none that is gone."""
    world = Loading(2)
    world.want(A)
    load = world.next()
    world.fleet.loads.loaded(load, "out of memory")
    world.fleet.apply([endpoint.address for endpoint in world.endpoints if endpoint is not load.endpoint])
    assert world.fleet.loads.backoffs == {}


def test_a_call_is_refused_after_each_endpoint_has_failed_once_however_long_that_takes() -> None:
    """The first may be tried again before the last has failed: that would go on for ever."""
    world = Loading(3)
    waiting = world.want(A)
    tried = []
    for _ in world.endpoints:
        load = world.next()
        tried.append(load.endpoint)
        for _ in range(30):
            world.pass_time(1)
        world.fleet.loads.loaded(load, "out of memory")
        world.fleet.decide()
    assert isinstance(waiting.ticket.error, LoadFailed)
    assert sorted(tried, key=world.endpoints.index) == world.endpoints
    world.pass_time(60)
    world.want(A)
    world.fleet.loads.loaded(world.next(), "out of memory")
    assert max(backoff.seconds for backoff in world.fleet.loads.backoffs.values()) == 2 * FIRST_BACKOFF_SECONDS


def test_a_call_that_is_sent_again_counts_as_nowhere_for_the_other_endpoints() -> None:
    """Its runner is loaded only where it failed."""
    world = Loading(2)
    first, second = world.endpoints
    world.see(first, A)
    waiting = world.want(A, first)
    assert world.load().endpoint is second
    assert waiting.endpoint is second


def test_if_the_other_endpoints_cannot_load_it_only_that_call_is_refused() -> None:
    """Those that wait for the first endpoint are not."""
    world = Loading(2)
    first, second = world.endpoints
    world.see(first, A)
    pool, _ = world.run(A)
    again = world.want(A, first)
    world.fleet.loads.loaded(world.next(), "out of memory")
    other = world.want(A)
    assert isinstance(again.ticket.error, LoadFailed)
    assert other.settled == 0
    pool.give_back(first)
    assert other.endpoint is first
    assert second.total_in_flight == 0


@pytest.mark.parametrize("how", ["gone", "down", "ejected"])
def test_a_load_ends_with_its_endpoint(how: str) -> None:
    """Another one takes it over, and what Ollama answers then is not heard."""
    world = Loading(2)
    waiting = world.want(A)
    load = world.next()
    other = next(endpoint for endpoint in world.endpoints if endpoint is not load.endpoint)
    if how == "gone":
        world.fleet.apply([other.address])
    elif how == "down":
        world.fleet.saw_down(load.endpoint, "refused")
    else:
        world.eject(load.endpoint)
    world.fleet.decide()
    assert world.next().endpoint is other
    world.fleet.loads.loaded(load)
    assert load.is_over
    assert waiting.settled == 0
    assert load.endpoint.residency.loading is None


def test_an_unload_that_does_not_end_is_given_up() -> None:
    """After two minutes; the runner serves again."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    world.clock.now += DWELL_SECONDS
    world.want(A)
    load = world.next()
    world.pass_time(10)
    world.fleet.loads.unloaded(load)
    world.pass_time(UNLOAD_SECONDS - 10)
    assert reserved(endpoint) == B
    world.pass_time(1)
    assert (reserved(endpoint), load.is_over) == (None, True)
    assert world.run(B)


def test_an_unload_that_fails_backs_off() -> None:
    """The reason is that of the load."""
    world = Loading(1)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    world.clock.now += DWELL_SECONDS
    world.want(A)
    world.fleet.loads.unloaded(world.next(), "b could not be unloaded")
    assert [backoff.reason for backoff in world.fleet.loads.backoffs.values()] == ["b could not be unloaded"]
    assert reserved(endpoint) is None


def test_a_model_that_ollama_pushed_out_teaches_how_much_fits() -> None:
    """Where more should have had room. For ten minutes, since other programs may have needed the memory."""
    world = Loading(1, rooms=None)
    (endpoint,) = world.endpoints
    world.see(endpoint, B)
    world.want(A)
    world.load()
    world.clock.now += 1
    world.see(endpoint, A)
    world.fleet.pool(A).give_back(endpoint)
    assert learned(endpoint) == SIZE
    world.clock.now += DWELL_SECONDS
    world.want(C)
    assert world.next().phase == "unloading"
    world.pass_time(FULL_SECONDS)
    assert learned(endpoint) is None


def test_a_model_that_expired_teaches_nothing() -> None:
    """Nobody pushed it out; the endpoint's clock tells."""
    world = Loading(1, rooms=None)
    (endpoint,) = world.endpoints
    resident = Resident(B, B, SIZE, SIZE, None, world.clock.now + 5)
    world.fleet.saw_residents(endpoint, (resident,), world.clock.now, 0.0)
    world.want(A)
    world.load()
    world.clock.now += 1
    world.fleet.saw_residents(endpoint, (Resident(A, A, SIZE),), world.clock.now, 0.0)
    assert endpoint.full_bytes is None
