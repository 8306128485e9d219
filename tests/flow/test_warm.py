"""The policy `warm` over whole endpoints: calls go where their model and their conversation are."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from tests.flow.test_access import Ring, bearer
from tests.flow.upstream import Upstream, Visit, answer_well, whole
from tests.flow.waiting import until
from tests.flow.world import CHAT, MODELS, Served, World, chat

from ai_gateway.balancing.pod import Pod
from ai_gateway.simulator.faults import Fault

REASON = "x-ai-gateway-reason"
ENDPOINT = "x-ai-gateway-endpoint"


class Held:
    """Counts the calls that run, and ends them when it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.running = self.most = 0

    async def act(self, visit: Visit) -> None:
        """Waits, then answers well."""
        self.running += 1
        self.most = max(self.most, self.running)
        await self.opened.wait()
        self.running -= 1
        await answer_well(visit)


def turn(*texts: str) -> bytes:
    """A chat call that goes on: what the user and the model said by turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    return json.dumps({"model": "llama3", "messages": messages, "max_tokens": 4}).encode()


async def test_two_models_on_endpoints_with_one_place_each_do_not_thrash(world: World) -> None:
    """Each has an endpoint of its own, and is loaded once, however the calls for both are mixed."""
    simulator = await world.simulator(count=2, max_loaded=1, load_seconds=0.1, slots=4)
    served = await world.gateway(simulator.urls, balancing={"slots": 4})
    for address, endpoint in served.gateway.fleet.endpoints.items():
        endpoint.pod = Pod(f"ollama-{address.port}", "default", num_parallel=4, max_loaded_models=1)
    for _ in range(5):
        lines = [await served.begin(chat(model=model, max_tokens=1)) for model in ("llama3", "coder") * 4]
        assert {(await line.reply()).status for line in lines} == {200}
    schedulers = [endpoint.pod.leasing.scheduler for endpoint in simulator.endpoints]
    assert [(one.loads, one.evictions) for one in schedulers] == [(1, 0), (1, 0)]


async def test_a_model_gets_a_place_that_nobody_uses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place is idle for long enough: its model goes, by the gateway's own call, and the other is loaded."""
    monkeypatch.setattr("ai_gateway.balancing.loads.DWELL_SECONDS", 0.05)
    simulator = await world.simulator(max_loaded=1)
    served = await world.gateway(simulator.urls)
    (endpoint,) = served.gateway.fleet.endpoints.values()
    endpoint.pod = Pod("ollama-0", "default", max_loaded_models=1)
    for model in ("llama3", "coder", "llama3"):
        assert (await served.chat(model=model, max_tokens=1)).status == 200
    scheduler = simulator.endpoints[0].pod.leasing.scheduler
    assert (scheduler.loads, scheduler.evictions, scheduler.unloads) == (3, 0, 2)


async def test_a_conversation_stays_where_it_is(world: World) -> None:
    """Each turn goes to the endpoint of the turn before, which need not read it all again."""
    simulator = await world.simulator(count=3)
    served = await world.gateway(
        simulator.urls, models={"llama3": {"resident": 3}}, compatibility={"endpoint_header": True}
    )
    await served.loaded()
    for start in ("one", "two", "three", "four"):
        texts, homes = [start], set()
        for number in range(3):
            reply = await served.ask("POST", CHAT, turn(*texts))
            assert number == 0 or reply.header(REASON) == "conversation"
            homes.add(reply.header(ENDPOINT))
            texts += [reply.json["choices"][0]["message"]["content"], f"and {number}"]
        assert len(homes) == 1
        assert homes <= {*simulator.addresses}


async def test_two_names_of_one_file_share_its_slots(world: World) -> None:
    """Ollama has one runner for both: together they get no more calls than it has slots."""
    held = Held()
    listed = [{"name": name, "model": name, "digest": "sha256:same", "size": 7} for name in ("a:latest", "b:latest")]
    tags, loaded = (whole(json.dumps({"models": models}).encode()) for models in (listed, listed[:1]))
    upstream = await world.upstream(held.act, state={"/api/tags": tags, "/api/ps": loaded})
    served = await world.gateway([upstream.url], models={"a": {}, "b": {}}, balancing={"slots": 2})
    lines = [await served.begin(chat(model=model)) for model in ("a", "b", "a", "b", "b", "a")]
    await until(lambda: (served.in_flight, served.waiting) == (2, 4))
    await until(lambda: held.running == 2)
    held.opened.set()
    assert {(await line.reply()).status for line in lines} == {200}
    assert held.most == 2
    assert not set(upstream.asked) & {"/api/embed", "/api/generate"}


