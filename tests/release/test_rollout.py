"""An edit of the ConfigMap rolls a new version out to real Ollama pods while applications stream through two gateways.

Models come from a real registry on this machine. Nothing fails and nothing waits for a load, also while the API server
is away; if the gateway that writes is killed, the other one goes on.
"""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.kubernetes.figures import tell
from tests.kubernetes.talkers import Talkers
from tests.ollama import registry as registries
from tests.ollama.registry import Publisher, Registry
from tests.release.installed import NAME, Installed
from tests.release.test_rolling import gateway_process

pytestmark = pytest.mark.cluster

MODELS = f"{NAME}-models"
LAYERS = "layers"
PODS = 3
CALLERS, STREAM_TOKENS = 4, 60


@pytest.fixture
def publisher(release: Installed, tmp_path: Path) -> Iterator[Publisher]:
    """A registry that pods reach, with two versions of a model."""
    registries.installed()
    shop = Registry(tmp_path / "registry", release.cluster.host_address, _layers_at(release, 80))
    _layers_at(release, shop.layers.port)
    publisher = Publisher(tmp_path / "publisher", shop)
    try:
        shop.start()
        publisher.start()
        for version, weights in (("v1", "A"), ("v2", "B")):
            publisher.publish(f"{shop.name('coder')}:{version}", weights)
        yield publisher
    finally:
        publisher.stop()
        shop.stop()


def _layers_at(release: Installed, port: int) -> str:
    """Ollama wants layers from another host than the registry: a Service whose one endpoint is this machine, too.

    Returns its address, which pods and this machine reach.
    """
    labels = {"kubernetes.io/service-name": LAYERS}
    service = {"metadata": {"name": LAYERS}, "spec": {"ports": [{"port": port}]}}
    endpoints = {
        "metadata": {"name": LAYERS, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port}],
        "endpoints": [{"addresses": [release.cluster.host_address], "conditions": {"ready": True}}],
    }
    release.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Service", **service}))
    slices = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **endpoints}
    release.kubectl("apply", "-f", "-", input=json.dumps(slices))
    return str(release.get("service", LAYERS)["spec"]["clusterIP"])


def install(release: Installed, publisher: Publisher) -> None:
    """Empty Ollama pods and two gateways, which bring the first version there and load it everywhere."""
    release.cluster.start_ollama(
        "ollama", release.namespace, replicas=PODS, slots=4, grace_seconds=10, models="/tmp/models"
    )
    host = publisher.registry.host
    coder = {"ollama": publisher.registry.name("coder"), "version": "v1", "resident": PODS}
    config = {"models": {"coder": coder}, "reconcile": {"registries": [host], "insecure_registries": [host]}}
    sets = [word for key, value in config.items() for word in ("--set-json", f"config.{key}={json.dumps(value)}")]
    release.install("--set", "replicaCount=2", "--set", "config.audit.allow_unauthenticated_reads=true", *sets)
    release.until(lambda: len(_loaded(shown(release.url))) == PODS and shown(release.url)["in_place"])


def shown(url: str) -> dict[str, Any]:
    """What a gateway tells of the model."""
    told: dict[str, Any] = httpx.get(f"{url}/v1/models/coder", trust_env=False, timeout=20).json()
    return told


def _loaded(told: dict[str, Any]) -> list[str]:
    """The names that calls get on endpoints where these are loaded."""
    return [one["serves"] for one in told.get("versions", ()) if one["is_loaded"]]


def edit(release: Installed, folder: Path, was: str, now: str) -> None:
    """`kubectl edit`, with a program for an editor."""
    editor = folder / "editor"
    editor.write_text(f"#!/bin/sh\nsed -i 's/{was}/{now}/' \"$1\"\n")
    editor.chmod(0o755)
    release.edit(MODELS, editor)


def gateways(release: Installed) -> dict[str, str]:
    """The URL of each gateway pod."""
    return {name: f"http://{pod['status']['podIP']}:8080" for name, pod in release.pods().items()}


def leader(urls: dict[str, str]) -> str:
    """The pod of the gateway that writes."""
    told = {
        name: httpx.get(f"{url}/v1/health", trust_env=False, timeout=20).json()["reconcile"]
        for name, url in urls.items()
    }
    (name,) = (name for name, one in told.items() if one["writes"])
    return name


