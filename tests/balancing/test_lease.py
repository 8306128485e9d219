"""A lease is held from the block's beginning to its end, and waits without deciding anything."""

import asyncio
import time

import pytest
from tests.balancing.worlds import MODEL, World

from ai_gateway.balancing.lease import Lease, Waits
from ai_gateway.errors import ModelMissing, QueueFull, QueueTimeout


class RealTime(World):
    """Its clock is the real one."""

    make_clock = staticmethod(lambda: time.monotonic)


async def until(world: World, waiting: int) -> None:
    """Returns when so many calls wait."""
    while world.pool.waiting != waiting:  # noqa: ASYNC110 - a pool has no event for it
        await asyncio.sleep(0)


async def hold(world: World, wait_seconds: float = 10) -> None:
    """Takes a slot and gives it back."""
    async with Lease(world.pool, Waits(wait_seconds, 300)):
        pass


async def test_a_slot_is_held_until_the_block_is_left() -> None:
    """Not one moment longer, and on an error too."""
    world = World(1)
    endpoint = world.endpoints[0]

    async def break_off() -> None:
        async with Lease(world.pool, Waits(1, 300)):
            assert endpoint.in_flight == {MODEL: 1}
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await break_off()
    assert endpoint.in_flight == {}


async def test_a_call_waits_until_a_slot_is_free() -> None:
    """And gets the one that was given back."""
    world = World(1)
    endpoint = world.take()
    call = asyncio.create_task(hold(world))
    await until(world, 1)
    world.pool.give_back(endpoint)
    await call
    assert endpoint.total_in_flight == 0


async def test_a_client_that_disconnects_leaves_the_queue() -> None:
    """Its place is free at once."""
    world = World(1)
    world.take()
    call = asyncio.create_task(hold(world))
    await until(world, 1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert world.pool.waiting == 0


async def test_a_client_that_leaves_in_the_moment_of_its_grant_loses_no_slot() -> None:
    """The slot was given, the waiter never woke: the next one has it."""
    world = World(1)
    endpoint = world.take()
    call = asyncio.create_task(hold(world))
    await until(world, 1)
    world.pool.give_back(endpoint)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert endpoint.total_in_flight == 0
    assert world.take() is endpoint


async def test_a_wait_has_an_end() -> None:
    """The queue's deadline is a refusal with its reason, and frees the place."""
    world = RealTime(1)
    world.take()
    with pytest.raises(QueueTimeout, match=r"became free within 0.01 s"):
        await hold(world, 0.01)
    assert world.pool.waiting == 0
    assert world.endpoints[0].total_in_flight == 1


async def test_a_slot_granted_in_the_moment_of_the_timeout_is_used() -> None:
    """A call with a slot is not refused for a long wait."""
    world = RealTime(1)
    endpoint = world.take()
    lease = Lease(world.pool, Waits(0.5, 300))
    call = asyncio.create_task(lease.__aenter__())
    await until(world, 1)
    asyncio.get_running_loop().call_later(0.51, world.pool.give_back, endpoint)
    time.sleep(0.6)  # noqa: ASYNC251 - the loop is kept busy: deadline and grant come in one round, in this order
    choice = await call
    assert choice.endpoint is endpoint
    await lease.__aexit__(None, None, None)
    assert endpoint.total_in_flight == 0


async def test_a_refusal_reaches_waiting_calls() -> None:
    """As if they had been refused at once."""
    world = World(1)
    world.take()
    call = asyncio.create_task(hold(world))
    await until(world, 1)
    world.fleet.mark_missing(world.endpoints[0], MODEL)
    with pytest.raises(ModelMissing):
        await call


async def test_a_refused_call_holds_nothing() -> None:
    """Neither a slot nor a place."""
    world = World(1, max_waiting=0)
    world.take()
    with pytest.raises(QueueFull):
        await hold(world)
    assert (world.pool.waiting, world.endpoints[0].total_in_flight) == (0, 1)


async def test_a_retry_is_leased_elsewhere() -> None:
    """`avoid` names where it was."""
    world = World(2)
    first, second = world.endpoints
    async with Lease(world.pool, Waits(1, 300), frozenset([first])) as choice:
        assert choice.endpoint is second
