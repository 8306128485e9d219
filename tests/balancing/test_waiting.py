"""How long calls may wait, who is refused on arrival, and whose call makes room in a full queue."""

import asyncio

import pytest
from tests.balancing.loading_world import A, B, Loading, settings
from tests.balancing.worlds import MODEL, World, addresses

from ai_gateway.balancing.lease import Lease, Waits
from ai_gateway.balancing.settings import FleetSettings, PoolSettings
from ai_gateway.balancing.stopwatch import Stopwatch
from ai_gateway.balancing.ticket import Claim
from ai_gateway.errors import ModelLoading, NoEndpoint, QueueFull, QueueShare, QueueTimeout

STARVE = 20.0


async def waits(lease: Lease, world: World) -> asyncio.Task[object]:
    """A lease that waits."""
    before = world.pool.waiting
    task: asyncio.Task[object] = asyncio.create_task(lease.__aenter__())
    while world.pool.waiting == before:  # noqa: ASYNC110 - a pool has no event for it
        await asyncio.sleep(0)
    return task


def test_the_clocks_run_by_turns() -> None:
    """None of them twice, and neither of the two while the model is on no disk."""
    watch = Stopwatch(100.0, "cold")
    assert watch.read(103.0) == (0.0, 3.0)
    watch.turn(104.0, "warm")
    watch.turn(105.0, "warm")
    assert watch.read(110.0) == (6.0, 4.0)
    watch.turn(110.0, "absent")
    watch.turn(112.0, "cold")
    assert watch.read(113.0) == (6.0, 5.0)


def test_the_wait_in_the_queue_counts_only_while_the_model_is_loaded_somewhere() -> None:
    """The wait for its load has its own limit."""
    world = World(1)
    (endpoint,) = world.endpoints
    world.take()
    waiting = world.queue()
    world.clock.now += 5
    world.saw_loaded(endpoint)
    world.clock.now += 60
    world.saw_loaded(endpoint, MODEL)
    world.clock.now += 2
    assert world.pool.waited(waiting.ticket) == (7.0, 60.0)


async def test_a_call_whose_model_is_not_loaded_in_time_hears_that_it_loads() -> None:
    """With the learned time of what is left of its load."""
    world = World(1)
    world.saw_nothing_loaded()
    world.fleet.decide()
    lease = Lease(world.pool, Waits(10, 0.01))
    task = await waits(lease, world)
    assert lease.outlook() == "the model to load"
    world.clock.now += 1
    with pytest.raises(ModelLoading, match=r"within 0.01 s") as caught:
        await task
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 1
    assert world.pool.waiting == 0


async def test_a_call_in_the_queue_hears_its_place() -> None:
    """And how long it takes, once that is learned."""
    world = World(1)
    world.take()
    world.queue()
    lease = Lease(world.pool, Waits(10, 10))
    task = await waits(lease, world)
    assert lease.outlook() == "a free slot, number 2 in the queue"
    world.pool.note_call(20.0)
    assert lease.outlook() == "a free slot, number 2 in the queue, about 40 s"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (world.pool.waiting, lease.outlook()) == (1, "a free slot")


async def test_a_load_that_ends_while_a_call_waits_for_it_starts_its_other_limit() -> None:
    """The time that the load took is not held against it."""
    world = World(1)
    (endpoint,) = world.endpoints
    world.take()
    world.saw_nothing_loaded()
    task = await waits(Lease(world.pool, Waits(5, 300)), world)
    world.clock.now += 200
    world.saw_loaded(endpoint, MODEL)
    await asyncio.sleep(0)
    assert not task.done()
    world.pool.give_back(endpoint)
    await task
    assert endpoint.total_in_flight == 1


def test_a_call_that_is_sent_again_has_clocks_of_its_own() -> None:
    """The endpoint that it avoids does not count as one that has the model loaded."""
    world = World(2)
    first, second = world.endpoints
    world.saw_loaded(second)
    again = world.queue(first)
    world.clock.now += 30
    assert world.pool.waited(again.ticket) == (0.0, 30.0)
    assert not world.pool.is_warm_for(again.ticket)
    second.take_slot(MODEL)
    world.saw_loaded(second, MODEL)
    world.clock.now += 2
    assert world.pool.waited(again.ticket) == (2.0, 30.0)


# -- refusals on arrival


def test_who_would_wait_longer_than_its_patience_is_refused_at_once() -> None:
    """It may go elsewhere while there is time."""
    world = World(1)
    world.take()
    world.queue()
    world.pool.note_call(20.0)
    with pytest.raises(QueueTimeout, match="in about 40 s") as caught:
        world.pool.ask(claim=Claim("a", patience_seconds=30.0))
    assert caught.value.retry_after == 10.0
    assert world.pool.ask(claim=Claim("a", patience_seconds=40.0)) is None


def test_nobody_is_refused_by_a_number_that_is_not_learned() -> None:
    """Nor for a model that is not loaded yet."""
    world = World(1)
    world.take()
    world.queue()
    assert world.pool.ask(claim=Claim("a", patience_seconds=0.1)) is None
    world.pool.note_call(20.0)
    world.saw_nothing_loaded()
    assert world.pool.predicted_seconds(1) is None
    assert world.pool.ask(claim=Claim("a", patience_seconds=0.1)) is None


