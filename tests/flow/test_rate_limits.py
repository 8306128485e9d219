"""Limits through the whole gateway: who is admitted, what clients see, and what calls give back at their end."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.flow.kubernetes_api import NAMESPACE
from tests.flow.line import Line, Reply
from tests.flow.scraping import scraped
from tests.flow.test_access import Ring, bearer
from tests.flow.upstream import DONE, END, SSE_HEAD, Act, Visit, answer, event, framed, whole
from tests.flow.waiting import PATIENCE_SECONDS, until
from tests.flow.world import CHAT, Served, World, chat, config

ORIGIN = "https://app.example"
PROXIED = {"trusted_proxies": ["127.0.0.1"]}


async def limited(world: World, limits: Mapping[str, Any], **more: Any) -> Served:
    """A gateway over one quick endpoint."""
    simulator = await world.simulator()
    return await world.gateway(simulator.urls, limits=limits, **more)


async def asked_from(served: Served, address: str, **more: Any) -> Reply:
    """A chat call that a trusted proxy passes on for a client at this address."""
    return await served.ask("POST", CHAT, chat(max_tokens=1, **more), {"x-forwarded-for": address})


def using(prompt: int, output: int) -> Act:
    """An endpoint whose every answer uses so many tokens."""
    usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}

    async def act(visit: Visit) -> None:
        await visit.say(whole(answer(usage=usage)))

    return act


async def test_a_call_beyond_the_minute_is_429_and_says_how_long(world: World) -> None:
    served = await limited(world, {"default": {"rpm": 2}})
    assert [(await served.chat(max_tokens=1)).status for _ in range(2)] == [200, 200]
    reply = await served.chat(max_tokens=1)
    assert (reply.status, reply.error["type"], reply.error["code"]) == (429, "rate_limited", "rate_limit_exceeded")
    assert "requests per minute of caller at 127.0.0.1: 2" in reply.error["message"]
    assert reply.header("retry-after") == "30"
    assert 29_000 < int(reply.header("retry-after-ms") or 0) <= 30_000
    assert reply.header("x-should-retry") is None
    assert (served.last.outcome.kind, served.last.outcome.error_code) == ("refused", "rate_limit_exceeded")
    assert served.last.outcome.reason is not None
    assert "rpm of address:127.0.0.1" in served.last.outcome.reason
    assert served.last.attempts == []


async def test_only_calls_are_limited(world: World) -> None:
    """What is answered from memory costs nothing."""
    served = await limited(world, {"default": {"rpm": 1}})
    assert (await served.chat(max_tokens=1)).status == 200
    assert (await served.chat(max_tokens=1)).status == 429
    for path in ("/v1/models", "/v1/models/llama3", "/v1/health"):
        reply = await served.ask("GET", path)
        assert reply.status == 200
        assert reply.header("x-ratelimit-limit-requests") is None


async def test_answers_tell_how_the_limits_stand(world: World) -> None:
    served = await limited(world, {"default": {"rpm": 60, "tpm": 6000, "concurrent": 4, "tokens_per_day": 90000}})
    headers = dict((await served.chat(max_tokens=9)).headers)
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert headers["x-ratelimit-reset-requests"] == "1s"
    assert headers["x-ratelimit-limit-tokens"] == "6000"
    assert 5900 < int(headers["x-ratelimit-remaining-tokens"]) < 5991
    assert headers["x-ratelimit-reset-tokens"].endswith("ms")
    assert headers["ratelimit-policy"] == (
        '"rpm";q=60;w=60, "tpm";q=6000;w=60, "concurrent";q=4;qu="concurrent-requests", '
        '"tokens-per-day";q=90000;w=86400'
    )
    assert headers["ratelimit"].startswith('"rpm";r=59;t=1, "tpm";r=59')
    assert '"concurrent";r=3, "tokens-per-day";r=89' in headers["ratelimit"]


async def test_streams_and_refusals_tell_it_too(world: World) -> None:
    served = await limited(world, {"models": {"llama3": {"rpm": 1}}})
    stream = await served.ask("POST", CHAT, chat(stream=True, max_tokens=2))
    assert (stream.status, stream.header("x-ratelimit-remaining-requests")) == (200, "0")
    refused = await served.ask("POST", CHAT, chat(stream=True, max_tokens=2))
    assert (refused.status, refused.header("ratelimit")) == (429, '"rpm";r=0;t=60')
    assert "of model llama3: 1" in refused.error["message"]
    assert (await served.chat(model="coder")).header("ratelimit") is None


async def test_without_limits_nothing_is_said(world: World) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    reply = await served.chat(max_tokens=1)
    assert [name for name, _ in reply.headers if "ratelimit" in name] == []


async def test_browsers_may_read_the_headers(world: World) -> None:
    served = await limited(world, {"default": {"rpm": 9}}, cors={"origins": [ORIGIN]})
    reply = await served.ask("POST", CHAT, chat(max_tokens=1), {"origin": ORIGIN})
    exposed = {name.strip() for name in (reply.header("access-control-expose-headers") or "").split(",")}
    assert {name for name, _ in reply.headers if "ratelimit" in name} <= exposed


async def test_clients_without_a_name_count_by_address(world: World) -> None:
    """An IPv6 client has a /64 to itself, so that counts as one."""
    served = await limited(world, {"default": {"rpm": 1}}, **PROXIED)
    addresses = [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.1",
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8:0:1::1",
        "::ffff:192.0.2.2",
    ]
    statuses = [(await asked_from(served, address)).status for address in addresses]
    assert statuses == [200, 200, 429, 200, 429, 200, 429]


async def test_aliases_share_the_limit_of_their_model(world: World) -> None:
    served = await limited(world, {"models": {"coder": {"rpm": 2}}})
    statuses = [(await served.chat(model=model)).status for model in ("coder", "code", "team/code:best")]
    assert statuses == [200, 200, 429]


async def test_tokens_that_were_not_used_come_back(world: World) -> None:
    """The estimate is taken first, and what Ollama counted stays."""
    upstream = await world.upstream(using(30, 70))
    served = await world.gateway([upstream.url], limits={"default": {"tpm": 1000}})
    for left in (900, 800, 700):
        assert (await served.chat(max_tokens=600)).status == 200
        now = (await scraped(served))['limit_remaining{caller="anonymous",limit="tpm"}']
        assert left <= now <= left + 60  # some seconds' worth may have drained


async def test_tokens_beyond_the_estimate_are_a_debt(world: World) -> None:
    upstream = await world.upstream(using(2990, 10))
    served = await world.gateway([upstream.url], limits={"default": {"tpm": 1000}})
    assert (await served.chat(max_tokens=10)).status == 200
    refused = await served.chat(max_tokens=10)
    assert refused.status == 429
    assert "tokens per minute" in refused.error["message"]
    assert (
        119 < int(refused.header("retry-after-ms") or 0) / 1000 < 150
    )  # 3000 tokens are three minutes' worth, and an estimate


async def test_a_call_larger_than_the_limit_runs_when_all_of_it_is_there(world: World) -> None:
    served = await limited(world, {"default": {"tpm": 100}})
    assert (await served.chat("x" * 4000, max_tokens=5000)).status == 200
    assert (await served.chat(max_tokens=1)).status == 429


async def test_a_stream_that_is_cut_pays_for_what_was_passed(world: World) -> None:
    """Fifty tokens were read, though five hundred were reserved."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, *(framed(event("word")) for _ in range(50)))
        await go_on.wait()

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url], limits={"default": {"tpm": 1000}})
    line = await served.begin(chat(stream=True, max_tokens=500))
    await line.head()
    for _ in range(50):
        await line.event()
    line.vanish()
    await served.recorded()
    go_on.set()
    left = (await scraped(served))['limit_remaining{caller="anonymous",limit="tpm"}']
    assert 880 < left < 960


