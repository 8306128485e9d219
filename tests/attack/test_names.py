"""A model by every name it has: limits, rights, caps and pools go with it, whatever it is called."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.attack.command import serving
from tests.attack.table import Tried
from tests.flow.scraping import of, scraped
from tests.flow.test_access import Ring, bearer
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat, config

from ai_gateway.accounting.audit_status import audit_status

HELD = ("llama3:latest", "llama3:8b", "codellama:13b", "nomic-embed-text:latest", "Me/Own:Q4_K_M", "gpt-oss:120b-cloud")
DISCOVER = {"catalog": {"discover": True}}
# Everything that Ollama itself would read as one of these.
OF_LLAMA3 = (
    *("llama3:latest", "LLAMA3", "Llama3:Latest", "library/llama3", "library/llama3:latest", "LIBRARY/LLAMA3"),
    *("registry.ollama.ai/library/llama3", "Registry.Ollama.AI/Library/Llama3:LATEST"),
)
OF_CODER = ("CODER", "coder:13b", "code:13B", "library/coder", "TEAM/code:BEST", "Code")
BY_OLLAMA = ("codellama:13b", "CodeLlama:13B", "library/codellama:13b", "registry.ollama.ai/library/codellama:13b")


async def over_all(world: World, **sections: Any) -> Served:
    simulator = await world.simulator(models=HELD)
    return await world.gateway(simulator.urls, **sections)


async def status(served: Served, model: str, **more: Any) -> int:
    return (await served.chat(model=model, max_tokens=1, **more)).status


@pytest.mark.attack("numbers", "a limited model, by every other spelling of its name")
@pytest.mark.parametrize("discover", [False, True])
async def test_no_spelling_gets_round_a_limit(world: World, tried: Tried, discover: bool) -> None:
    """Neither with discovery nor without."""
    limits = {"models": {"llama3": {"rpm": 1}, "coder": {"rpm": 1}}}
    served = await over_all(world, limits=limits, catalog={"discover": discover})
    assert [await status(served, model) for model in ("llama3", "coder")] == [200, 200]
    asked = [*OF_LLAMA3, *OF_CODER, *(BY_OLLAMA if discover else ())]
    tried.times = len(asked)
    assert {model: await status(served, model) for model in asked} == dict.fromkeys(asked, 429)


@pytest.mark.attack("numbers", "the cap of a model, by every other spelling of its name")
async def test_no_spelling_gets_round_a_cap(world: World, tried: Tried) -> None:
    """Without `max_tokens` the model's own is sent."""
    served = await over_all(world, **DISCOVER)
    asked = ("coder", *OF_CODER, *BY_OLLAMA)
    tried.times = len(asked)
    for model in asked:
        reply = await served.ask("POST", CHAT, chat(model=model))
        assert (reply.status, reply.json["usage"]["completion_tokens"], reply.json["model"]) == (200, 7, model)
        assert served.last.ids.model == "codellama:13b"
    labels = set(of(await scraped(served), "picks_total"))
    assert all('model="coder"' in one for one in labels)


@pytest.mark.attack("numbers", "a model that is not for the caller, by every other spelling of its name")
async def test_no_spelling_gets_round_a_right(world: World, tried: Tried, tmp_path: Path) -> None:
    """404, as for one that is not there; the list does not show it either."""
    ring = Ring(tmp_path)
    key = ring.add("ann", models=["coder"])
    served = await over_all(world, auth=ring.auth, **DISCOVER)
    refused = ("llama3", *OF_LLAMA3, "llama3:8b", "me/own:q4_k_m", "Me/Own:Q4_K_M", "gpt-oss:120b-cloud")
    served_ones = ("coder", *OF_CODER, *BY_OLLAMA)
    tried.times = 2 * (len(refused) + len(served_ones))
    for models, wanted in ((refused, 404), (served_ones, 200)):
        for model in models:
            reply = await served.ask("POST", CHAT, chat(model=model, max_tokens=1), bearer(key))
            shown = await served.ask("GET", f"/v1/models/{model}", headers=bearer(key))
            assert (model, reply.status, shown.status) == (model, wanted, wanted)
    listed = (await served.ask("GET", "/v1/models", headers=bearer(key))).json["data"]
    assert [one["id"] for one in listed] == ["coder", "code", "team/code:best", "codellama:13b"]