def test_a_full_queue_tells_when_to_come_again() -> None:
    """As far as is learned."""
    world = World(1, max_waiting=1)
    world.take()
    world.queue()
    world.pool.note_call(20.0)
    with pytest.raises(QueueFull) as caught:
        world.pool.ask()
    assert caught.value.retry_after == 20.0


# -- shares of a full queue


def test_who_holds_more_than_its_share_of_a_full_queue_makes_room() -> None:
    """Its newest call is refused for the first one of another caller, until both have the same."""
    world = World(1, max_waiting=4)
    world.take()
    greedy = [world.queue(claim=Claim("a")) for _ in range(4)]
    modest = [world.queue(claim=Claim("b")) for _ in range(2)]
    assert [type(one.ticket.error) for one in greedy] == [type(None), type(None), QueueShare, QueueShare]
    assert [one.settled for one in modest] == [0, 0]
    for caller in ("a", "b"):
        with pytest.raises(QueueShare, match=r"2 of its 4 calls are yours"):
            world.pool.ask(claim=Claim(caller))


def test_alone_in_a_full_queue_nobody_is_greedy() -> None:
    """It is full, and that is all."""
    world = World(1, max_waiting=2)
    world.take()
    for _ in range(2):
        world.queue(claim=Claim("a"))
    with pytest.raises(QueueFull):
        world.pool.ask(claim=Claim("a"))


def test_a_newcomer_without_a_share_hears_that_the_queue_is_full() -> None:
    """More callers than places: the one that comes last has done nothing wrong."""
    world = World(1, max_waiting=2)
    world.take()
    for caller in "ab":
        world.queue(claim=Claim(caller))
    with pytest.raises(QueueFull):
        world.pool.ask(claim=Claim("c"))


def test_batch_calls_make_room_first() -> None:
    """The newest of them."""
    world = World(1, max_waiting=3)
    world.take()
    batch = world.queue(claim=Claim("a", is_batch=True))
    others = [world.queue(claim=Claim("a")) for _ in range(2)]
    world.queue(claim=Claim("b"))
    assert isinstance(batch.ticket.error, QueueShare)
    assert [one.settled for one in others] == [0, 0]


def test_a_slot_that_is_given_back_unused_costs_no_tokens() -> None:
    """The client left before it was sent."""
    world = World(1)
    endpoint = world.take()
    waiting = world.queue(claim=Claim("a", tokens=50))
    world.pool.give_back(endpoint)
    assert world.pool.queue.served["a"] == 50
    world.pool.leave(waiting.ticket)
    assert world.pool.queue.served["a"] == 0


# -- a gateway that never loads


def never(slots: int = 1) -> Loading:
    """It decides on no loads."""
    given = settings(a=PoolSettings(slots, None, 100), b=PoolSettings(slots, None, 100))
    return Loading(2, given=type(given)(pools=given.pools, others=given.others, loads="never", starve_seconds=STARVE))


def test_a_gateway_that_may_not_load_waits_for_a_while_and_then_lets_ollama_load() -> None:
    """At the least busy endpoint, as many calls as there are slots."""
    world = never()
    first, second = world.endpoints
    world.see(first, B)
    world.run(B)
    waiting = [world.want(A) for _ in range(3)]
    world.pass_time(STARVE - 0.1)
    assert [one.settled for one in waiting] == [0, 0, 0]
    world.pass_time(0.1)
    assert [one.endpoint for one in waiting] == [second, first, None]
    choice = waiting[0].ticket.choice
    assert choice is not None
    assert (choice.reason, choice.is_warm) == ("waited", False)
    assert world.orders == []


def test_it_sends_a_call_again_where_the_model_is_not_loaded() -> None:
    """Also while it is where the call failed."""
    world = never()
    first, second = world.endpoints
    world.see(first, A)
    again = world.want(A, first)
    world.pass_time(STARVE)
    assert again.endpoint is second


def test_it_uses_what_others_have_loaded() -> None:
    """At once, and all its slots."""
    world = never(slots=2)
    first, _ = world.endpoints
    waiting = [world.want(A) for _ in range(3)]
    world.see(first, A)
    assert [one.endpoint for one in waiting] == [first, first, None]
    world.pass_time(STARVE)
    assert waiting[2].endpoint is None


# -- where no endpoint has the model, or nobody knows that one has


def test_while_calls_wait_for_an_endpoint_none_waits_longer_than_another() -> None:
    """Not even the one whose caller has got the most tokens, while others come."""
    world = World(0, settings=FleetSettings(others=PoolSettings(1, None, 1000, absence_seconds=30.0)))
    world.pool.queue.charge("first", 1)  # so nobody starts at nothing
    world.pool.queue.charge("busy", 1000)
    world.queue(claim=Claim("first"))
    waiting = world.queue(claim=Claim("busy"))
    for _ in range(31):
        world.queue(claim=Claim("new"))
        world.clock.now += 1
        world.fleet.tick()
    assert isinstance(waiting.ticket.error, NoEndpoint)


def test_a_call_waits_not_for_ever_for_a_list_of_models() -> None:
    """Without one nobody decides on loads, as it is not known where the model is: Ollama may load it."""
    world = World(0)
    world.fleet.apply(addresses(1))
    (endpoint,) = world.endpoints
    world.fleet.saw_up(endpoint, "0.33.0")
    world.saw_loaded(endpoint)
    waiting = world.queue()
    world.clock.now += STARVE - 0.1
    world.fleet.tick()
    assert waiting.settled == 0
    world.clock.now += 0.1
    world.fleet.tick()
    assert waiting.endpoint is endpoint
