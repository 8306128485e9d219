"""Endpoints come and go, fail and recover; polls, discovery and calls decide where calls go."""

import pytest
from tests.balancing.worlds import MODEL, World, addresses, held, states

from ai_gateway.balancing.endpoint import EjectionState
from ai_gateway.balancing.resident import HeldModel
from ai_gateway.wire.address import Address

MANY = 500


def test_apply_returns_new_and_gone_endpoints() -> None:
    """The caller starts and stops polls by it; endpoints that stay are unchanged."""
    world = World(2)
    kept = world.endpoints[1]
    new, gone = world.fleet.apply([kept.address, Address("new")])
    assert [endpoint.address.host for endpoint in new] == ["new"]
    assert [endpoint.address.host for endpoint in gone] == ["pod-0"]
    assert world.fleet.endpoints[kept.address] is kept


def test_an_address_listed_twice_is_one_endpoint() -> None:
    """Its slots would be counted twice otherwise."""
    world = World(0)
    new, _ = world.fleet.apply([Address("a"), Address("a")])
    assert len(new) == len(world.endpoints) == 1


def test_a_removed_endpoint_gets_no_new_calls() -> None:
    """While its streams are finished."""
    world = World(2, slots=2)
    first, second = world.endpoints
    world.fleet.apply([second.address])
    assert [world.take(), world.take()] == [second, second]
    assert first.state == "draining"


def test_a_removed_endpoint_keeps_its_streams() -> None:
    """They are still counted, and given back without harm."""
    world = World(1)
    endpoint = world.take()
    world.fleet.apply([])
    assert world.fleet.leaving == [endpoint]
    world.pool.give_back(endpoint)
    assert endpoint.total_in_flight == 0
    world.fleet.apply([])
    assert world.fleet.leaving == []


def test_an_endpoint_that_stays_keeps_its_counts() -> None:
    """A list that says the same changes nothing."""
    world = World(1)
    world.take()
    world.queue()
    assert world.fleet.apply(addresses(1)) == ([], [])
    assert world.endpoints[0].total_in_flight == 1
    assert world.pool.waiting == 1


def test_a_new_endpoint_serves_waiting_calls() -> None:
    """As soon as it is known to have the model loaded."""
    world = World(1)
    world.take()
    waiting = world.queue()
    new, _ = world.fleet.apply(addresses(2))
    assert waiting.settled == 0
    world.fleet.saw_up(new[0], "0.24.0")
    world.fleet.saw_models(new[0], held(MODEL))
    assert waiting.settled == 0
    world.saw_loaded(new[0], MODEL)
    assert waiting.endpoint is new[0]


def test_the_first_list_is_announced() -> None:
    """Readiness waits for it, even if it is empty."""
    world = World(0)
    assert world.fleet.listed.is_set()


def test_a_failed_probe_takes_an_endpoint_out_and_an_answered_one_brings_it_back() -> None:
    """Each change is returned once, for the log."""
    world = World(1)
    endpoint = world.endpoints[0]
    assert world.fleet.saw_down(endpoint, "refused")
    assert not world.fleet.saw_down(endpoint, "refused")
    assert (endpoint.state, endpoint.reason) == ("down", "refused")
    assert world.fleet.saw_up(endpoint, "0.24.0")
    assert not world.fleet.saw_up(endpoint, "0.24.0")
    assert (endpoint.state, endpoint.reason, endpoint.seen_at) == ("up", None, world.clock.now)


def test_waiting_calls_are_served_when_an_endpoint_comes_back() -> None:
    """It is the poll that finds the model loaded, and not the next call, that notices."""
    world = World(2)
    first, second = world.endpoints
    world.fleet.saw_down(first, "refused")
    assert world.take() is second
    waiting = world.queue()
    world.fleet.saw_up(first, "0.24.0")
    world.saw_loaded(first, MODEL)
    assert waiting.endpoint is first


def test_an_endpoint_before_its_first_poll_is_unknown_and_usable() -> None:
    """The first call need not wait for the first probe."""
    world = World(0)
    (new,), _ = world.fleet.apply([Address("a")])
    assert (new.state, new.is_usable, new.holds(MODEL)) == ("unknown", True, None)


def test_an_endpoint_that_is_down_has_no_resident_models() -> None:
    """After a restart nothing is."""
    world = World(1)
    endpoint = world.endpoints[0]
    world.saw_loaded(endpoint, MODEL)
    assert endpoint.is_resident(MODEL)
    world.fleet.saw_down(endpoint, "refused")
    assert not endpoint.is_resident(MODEL)


def test_a_model_is_resident_under_another_name_of_the_same_digest() -> None:
    """`ollama cp` makes two names of one model, and Ollama loads it once."""
    world = World(1)
    endpoint = world.endpoints[0]
    same = {name: HeldModel(name, "sha256:1", 1, 0) for name in (MODEL, "copy:latest")}
    world.fleet.saw_models(endpoint, {**same, **held("other:latest")})
    world.saw_loaded(endpoint, "copy:latest")
    assert endpoint.is_resident(MODEL)
    assert not endpoint.is_resident("other:latest")


def test_repeated_failures_eject_an_endpoint() -> None:
    """Five in a row; the calls go elsewhere."""
    world = World(2, slots=9)
    first, second = world.endpoints
    assert [world.fleet.failed(first) for _ in range(5)] == [False] * 4 + [True]
    assert [world.take() for _ in range(3)] == [second] * 3


