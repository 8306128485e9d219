"""A call that is sent again waits where the fleet binds it to a slot."""

import asyncio
from types import TracebackType
from typing import cast

import pytest
from tests.balancing.worlds import MODEL, World
from tests.flow.waiting import until
from tests.flow.world import chat

from ai_gateway.accounting.buffers import BodyShare, Buffers
from ai_gateway.balancing.fleet import POOL_SECONDS
from ai_gateway.balancing.ticket import ANYONE
from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.types import Config, Model
from ai_gateway.edge.attempt import Delivery, ServedCall
from ai_gateway.edge.attempts import Attempts, Upstreams
from ai_gateway.edge.cancel_scope import CancelScope, RunningRequests
from ai_gateway.edge.whole_answer import AnswerRoom
from ai_gateway.errors import UpstreamTimeout
from ai_gateway.exchange import Exchange, Ids, Times
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.failures import ResetFailure
from ai_gateway.wire.address import Address
from ai_gateway.wire.answer import Shape
from ai_gateway.wire.call import read_call
from ai_gateway.wire.operations import CHAT


class Reached(Exception):
    """The second endpoint got the call."""


class RestartingPod:
    """A client whose endpoint cuts the call after a long time, and has another address while its successor is busy."""

    was_reused = False

    def __init__(self, world: World) -> None:
        self._world = world
        self._calls = 0

    def exchange(self, *_: object) -> "RestartingPod":
        return self

    async def __aenter__(self) -> None:
        self._calls += 1
        if self._calls > 1:
            raise Reached
        self._world.clock.now += 10 * POOL_SECONDS
        raise ResetFailure("the endpoint hung up")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def accepts(self, *_: object) -> bool:
        self._world.fleet.apply([Address("successor")])
        self._world.begin(self._world.endpoints[0])
        assert self._world.fleet.pool(MODEL).ask() is not None
        return False


def attempts(world: World, client: RestartingPod) -> Attempts:
    """Those of a chat call."""
    call = read_call(CHAT, chat())
    entry = Catalog(Config(models={"llama3": Model()})).find("llama3", world.fleet)
    assert entry is not None
    exchange = Exchange(Ids("r"), Times(1.0), "POST", CHAT.path)
    served = ServedCall(exchange=exchange, call=call, entry=entry, body=call.upstream(None), claim=ANYONE)
    buffers = Buffers()
    room = AnswerRoom(BodyShare(buffers, (1 << 20, 1 << 20), "a", "a"), buffers.slices, 1 << 20)
    running = RunningRequests(asyncio.get_running_loop())
    scope = CancelScope({}, running, (1e9, lambda: UpstreamTimeout("late", code="total_timeout")))
    delivery = Delivery(shape=Shape("id", "llama3"), cancel_scope=scope, room=room, events=None)
    upstreams = Upstreams(fleet=world.fleet, client=cast("Client", client), probe_soon=lambda _: None)
    return Attempts(upstreams, served, delivery)


async def test_a_second_attempt_waits_in_the_pool_that_the_fleet_has() -> None:
    """The first one took longer than an unused pool stays, and the pod went as it was cut."""
    world = World(count=1)
    running = asyncio.create_task(attempts(world, RestartingPod(world)).run())
    await until(lambda: world.fleet.pool(MODEL).waiting == 1)
    world.fleet.pool(MODEL).give_back(world.endpoints[0])
    with pytest.raises(Reached):
        await running
