"""Which endpoint gets a call: the cheapest, or the one that has the conversation if it costs little more."""

import random

import pytest
from tests.balancing.worlds import MODEL, World, fleet_settings, held

from ai_gateway.balancing.choice import Choice
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.learned import MOST_NAMES
from ai_gateway.balancing.policy import BUSY_COST, HASHED_MARGIN, KNOWN_MARGIN, RoundRobin
from ai_gateway.balancing.rendezvous import rendezvous
from ai_gateway.balancing.ticket import ANYONE, Claim
from ai_gateway.wire.conversation import Conversation

KNOWN = Claim(conversation=Conversation((b"k" * 16,), b"k" * 16, b"f" * 16))


def choose(world: World, claim: Claim = ANYONE) -> Choice:
    """A choice whose slot is given back at once."""
    choice = world.pool.ask(claim=claim)
    assert choice is not None
    world.pool.give_back(choice.endpoint)
    return choice


def keep_busy(endpoint: Endpoint, calls: int) -> None:
    """So many calls for another model run there."""
    for _ in range(calls):
        endpoint.take_slot("other:latest")


def hashed(world: World, claim: Claim = KNOWN) -> Endpoint:
    """Where the hash of a conversation points."""
    assert claim.conversation is not None
    return rendezvous(claim.conversation.first, world.endpoints, lambda endpoint: endpoint.speed)


def test_a_call_goes_only_where_the_model_is_loaded() -> None:
    """The others are no choice, however idle they are: a load costs more than a wait."""
    world = World(3, slots=2)
    first, second, third = world.endpoints
    world.saw_loaded(first)
    world.saw_loaded(third)
    keep_busy(second, 9)
    choice = choose(world)
    assert (choice.endpoint, choice.is_warm, choice.reason) == (second, True, "only")
    assert [world.take(), world.take()] == [second, second]
    assert world.queue().settled == 0


def test_among_equals_the_cheapest_is_chosen() -> None:
    """All its calls count, those for other models and of other gateways too."""
    world = World(2, slots=9)
    first, second = world.endpoints
    keep_busy(first, 2)
    second.total_peers = 1
    choice = choose(world)
    assert (choice.endpoint, choice.reason) == (second, "cheapest")
    second.total_peers = 3
    assert choose(world).endpoint is first


def test_a_fast_endpoint_gets_more() -> None:
    """Twice as fast is as good as half the work."""
    world = World(2, slots=9)
    first, second = world.endpoints
    first.speed = 2.0
    keep_busy(first, 4)
    assert choose(world).endpoint is first
    keep_busy(first, 2)
    assert choose(world).endpoint is second


def test_ties_are_broken_at_random() -> None:
    """Several gateways do not all begin with the same endpoint."""
    world = World(4, slots=99)
    assert len({choose(world).endpoint for _ in range(40)}) == 4


def test_a_conversation_goes_where_it_was_if_that_costs_little_more() -> None:
    """Two more than the cheapest, and not a bit beyond that."""
    world = World(2, slots=99)
    home, other = choose(world, KNOWN).endpoint, None
    other = next(endpoint for endpoint in world.endpoints if endpoint is not home)
    calls = round(KNOWN_MARGIN / BUSY_COST)
    assert calls == 10, "a prompt that need not be read again is worth so much company"
    keep_busy(home, calls)
    choice = choose(world, KNOWN)
    assert (choice.endpoint, choice.reason) == (home, "conversation")
    keep_busy(home, 1)
    choice = choose(world, KNOWN)
    assert (choice.endpoint, choice.reason) == (other, "cheapest")
    assert choose(world, KNOWN).endpoint is other  # it is there now


def test_an_unknown_conversation_goes_where_its_hash_points() -> None:
    """So that equal beginnings meet; half as much may that cost more."""
    calls = int(HASHED_MARGIN / BUSY_COST)
    world = World(3, slots=99)
    keep_busy(hashed(world), calls)
    choice = choose(world, KNOWN)
    assert (choice.endpoint, choice.reason) == (hashed(world), "prefix")
    world = World(3, slots=99)
    keep_busy(hashed(world), calls + 1)
    choice = choose(world, KNOWN)
    assert choice.endpoint is not hashed(world)
    assert choice.reason == "cheapest"


def test_a_conversation_whose_endpoint_has_lost_its_model_is_unknown() -> None:
    """What it had read there is gone."""
    world = World(3, slots=99)
    home = choose(world, KNOWN).endpoint
    world.saw_loaded(home)
    choice = choose(world, KNOWN)
    assert choice.endpoint is not home
    assert choice.reason in ("prefix", "cheapest")


