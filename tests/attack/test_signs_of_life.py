"""`/health` on the API's port, as benchmark tools, balancers and people ask for it."""

import json

import pytest
from tests.attack.table import Tried
from tests.flow.test_access import Ring
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat

OK = {"status": "ok"}
NOT_OK = {"status": "unavailable"}


async def looks(served: Served, status: int, content: dict[str, str], **headers: str) -> None:
    """What both paths say to GET and HEAD."""
    for path in ("/health", "/healthz"):
        reply = await served.ask("GET", path, headers=headers)
        assert (reply.status, json.loads(reply.body)) == (status, content)
        assert reply.header("x-request-id")
        head = await served.ask("HEAD", path, headers=headers)
        assert (head.status, head.body) == (status, b"")


@pytest.mark.attack("http", "/health: open to everyone, limited by nothing, recorded nowhere")
async def test_a_sign_of_life_is_answered_and_leaves_nothing(world: World, tried: Tried) -> None:
    ring = Ring(world.folder)
    key = ring.add("team", limits={"rpm": 1})
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth)
    tried.times = 0
    for authorization in ("", f"Bearer {key}", "Bearer nonsense", "Basic eDp5"):
        for _ in range(5):
            await looks(served, 200, OK, authorization=authorization)
            tried.times += 4
    assert served.exchanges == []
    page = (await served.probe("/metrics")).body.decode()
    assert "/health" not in page
    assert (await served.ask("POST", CHAT, chat(max_tokens=1), {"authorization": f"Bearer {key}"})).status == 200
    assert len(served.exchanges) == 1, "what is recorded is what the audit, the log and the traces are made from"


@pytest.mark.attack("http", "/health while the gateway drains, and without a config")
async def test_it_says_when_the_gateway_cannot_serve(world: World) -> None:
    served = await world.gateway_with("models: [", is_ready=False, drain_seconds=30.0)
    await looks(served, 503, NOT_OK)
    assert (await served.ask("GET", "/v1/health")).status == 503
    served.write("models: {llama3: {}}")
    await until(lambda: served.gateway.current.now.is_loaded, "a config")
    await looks(served, 200, OK)
    served.shutdown.request()
    await until(lambda: served.gateway.readiness.is_draining, "it drains")
    await looks(served, 503, NOT_OK)


@pytest.mark.attack("http", "/health by other methods, spellings and pages")
async def test_only_reads_are_accepted(world: World) -> None:
    origin = "https://app.example"
    served = await world.gateway((), cors={"origins": [origin]})
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        reply = await served.ask(method, "/health", b"{}")
        assert (reply.status, reply.header("allow")) == (405, "GET, HEAD")
    for path in ("/health/", "/Health", "/healthz/x", "/v1/healthz", "/health%0a"):
        assert (await served.ask("GET", path)).status == 404, path
    assert (await served.ask("GET", "/health?verbose=1")).json == OK
    reply = await served.ask("GET", "/health", headers={"origin": origin})
    assert reply.header("access-control-allow-origin") == origin
    preflight = {"origin": origin, "access-control-request-method": "GET"}
    assert (await served.ask("OPTIONS", "/health", headers=preflight)).status == 200
    assert (await served.ask("GET", "/health", headers={"host": "evil.example"})).status == 403