@pytest.mark.attack("numbers", "a rule with patterns, for a model with many names")
@pytest.mark.parametrize("pattern", ["coder", "code", "team/*", "codellama:13b", "codellama*", "*:13b"])
async def test_a_rule_fits_a_model_by_any_name(world: World, tmp_path: Path, pattern: str) -> None:
    """Then by all of its names: what is allowed is the model."""
    ring = Ring(tmp_path)
    key = ring.add("ann", models=[pattern])
    served = await over_all(world, auth=ring.auth)
    for model, wanted in (("coder", 200), ("CODE", 200), ("team/code:best", 200), ("llama3", 404), ("embed", 404)):
        reply = await served.ask("POST", CHAT, chat(model=model, max_tokens=1), bearer(key))
        assert (model, reply.status) == (model, wanted)


@pytest.mark.attack("numbers", "an id with a version: no other tag means it")
async def test_a_version_is_the_only_tag(world: World, tried: Tried) -> None:
    models = {"llama3": {"version": "8b"}, "dated": {"ollama": "llama3", "version": "latest"}}
    served = await over_all(world, models=models)
    found = {"llama3": 200, "llama3:8b": 200, "LLAMA3:8B": 200, "library/llama3:8b": 200, "dated:latest": 200}
    lost = dict.fromkeys(("llama3:latest", "llama3:70b", "llama3:", "llama3:8b:8b", "llama3:8b ", "x/llama3:8b"), 404)
    tried.times = len(found) + len(lost)
    for model, wanted in (found | lost).items():
        assert (model, await status(served, model)) == (model, wanted)


@pytest.mark.attack("numbers", "names that look alike: other scripts, full width, dots and slashes")
@pytest.mark.parametrize("discover", [False, True])
async def test_a_name_that_only_looks_like_one_is_unknown(world: World, tried: Tried, discover: bool) -> None:
    """Case is folded in ASCII alone: the Kelvin sign would become a `k`."""
    served = await over_all(world, models={"kimi": {"ollama": "llama3"}}, catalog={"discover": discover})
    asked = [
        "\u212aimi",
        "k\u0131mi",
        "\uff4bimi",
        "kim\u0456",
        "kimi\u200b",
        "./kimi",
        "library//kimi",
        "/kimi",
        "kimi/",
    ]
    asked += [
        "library/library/kimi",
        "http://registry.ollama.ai/library/kimi",
        "kimi:cloud",
        "kimi:latest-cloud",
        "kimi\n",
    ]
    tried.times = len(asked)
    assert {model: await status(served, model) for model in asked} == dict.fromkeys(asked, 404)
    assert await status(served, "KIMI") == 200


@pytest.mark.attack("numbers", "names of the cloud, where models are discovered")
async def test_a_cloud_name_is_never_discovered(world: World, tried: Tried) -> None:
    served = await over_all(
        world, models={"llama3": {}, "big": {"ollama": "gpt-oss", "version": "120b-cloud"}}, **DISCOVER
    )
    asked = (
        "gpt-oss:120b-cloud",
        "GPT-OSS:120B-Cloud",
        "llama3:cloud",
        "llama3:8b-cloud",
        "library/gpt-oss:120b-cloud",
    )
    tried.times = len(asked)
    assert {model: await status(served, model) for model in asked} == dict.fromkeys(asked, 404)