async def test_a_late_list_of_loaded_models_refuses_nobody(world: World) -> None:
    """The last one holds; calls go on as if nothing were."""
    simulator = await world.simulator()
    polling = {"interval": "20ms", "residents_timeout": "50ms"}
    served = await world.gateway(simulator.urls, polling=polling)
    assert (await served.chat(max_tokens=1)).status == 200
    simulator.endpoints[0].faults.add(Fault(kind="hang", path="/api/ps"))
    endpoint = served.endpoint(simulator.addresses[0])
    await until(lambda: "/api/ps" in endpoint.check_reasons)
    for _ in range(5):
        reply = await served.chat(max_tokens=1)
        assert (reply.status, reply.header(REASON)) == (200, "only")
    assert simulator.endpoints[0].ledger.by_path["/api/embed"] == 1


async def test_calls_are_served_though_nobody_knows_what_is_loaded(world: World) -> None:
    """From the start no list of loaded models came: the less busy of two endpoints gets the call."""
    simulator = await world.simulator(count=2)
    for endpoint in simulator.endpoints:
        endpoint.faults.add(Fault(kind="hang", path="/api/ps"))
    served = await world.gateway(simulator.urls, polling={"residents_timeout": "50ms"})
    reply = await served.chat(max_tokens=1)
    assert (reply.status, reply.header(REASON)) == (200, "no_view")


async def cold(world: World, **sections: Any) -> tuple[Served, list[Upstream]]:
    """A gateway over three endpoints that tell that nothing is loaded."""
    upstreams = [await world.upstream(answer_well, is_cold=True) for _ in range(3)]
    return await world.gateway([upstream.url for upstream in upstreams], **sections), upstreams


async def test_round_robin_goes_round(world: World) -> None:
    """Loaded or not; the gateway loads nothing."""
    served, upstreams = await cold(world, balancing={"policy": "round_robin"})
    assert {(await served.chat()).header(REASON) for _ in range(6)} == {"round_robin"}
    assert [len(upstream.visits) for upstream in upstreams] == [2, 2, 2]
    assert not any("/api/embed" in upstream.asked for upstream in upstreams)


async def test_least_in_flight_goes_where_least_is_to_do(world: World) -> None:
    """Loaded or not; the gateway loads nothing."""
    served, upstreams = await cold(world, balancing={"policy": "least_in_flight"})
    for upstream in upstreams[1:]:
        served.endpoint(upstream.address).take_slot("other")
    reply = await served.chat()
    assert (reply.status, reply.header(REASON), len(upstreams[0].visits)) == (200, "least_in_flight", 1)
    for upstream in upstreams[1:]:
        served.endpoint(upstream.address).give_slot_back("other")
    assert not any("/api/embed" in upstream.asked for upstream in upstreams)


async def test_a_model_may_have_a_policy_of_its_own(world: World) -> None:
    """The other models keep the common one."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls, models={**MODELS, "llama3": {"policy": "round_robin"}})
    reasons = [
        (await served.chat(str(number), model=model, max_tokens=1)).header(REASON)
        for number in range(2)
        for model in ("llama3", "coder")
    ]
    assert Counter(reasons)["round_robin"] == 2
    loaded = [
        json.loads(one.body)["model"]
        for end in simulator.endpoints
        for one in end.ledger.last
        if one.path == "/api/embed"
    ]
    assert set(loaded) == {"codellama:13b"}


async def test_an_answers_endpoint_is_told_only_to_who_may_see_it(world: World) -> None:
    """Where the config asks for it: to admins, and to all where nobody has to say who they are."""
    ring = Ring(world.folder)
    upstream = await world.upstream(answer_well)
    admin, user = bearer(ring.add("admin", role="admin")), bearer(ring.add("user"))
    served = await world.gateway([upstream.url], auth=ring.auth, compatibility={"endpoint_header": True})
    for headers, told in ((admin, upstream.address), (user, None)):
        for stream in (False, True):
            reply = await served.ask("POST", CHAT, chat(stream=stream), headers)
            assert (reply.status, reply.header(ENDPOINT), reply.header(REASON)) == (200, told, "only")
    open_to_all = await world.gateway([upstream.url])
    assert (await open_to_all.chat()).header(ENDPOINT) is None


async def test_an_error_after_an_attempt_tells_neither_endpoint_nor_reason(world: World) -> None:
    """They are of an answer."""

    async def break_off(visit: Visit) -> None:
        await visit.say(whole(b'{"choices":[]}', headers=("content-type: application/json",))[:-3])
        visit.reset()

    upstream = await world.upstream(break_off)
    served = await world.gateway([upstream.url], compatibility={"endpoint_header": True})
    reply = await served.chat()
    assert (reply.status, reply.header(ENDPOINT), reply.header(REASON)) == (502, None, None)
