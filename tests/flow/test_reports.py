"""Gateways beside each other: each knows the others from an API server, and hears of them on their admin ports."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import yaml
from tests.flow.kubernetes_api import NAMESPACE, KubernetesApi
from tests.flow.scraping import scraped
from tests.flow.waiting import until
from tests.flow.world import Served, World, config
from tests.upstream.scripted import Line, Script, answer, serving

SERVICE = {"kubernetes.io/service-name": "gateway"}


async def beside(world: World, api: KubernetesApi, uid: str, urls: Sequence[str] = (), **sections: Any) -> Served:
    """A gateway with this uid that knows of the Service; it is not in it. `sections` are those of config.yml."""
    named = {"AI_GATEWAY_PEERS_SERVICE": f"{NAMESPACE}/gateway", "AI_GATEWAY_POD_UID": uid}
    world.environment = {**world.environment, **named}
    content = yaml.safe_dump(config(urls or (await world.simulator()).urls, **sections))
    return await world.gateway_with(content, access=api.access(world.folder))


def join(api: KubernetesApi, uid: str, port: int, address: str = "127.0.0.1", **conditions: bool) -> None:
    """Lists a gateway: in a slice of its own, since on loopback each has another admin port."""
    endpoint = {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "uid": uid}}
    ports = [{"name": "http", "port": 8080}, {"name": "admin", "port": port, "protocol": "TCP"}]
    metadata = {"name": f"gateway-{uid}", "labels": SERVICE}
    api.put("endpointslices", {"metadata": metadata, "addressType": "IPv4", "endpoints": [endpoint], "ports": ports})


async def pair(world: World, urls: Sequence[str] = ()) -> tuple[KubernetesApi, Served, Served]:
    """Two gateways that hear each other."""
    api = await world.api_server()
    first, second = await beside(world, api, "a", urls), await beside(world, api, "b", urls)
    for uid, served in (("a", first), ("b", second)):
        join(api, uid, served.admin_port)
    await until(lambda: fresh(first) == {"b"} and fresh(second) == {"a"}, "each hears the other")
    return api, first, second


def fresh(served: Served) -> frozenset[str]:
    """Whose report a gateway has."""
    return served.gateway.reports.presence().fresh


async def gateways(served: Served) -> Any:
    """What health says of them."""
    return (await served.get("/v1/health"))["gateways"]


async def test_two_gateways_hear_each_other(world: World) -> None:
    """Health and metrics tell of it; the records of requests do not."""
    _, first, second = await pair(world)
    told = await gateways(first)
    (other,) = told.pop("others")
    assert told == {"uid": "a", "count": 2, "are_known": True, "complaint": None}
    assert 0 <= other.pop("report_age_seconds") < 3
    assert other.pop("failures") >= 0  # while it was not listed yet for the other
    address = f"127.0.0.1:{second.admin_port}"
    digest = (await second.get("/v1/health"))["config"]["hash"]
    assert other == {"uid": "b", "address": address, "state": "fresh", "config": digest, "complaint": None}
    samples = await scraped(first)
    assert samples['peers{state="fresh"}'] == 1
    assert samples['report_failures_total{reason="invalid"}'] == 0
    assert not [exchange for exchange in first.exchanges if exchange.path == "/report"]


async def test_a_gateway_that_goes_counts_until_it_is_gone(world: World) -> None:
    """It is asked to the end; without its slice nothing of it is left."""
    api, first, second = await pair(world)
    join(api, "b", second.admin_port, ready=False, terminating=True)
    await until(lambda: first.gateway.reports.presence().terminating == {"b"}, "it is known to leave")
    assert first.gateway.reports.presence().count == 2
    api.delete("endpointslices", "gateway-b")
    await until(lambda: first.gateway.reports.presence().is_alone, "it is gone")
    await until(lambda: not list(first.gateway.reports.peers()), "it is forgotten")


async def test_the_others_stay_known_while_the_api_server_is_away(world: World) -> None:
    api, first, _ = await pair(world)
    await api.stop()
    await until(lambda: first.gateway.gateways.peers_reason, "the API server is away")
    assert first.gateway.reports.presence().count == 2
    (peer, _, _) = next(first.gateway.reports.peers())
    heard_at = peer.heard_at
    await until(lambda: peer.heard_at > heard_at, "it still hears the other")
    assert (await gateways(first))["complaint"]


async def test_a_report_is_for_gateways_of_the_service_alone(world: World) -> None:
    """By the address of who asks: no header changes that."""
    api = await world.api_server()
    served = await beside(world, api, "a")
    join(api, "a", served.admin_port, "10.0.0.1")
    await until(lambda: served.gateway.gateways.knows_itself, "it is listed")
    refused = await served.probe("/report")
    assert (refused.status, refused.error["type"]) == (403, "unauthorized")
    join(api, "b", served.admin_port)
    await until(lambda: served.gateway.gateways.has_address("127.0.0.1"), "the test's own address is listed")
    told = await served.probe("/report")
    digest = (await served.get("/v1/health"))["config"]["hash"]
    assert (told.status, told.json) == (200, {"uid": "a", "key": told.json["key"], "config": digest})
    assert (await served.ask("GET", "/report")).status == 404


async def endlessly(line: Line) -> None:
    """A body without an end."""
    await line.request()
    await line.say(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await line.say(b" " * 4096)


async def silently(line: Line) -> None:
    """No answer."""
    await line.hung_up()


def saying(body: bytes) -> Script:
    """Always the same answer."""

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(answer(body))

    return script


HOSTILE: dict[str, Script] = {
    "endless": endlessly,
    "silent": silently,
    "nested": saying(b'{"uid":"nested","more":' + b"[" * 60_000),
    "large": saying(b'{"uid":"large"}' + b" " * 70_000),
    "nobody": saying(b'{"uid":"nobody","in_flight":{"e":{"r":NaN}}}'),
    "mirror": saying(b'{"uid":"me","may_lead":true}'),
    "thief": saying(b'{"uid":"good","may_lead":true}'),
}


async def test_no_answer_of_a_gateway_does_harm(world: World) -> None:
    """Whatever seven of them say or do not say, the eighth is heard and calls are answered."""
    api = await world.api_server()
    served = await beside(world, api, "me")
    join(api, "me", served.admin_port)
    async with AsyncExitStack() as stack:
        for uid, script in {**HOSTILE, "good": saying(b'{"uid":"good"}')}.items():
            server = await stack.enter_async_context(serving(script))
            join(api, uid, server.address.port)
        reports = served.gateway.reports
        await until(lambda: sum(peer.failures > 2 for peer, _, _ in reports.peers()) == 7, "all have failed")
        assert {peer.member.uid for peer, state, _ in reports.peers() if state == "fresh"} == {"good"}
        assert {peer.member.uid for peer, _, _ in reports.peers() if peer.report is not None} == {"good"}
        assert reports.presence().count == 9
        assert (await served.chat(max_tokens=1)).status == 200


async def test_an_older_release_is_there_and_silent(world: World) -> None:
    """It answers 404, as the API's port does."""
    api = await world.api_server()
    served = await beside(world, api, "a")
    join(api, "a", served.admin_port)
    join(api, "b", served.port)
    await until(lambda: served.gateway.reports.failures["refused"], "it is asked")
    present = served.gateway.reports.presence()
    assert (present.count, sorted(present.ready), sorted(present.fresh)) == (2, ["a", "b"], [])
    (other,) = (await gateways(served))["others"]
    assert (other["state"], other["complaint"]) == ("silent", "answers 404 (is it of an older release?)")


async def test_a_gateway_by_itself_knows_that_it_is_alone(world: World) -> None:
    """It asks nobody, and tells nobody."""
    served = await world.gateway((await world.simulator()).urls)
    assert served.gateway.reports.presence().is_alone
    assert (await served.probe("/report")).status == 403
    told = await gateways(served)
    assert told == {"uid": None, "count": 1, "are_known": True, "complaint": None, "others": []}


async def test_in_a_cluster_one_that_was_told_nothing_is_never_alone(world: World) -> None:
    """Such as the sidecar of an application: others may be there that it does not see."""
    world.environment = {**world.environment, "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    served = await world.gateway((await world.simulator()).urls)
    assert not served.gateway.reports.presence().is_alone
    told = await gateways(served)
    assert (told["are_known"], told["others"]) == (False, [])
    assert "AI_GATEWAY_PEERS_SERVICE is not set" in told["complaint"]