def cold_calls(release: Installed) -> list[dict[str, Any]]:
    """The access lines of calls that were sent where their version was not loaded, of gateways that are still there."""
    lines = [line for name in release.pods() for line in release.kubectl("logs", name).splitlines()]
    read = [json.loads(line) for line in lines if line.startswith("{")]
    return [one for one in read if one.get("path") == "/v1/chat/completions" and one.get("warm") is False]


async def follows(url: str, before: set[str]) -> None:
    """Until a gateway says that other versions than before are in place everywhere, and loaded."""

    def has_followed() -> bool:
        told = shown(url)
        loaded = _loaded(told)
        return bool(told["in_place"]) and len(loaded) == PODS and not before & set(loaded)

    for _ in range(240):
        if await asyncio.to_thread(has_followed):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(await asyncio.to_thread(shown, url))


def talk(*urls: str) -> list[Talkers]:
    """Applications that stream and call through each of these gateways."""
    talkers = [Talkers(url, "coder") for url in urls]
    for one in talkers:
        one.begin_stream_after_stream(CALLERS, STREAM_TOKENS)
        one.begin_calls(1, 0.1)
    return talkers


async def ended(talkers: list[Talkers]) -> tuple[int, list[str]]:
    """How many answers there were, and what failed."""
    for one in talkers:
        await one.close()
    failed = [word for one in talkers for word in one.failures]
    failed += [stream.error for one in talkers for stream in one.streams if stream.error]
    return sum(one.answered + len(one.streams) for one in talkers), failed


async def test_an_edit_rolls_a_version_out_under_streams_also_while_the_api_server_is_away(
    release: Installed, publisher: Publisher, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A bad edit changes nothing; then a good one, and back again while the API server is away; Events tell of it."""
    await asyncio.to_thread(install, release, publisher)
    urls = await asyncio.to_thread(gateways, release)
    first = set(_loaded(await asyncio.to_thread(shown, release.url)))
    talkers = talk(*urls.values())
    await asyncio.gather(*(one.go_on() for one in talkers))

    await asyncio.to_thread(edit, release, tmp_path, "version: v1", "verson: v2")
    await release.soon(lambda: "ConfigRejected" in _reasons(release))
    await asyncio.gather(*(one.go_on() for one in talkers))
    assert set(_loaded(await asyncio.to_thread(shown, release.url))) == first

    await asyncio.to_thread(edit, release, tmp_path, "verson: v2", "version: v2")
    await follows(release.url, first)
    second = set(_loaded(await asyncio.to_thread(shown, release.url)))
    await release.soon(lambda: "ModelReady" in _reasons(release))

    await asyncio.to_thread(edit, release, tmp_path, "version: v2", "version: v1")
    url = next(iter(urls.values()))
    await release.soon(lambda: shown(url)["state"] == "updating" or not second & set(_loaded(shown(url))))
    with release.cluster.without_api():
        await follows(url, second)
    await asyncio.gather(*(one.go_on() for one in talkers))
    answers, failed = await ended(talkers)
    cold = await asyncio.to_thread(cold_calls, release)
    tell(request, f"{answers} answers over two rollouts, {len(failed)} failed, {len(cold)} cold")
    assert failed == []
    assert cold == []


async def test_if_the_gateway_that_writes_is_killed_the_other_one_goes_on(
    release: Installed, publisher: Publisher, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In the middle of a pull: calls through the other gateway notice nothing."""
    await asyncio.to_thread(install, release, publisher)
    urls = await asyncio.to_thread(gateways, release)
    first = set(_loaded(await asyncio.to_thread(shown, release.url)))
    victim = await asyncio.to_thread(leader, urls)
    (other,) = (url for name, url in urls.items() if name != victim)
    talkers = talk(other)
    await talkers[0].go_on()
    await asyncio.to_thread(publisher.registry.limit, 100_000)
    await asyncio.to_thread(edit, release, tmp_path, "version: v1", "version: v2")
    await release.soon(lambda: bool(shown(urls[victim]).get("progress")))
    os.kill(gateway_process(victim), signal.SIGKILL)
    await asyncio.to_thread(publisher.registry.limit, None)
    await follows(other, first)
    await talkers[0].go_on()
    answers, failed = await ended(talkers)
    cold = await asyncio.to_thread(cold_calls, release)
    tell(request, f"{answers} answers through the other gateway, {len(failed)} failed, {len(cold)} cold")
    assert failed == []
    assert cold == []


def _reasons(release: Installed) -> set[str]:
    """Of the Events of the ConfigMap."""
    found = release.get("events", "--field-selector", f"involvedObject.name={MODELS}")["items"]
    return {event["reason"] for event in found}