async def test_what_an_endpoint_fails_costs_no_tokens(world: World) -> None:
    async def act(visit: Visit) -> None:
        await visit.say(whole(b'{"error":"broken"}', "500 Internal Server Error"))

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url], limits={"default": {"tpm": 1000, "tokens_per_day": 1000}})
    assert (await served.chat(max_tokens=900)).status == 502
    samples = await scraped(served)
    assert samples['limit_remaining{caller="anonymous",limit="tokens_per_day"}'] == 1000


async def test_a_day_budget_that_is_used_up_is_not_retried(world: World) -> None:
    upstream = await world.upstream(using(40, 60))
    served = await world.gateway([upstream.url], limits={"default": {"tokens_per_day": 100}})
    assert (await served.chat(max_tokens=60)).status == 200
    refused = await served.chat(max_tokens=10)
    assert refused.status == 429
    assert "tokens per day of caller at 127.0.0.1: 100" in refused.error["message"]
    seconds = int(refused.header("retry-after") or 0)
    assert refused.header("x-should-retry") == ("false" if seconds > 3600 else None)


class Holding:
    """An endpoint whose streams go on until they are let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, visit: Visit) -> None:
        """Two events, and between them the wait."""
        await visit.say(SSE_HEAD, framed(event("one")))
        await self.go_on.wait()
        await visit.say(framed(event("", "stop")), framed(DONE), END)


async def begun(served: Served, **more: Any) -> Line:
    """A stream whose first event has come."""
    line = await served.begin(chat(stream=True, max_tokens=5, **more))
    assert (await line.head()).status == 200
    await line.event()
    return line


@pytest.mark.parametrize("way", ["ends", "leaves", "vanishes"])
async def test_a_place_is_free_again_however_a_stream_ends(world: World, way: str) -> None:
    holding = Holding()
    upstream = await world.upstream(holding)
    served = await world.gateway([upstream.url], limits={"default": {"concurrent": 2}}, balancing={"slots": 9})
    first, _second = await begun(served), await begun(served)
    refused = await served.chat()
    assert (refused.status, refused.header("retry-after")) == (429, "1")
    assert "concurrent requests of caller at 127.0.0.1: 2" in refused.error["message"]
    if way == "ends":
        holding.go_on.set()
        await first.rest()
    elif way == "leaves":
        first.leave()
    else:
        first.vanish()
    await served.recorded(2)
    holding.go_on.clear()
    assert (await begun(served)) is not None
    holding.go_on.set()


async def test_a_place_in_the_queue_is_given_back_too(world: World) -> None:
    """A call that waited in vain, or left while waiting, holds nothing any more."""
    holding = Holding()
    upstream = await world.upstream(holding)
    limits = {"models": {"llama3": {"concurrent": 2}}}
    served = await world.gateway([upstream.url], limits=limits, timeouts={"queue": "700ms"})
    await begun(served)
    assert (await served.chat()).error["code"] == "queue_timeout"
    for number in range(3):
        waiting = await served.begin(chat())
        await until(lambda: served.waiting == 1, "it waits")
        waiting.vanish()
        await served.recorded(2 + number)
    assert (await served.chat()).error["code"] == "queue_timeout"
    holding.go_on.set()


async def test_a_new_config_changes_limits_and_keeps_counts(world: World) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    assert (await served.chat(max_tokens=1)).header("ratelimit") is None
    await served.reload(config(simulator.urls, limits={"default": {"rpm": 2}}))
    assert [(await served.chat(max_tokens=1)).status for _ in range(3)] == [200, 200, 429]
    await served.reload(config(simulator.urls, limits={"default": {"rpm": 4}}))
    assert (await served.chat(max_tokens=1)).status == 429  # a whole minute's worth was used
    await served.reload(config(simulator.urls, limits={"default": {"tpm": 100_000}}))
    assert (await served.chat(max_tokens=1)).status == 200
    await served.reload(config(simulator.urls, limits="none"))
    assert (await served.chat(max_tokens=1)).header("ratelimit") is None


async def test_a_config_that_limits_a_model_it_does_not_know_is_refused(world: World) -> None:
    served = await limited(world, {"default": {"rpm": 100}})
    served.write({"models": {"llama3": {}}, "limits": {"models": {"lama3": {"rpm": 1}}}})
    await served.refused()
    health = await served.get("/v1/health")
    assert [reason["path"] for reason in health["config"]["complaints"]] == ["limits.models.lama3"]
    assert (await served.chat(max_tokens=1)).header("x-ratelimit-limit-requests") == "100"


async def test_metrics_tell_who_was_refused_and_what_is_left(world: World) -> None:
    served = await limited(world, {"default": {"rpm": 3}, "models": {"llama3": {"rpm": 1}}})
    for _ in range(3):
        await served.chat(max_tokens=1)
    samples = await scraped(served)
    assert samples['limit_refusals_total{caller="anonymous",limit="model_rpm"}'] == 2
    assert samples['limit_remaining{caller="anonymous",limit="rpm"}'] == 0
    assert samples["limit_gateways"] == 1
    assert samples["limit_fallbacks_total"] == 0


async def test_in_a_cluster_limits_are_divided_by_the_ready_gateways(world: World) -> None:
    """Counted from the Service that the environment names."""
    api = await world.api_server()
    simulator = await world.simulator()
    world.environment = {**world.environment, "AI_GATEWAY_SERVICE": f"{NAMESPACE}/gateway"}
    content = yaml.safe_dump(config(simulator.urls))
    served = await world.gateway_with(content, access=api.access(world.folder))
    endpoints = [{"addresses": [f"10.0.0.{number}"], "targetRef": {"uid": f"uid-{number}"}} for number in range(4)]
    labels = {"kubernetes.io/service-name": "gateway"}
    sliced = {"metadata": {"name": "gateway-x", "labels": labels}, "addressType": "IPv4", "endpoints": endpoints}
    api.put("endpointslices", sliced)
    await served.reload(config(simulator.urls, limits={"default": {"rpm": 8}}))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await scraped(served))["limit_gateways"] != 4:
            assert (await served.chat(max_tokens=1)).status in (200, 429)
    told = await served.chat(max_tokens=1)
    assert told.header("x-ratelimit-limit-requests") == "2"
    while told.status == 200:
        told = await served.chat(max_tokens=1)
    assert "127.0.0.1: 8 (this gateway's share: 2)" in told.error["message"]


async def test_a_key_and_a_rule_bring_limits_of_their_own(world: World, tmp_path: Path) -> None:
    """Also where the config has no others. Two keys of one name are one caller."""
    ring = Ring(tmp_path)
    first, second = (ring.add("alice", limits={"rpm": 3, "concurrent": 9}) for _ in range(2))
    bob, free = ring.add("bob", groups=["slow"]), ring.add("free")
    rules = [{"match": {"group": "slow"}, "limits": {"rpm": 1}}]
    served = await world.gateway((await world.simulator()).urls, auth=ring.auth, callers=rules)

    async def statuses(*keys: str) -> list[int]:
        return [(await served.ask("POST", CHAT, chat(max_tokens=1), bearer(key))).status for key in keys]

    assert await statuses(first, second, first, second, first) == [200, 200, 200, 429, 429]
    assert served.last.outcome.reason is not None
    assert "rpm of caller:keys:alice" in served.last.outcome.reason
    assert await statuses(bob, bob) == [200, 429]
    assert await statuses(*[free] * 9) == [200] * 9
    samples = await scraped(served)
    assert samples['limit_refusals_total{caller="alice",limit="caller_rpm"}'] == 2
    assert samples['limit_remaining{caller="alice",limit="rpm"}'] == 0


async def test_callers_of_a_tenant_share_its_limit(world: World, tmp_path: Path) -> None:
    """Each has the default one beside it, to itself."""
    ring = Ring(tmp_path)
    keys = [ring.add(name, tenant="team-a") for name in ("a", "b", "c")]
    limits = {"default": {"rpm": 2}, "tenants": {"team-a": {"rpm": 5}}}
    served = await world.gateway((await world.simulator()).urls, auth=ring.auth, limits=limits)
    codes = []
    for key in (keys[0], keys[0], keys[0], keys[1], keys[1], keys[2], keys[2]):
        reply = await served.ask("POST", CHAT, chat(max_tokens=1), bearer(key))
        codes.append(reply.status)
    assert codes == [200, 200, 429, 200, 200, 200, 429]
    assert "of tenant team-a: 5" in reply.error["message"]


@pytest.mark.parametrize("tokens", [10**400, 10**15, -(10**400)])
async def test_an_endpoint_that_miscounts_locks_no_caller_out(world: World, tokens: int) -> None:
    """What is no count gives the place back, and takes no tokens that nobody can have used."""

    async def miscount(visit: Visit) -> None:
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": 1}
        await visit.say(whole(answer(usage=usage)))

    upstream = await world.upstream(miscount)
    limits = {"default": {"concurrent": 1, "tpm": 1_000_000}}
    served = await world.gateway([upstream.url], limits=limits)
    assert (await served.chat(max_tokens=1)).status == 200
    reply = await served.chat(max_tokens=1)
    if reply.status == 429:  # a debt of no more than the largest call
        assert float(str(reply.header("retry-after"))) < 20 * 60
        assert "tokens per minute" in reply.error["message"]