def test_a_successful_call_resets_the_failures_before_it() -> None:
    """Only failures in a row count."""
    world = World(2)
    first = world.endpoints[0]
    for _ in range(4):
        world.fleet.failed(first)
    world.fleet.succeeded(first, MODEL)
    assert not world.fleet.failed(first)
    assert first.is_usable


def test_never_more_than_half_are_ejected() -> None:
    """If most fail, the gateway is a likelier cause."""
    for count, most in ((1, 0), (2, 1), (3, 1), (4, 2), (5, 2)):
        world = World(count)
        for endpoint in world.endpoints:
            for _ in range(9):
                world.fleet.failed(endpoint)
        assert states(world.endpoints).count("ejected") == most


def test_endpoints_that_leave_do_not_make_the_ejected_ones_more_than_half() -> None:
    """Those whose time is over first are taken back; else a fleet that shrinks would have none left."""
    world = World(4)
    first, second, third, _fourth = world.endpoints
    world.eject(first)
    world.clock.now += 1
    world.eject(second)
    world.fleet.apply([first.address, second.address, third.address])
    assert states([first, second, third]) == ["up", "ejected", "up"]
    world.fleet.apply([second.address])
    assert second.is_usable


def test_only_a_probe_readmits_an_endpoint() -> None:
    """And only when its time is over; until then an answered probe says nothing."""
    world = World(2)
    first = world.endpoints[0]
    world.eject(first)
    world.fleet.saw_up(first, "0.24.0")
    world.fleet.succeeded(first, MODEL)
    assert not first.is_usable
    world.clock.now += 6.1
    world.fleet.succeeded(first, MODEL)
    assert states([first]) == ["ejected"]
    assert world.fleet.saw_up(first, "0.24.0")
    assert states([first]) == ["up"]


def test_waiting_calls_are_served_when_an_endpoint_is_readmitted() -> None:
    """The probe that readmits it dispatches too."""
    world = World(2)
    first, _ = world.endpoints
    world.eject(first)
    world.take()
    waiting = world.queue()
    world.clock.now += 6.1
    world.fleet.saw_up(first, "0.24.0")
    assert waiting.endpoint is first


def test_a_5xx_counts_against_the_model_on_that_endpoint_alone() -> None:
    """Another model there is served as before."""
    world = World(2)
    first, second = world.endpoints
    for endpoint in world.endpoints:
        world.fleet.saw_models(endpoint, held(MODEL, "other:latest"))
        world.saw_loaded(endpoint, MODEL, "other:latest")
    assert world.fail_model(first)
    assert first.is_usable
    assert world.take() is second
    other = world.fleet.pool("other:latest")
    assert {choice.endpoint for choice in (other.ask(), other.ask()) if choice} == {first, second}


def test_a_model_is_never_ejected_from_more_than_half_of_its_endpoints() -> None:
    """The only endpoint with a model is never left alone."""
    world = World(3)
    for endpoint in world.endpoints:
        world.fail_model(endpoint, 9)
    assert sum(endpoint.model_health(MODEL).is_ejected for endpoint in world.endpoints) == 1
    alone = World(1)
    assert not alone.fail_model(alone.endpoints[0], 9)
    alone.take()


def test_an_ejected_model_gets_one_call_when_its_time_is_over() -> None:
    """If that one succeeds it is readmitted, and waiting calls go on before its end."""
    world = World(2, slots=4)
    first, second = world.endpoints
    world.fail_model(first)
    world.fleet.saw_down(second, "refused")
    world.clock.now += 6.1
    assert world.take() is first
    waiting = world.queue()
    assert world.fleet.succeeded(first, MODEL)
    assert waiting.endpoint is first


def test_an_ejected_model_whose_one_call_fails_is_out_again() -> None:
    """For longer than before."""
    world = World(2)
    first, _ = world.endpoints
    world.fail_model(first)
    world.clock.now += 6.1
    assert world.fleet.failed_model(first, MODEL)
    world.clock.now += 6.1
    assert not first.takes(MODEL, 1, world.clock.now)
    world.clock.now += 6
    assert first.takes(MODEL, 1, world.clock.now)


def test_calls_that_wait_for_an_ejected_model_are_served_by_the_next_poll_after_its_time() -> None:
    """Nothing but a poll can notice that time has passed, and each one does."""
    world = World(2)
    first, second = world.endpoints
    world.fail_model(first)
    world.fleet.saw_down(second, "refused")
    waiting = world.queue()
    world.fleet.saw_up(first, "0.24.0")
    assert waiting.settled == 0
    world.clock.now += 6.1
    world.fleet.saw_up(first, "0.24.0")
    assert waiting.endpoint is first


@pytest.mark.parametrize("what", ["draining", "down", "ejected"])
def test_an_unusable_endpoint_gets_nothing(what: str) -> None:
    """Whatever makes it so."""
    world = World(2, slots=4)
    first, second = world.endpoints
    if what == "draining":
        world.fleet.apply([second.address])
    elif what == "down":
        world.fleet.saw_down(first, "refused")
    else:
        world.eject(first)
    assert first.state == what
    assert not first.is_usable
    assert {world.take() for _ in range(4)} == {second}


def test_many_endpoints_that_were_never_up_cost_no_more_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the fleet is counted only if a failure may eject; hundreds that start are all down at first."""
    checks = 0
    is_ejected = EjectionState.is_ejected

    def checked(health: EjectionState) -> bool:
        nonlocal checks
        checks += 1
        return bool(is_ejected.__get__(health))

    monkeypatch.setattr(EjectionState, "is_ejected", property(checked))
    world = World(MANY)
    for endpoint in world.endpoints:
        world.fleet.saw_down(endpoint, "refused")
    assert checks < 10 * MANY
