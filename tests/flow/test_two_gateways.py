"""Two gateways over the same endpoints: one decides on loads for both, and slots are counted together."""

from collections import Counter
from collections.abc import Sequence

from tests.flow.kubernetes_api import KubernetesApi
from tests.flow.test_reports import join, pair
from tests.flow.waiting import until
from tests.flow.world import Served, World, chat
from tests.ports import free_port

from ai_gateway.simulator import Simulator


def loads(simulator: Simulator) -> Counter[str]:
    """How often each model was loaded, on whatever endpoint."""
    asked = (request for endpoint in simulator.endpoints for request in endpoint.ledger.last)
    return Counter(request.body.decode() for request in asked if request.path == "/api/embed")


async def led(world: World, urls: Sequence[str]) -> tuple[KubernetesApi, Served, Served]:
    """Two gateways of which the first one decides on loads."""
    api, first, second = await pair(world, urls)
    await until(lambda: first.gateway.fleet.decides and not second.gateway.fleet.decides, "they agree who leads")
    return api, first, second


async def test_the_leader_loads_for_calls_of_the_other_gateway(world: World) -> None:
    """One load; the call that waits at the other one is answered there."""
    simulator = await world.simulator(1, load_seconds=0.3)
    _, first, second = await led(world, simulator.urls)
    assert (await second.chat(max_tokens=1)).status == 200
    assert sum(loads(simulator).values()) == 1
    assert first.gateway.fleet.loads.total_begun == 1
    assert not second.gateway.fleet.loads.total_begun


async def test_a_leader_that_dies_amid_a_load_is_replaced(world: World) -> None:
    """Its load ends with it; the other one begins anew, and no call is lost."""
    simulator = await world.simulator(1, load_seconds=30.0)
    api, first, second = await led(world, simulator.urls)
    line = await second.begin(chat(max_tokens=1))
    await until(lambda: loads(simulator), "the leader loads")
    await first.gateway.loader.stop()
    join(api, "a", free_port())  # nobody listens there: as dead as it can be without its process
    await until(lambda: sum(loads(simulator).values()) == 2, "the other one loads")
    assert second.gateway.fleet.decides
    line.leave()


async def test_two_gateways_together_keep_to_the_slots(world: World) -> None:
    """A call at one of them waits while the other one holds the only slot."""
    simulator = await world.simulator(1, tokens_per_second=2.0)
    _, first, second = await pair(world, simulator.urls)
    assert (await first.chat(max_tokens=1)).status == 200
    line = await first.begin(chat(stream=True, max_tokens=30))
    await line.head()
    await line.event()
    endpoint = next(iter(second.gateway.fleet.endpoints.values()))
    await until(lambda: endpoint.total_peers == 1, "the other one knows of the call")
    waiting = await second.begin(chat(max_tokens=1))
    await until(lambda: second.waiting == 1, "it waits")
    assert endpoint.total_in_flight == 0
    line.leave()
    assert (await waiting.reply()).status == 200