def test_the_conversations_of_an_endpoint_that_went_down_are_forgotten() -> None:
    """Its memory went with its process."""
    world = World(2, slots=99)
    home = choose(world, KNOWN).endpoint
    world.fleet.saw_down(home, "refused")
    world.begin(home)
    assert choose(world, KNOWN).reason in ("prefix", "cheapest")


def test_an_endpoint_with_recent_failures_comes_last() -> None:
    """Before it is ejected; a call that goes well forgives it."""
    world = World(2, slots=9)
    first, second = world.endpoints
    keep_busy(second, 3)
    world.fleet.failed(first)
    assert choose(world).endpoint is second
    world.fleet.succeeded(first, MODEL)
    assert choose(world).endpoint is first


def test_not_even_a_conversation_goes_to_failures() -> None:
    """While others have none."""
    world = World(2, slots=9)
    home = choose(world, KNOWN).endpoint
    world.fleet.failed(home)
    assert choose(world, KNOWN).endpoint is not home


def test_the_only_candidate_is_said_to_be_the_only_one() -> None:
    """For readers of the trace."""
    choice = choose(World(1))
    assert (choice.reason, choice.is_warm) == ("only", True)


def test_while_nobody_knows_what_is_loaded_two_random_choices_decide() -> None:
    """A gateway that has just started refuses nobody, and does not wait for a second poll."""
    world = World(2, slots=9, is_warm=False)
    keep_busy(world.endpoints[0], 5)
    choice = choose(world)
    assert (choice.endpoint, choice.reason, choice.is_warm) == (world.endpoints[1], "no_view", False)


def test_one_view_is_enough_to_wait_for_a_load() -> None:
    """The others are not guessed at."""
    world = World(2, is_warm=False)
    world.saw_loaded(world.endpoints[0])
    assert world.queue().settled == 0


def test_least_in_flight_asks_nobody_what_is_loaded() -> None:
    """It sends calls at once, to the endpoint with the fewest."""
    world = World(2, is_warm=False, settings=fleet_settings(9, 10, policy="least_in_flight"))
    first, second = world.endpoints
    world.saw_loaded(first, MODEL)
    world.saw_loaded(second)
    keep_busy(first, 1)
    choice = choose(world)
    assert (choice.endpoint, choice.reason, choice.is_warm) == (second, "least_in_flight", False)
    keep_busy(second, 2)
    assert choose(world).is_warm


def test_round_robin_takes_turns() -> None:
    """Loaded or not, and past those without a free slot."""
    world = World(3, is_warm=False, settings=fleet_settings(1, 10, policy="round_robin"))
    first, second, third = world.endpoints
    assert [choose(world).endpoint for _ in range(4)] == [first, second, third, first]
    assert world.take() is second
    assert [choose(world).endpoint for _ in range(3)] == [third, first, third]


def test_round_robin_does_not_remember_all_names_for_ever() -> None:
    """They change with what is pulled."""
    policy = RoundRobin(random.Random(1), None)  # type: ignore[arg-type]
    endpoints = World(2).endpoints
    for number in range(MOST_NAMES + 10):
        policy.pick(endpoints, endpoints, f"model-{number}", ANYONE)
    assert len(policy._last) <= MOST_NAMES


@pytest.mark.parametrize("seed", range(5))
def test_all_gateways_hash_alike(seed: int) -> None:
    """Without a word between them, as long as they know the same speeds."""
    worlds = World(5, slots=9), World(5, slots=9)
    key = random.Random(seed).randbytes(16)
    claim = Claim(conversation=Conversation((key,), key, key))
    assert len({choose(world, claim).endpoint.address for world in worlds}) == 1


def test_a_model_that_shares_a_runner_shares_its_slots() -> None:
    """Two names of one file have them once, and the older call goes first."""
    world = World(1, slots=2)
    (endpoint,) = world.endpoints
    copy = "copy:latest"
    one = held(MODEL)[MODEL]
    world.fleet.saw_models(endpoint, {MODEL: one, copy: type(one)(copy, one.digest, 1, 0)})
    world.take()
    world.take()
    later = world.queue(pool=world.fleet.pool(copy))
    world.clock.now += 1
    latest = world.queue()
    world.pool.give_back(endpoint)
    assert (later.endpoint, latest.endpoint) == (endpoint, None)
    assert endpoint.busy(MODEL) == endpoint.busy(copy) == 2
    world.fleet.pool(copy).give_back(endpoint)
    assert latest.endpoint is endpoint