@pytest.mark.attack("numbers", "limits under Ollama's name, an alias or another spelling")
@pytest.mark.parametrize("name", ["coder", "code", "CODER:13b", "codellama:13b", "Me/Own:Q4_K_M", "me/own:q4_k_m"])
async def test_limits_hold_under_any_name(world: World, name: str) -> None:
    """Where models are discovered, the section may name each of them as it likes."""
    served = await over_all(world, limits={"models": {name: {"rpm": 1}}}, **DISCOVER)
    names = ("Me/Own:Q4_K_M",) * 2 if "own" in name.lower() else ("coder", "codellama:13b")
    assert [await status(served, model) for model in names] == [200, 429]


@pytest.mark.attack("numbers", "5,000 names that nobody has, where models are discovered")
async def test_unknown_names_leave_nothing(world: World, tried: Tried) -> None:
    """No pool, no label, no entry of the catalog."""
    served = await over_all(world, **DISCOVER)
    rng = random.Random(5)
    before = len(list(served.gateway.fleet.pools()))
    tried.times = 300
    for _ in range(tried.times):
        assert await status(served, f"{rng.choice(('', 'x/', 'library/'))}m{rng.randrange(10**9)}:v1") == 404
    assert len(list(served.gateway.fleet.pools())) == before
    catalog = served.gateway.current.now.catalog
    for number in range(5000):
        assert catalog.find(f"n{number}:x", served.gateway.fleet) is None
    assert len(catalog._discovered) <= len(HELD)
    models = {labels for labels in of(await scraped(served), "requests_total") if "m" in labels}
    assert len(models) <= 3


@pytest.mark.attack("numbers", "two ids of one Ollama model with different caps, asked by Ollama's name")
async def test_ollamas_name_means_the_first_id(world: World) -> None:
    """A caller who may use only the second has no way to the first."""
    models = {"big": {"ollama": "llama3", "max_tokens": 9}, "small": {"ollama": "llama3", "max_tokens": 3}}
    served = await over_all(world, models=models, limits={"models": {"big": {"rpm": 1}}}, **DISCOVER)
    reply = await served.ask("POST", CHAT, chat(model="llama3:latest"))
    assert (reply.status, reply.json["usage"]["completion_tokens"]) == (200, 9)
    assert await status(served, "llama3") == 429
    assert await status(served, "small") == 200


@pytest.mark.attack("numbers", "ids that are equal but for case: check, and a running gateway")
async def test_equal_ids_are_warned_of(world: World) -> None:
    """Neither is refused."""
    models = {"llama3": {}, "Llama3": {"ollama": "codellama", "version": "13b"}}
    simulator = await world.simulator(models=HELD)
    async with serving(world.folder, config(simulator.urls, models=models)) as command:
        await command.ready()
        assert "any other spelling finds 'llama3'" in command.log
        for asked, model in (("llama3", "llama3:latest"), ("Llama3", "codellama:13b"), ("LLAMA3", "llama3:latest")):
            shown = await command.ask("GET", f"/v1/models/{asked}")
            assert json.loads(shown.body)["ollama"] == model


@pytest.mark.attack("numbers", "day budgets of a model over a restart, by other spellings of its name")
async def test_a_restart_knows_all_spellings(world: World) -> None:
    """One that is discovered, too, though no endpoint has listed its models yet."""
    limits = {"models": {"llama3": {"tokens_per_day": 500}, "me/own:q4_k_m": {"tokens_per_day": 500}}}
    first = await over_all(world, limits=limits, **DISCOVER)
    used = 0
    for model in ("LLAMA3", "library/llama3", "Me/Own:Q4_K_M"):
        reply = await first.chat(model=model, max_tokens=5)
        used = reply.json["usage"]["total_tokens"]
    await until(lambda: audit_status(first.gateway.audit)["queued"] == 0, "the entries are stored")
    second = await over_all(world, limits=limits, **DISCOVER)
    for model, times in (("llama3", 2), ("Me/Own:Q4_K_M", 1)):
        reply = await second.chat(model=model, max_tokens=1)
        left = int(reply.header("x-ratelimit-remaining-tokens") or 0)
        assert 500 - times * used - 40 <= left < 500 - times * used
