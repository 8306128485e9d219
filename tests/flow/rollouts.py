"""Simulated endpoints whose models follow a config, and what a test asks of them."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml
from tests.flow.kubernetes_api import KubernetesApi
from tests.flow.test_reports import beside, join
from tests.flow.waiting import PATIENCE_SECONDS, until
from tests.flow.world import Served, World, chat, config

from ai_gateway.simulator import Simulator
from ai_gateway.simulator.endpoint import Endpoint
from ai_gateway.simulator.store import valid_name
from ai_gateway.wire.made_names import key_of, read_made

WRITES = frozenset({"/api/pull", "/api/copy", "/api/create", "/api/delete"})
V1, V2 = ({"ollama": "coder", "version": version, "pull": "if_missing"} for version in ("v1", "v2"))


async def installed(
    world: World, count: int = 1, *, names: Sequence[str] = ("coder:v1",), **settings: Any
) -> Simulator:
    """Endpoints that have v1 of the model, as somebody put it there; each other version can be pulled."""
    usual = {"models": names, "registry": ("coder",), "remembered_requests": 100_000, "pull_bytes_per_second": 0.0}
    return await world.simulator(count, **{**usual, "load_seconds": 0.05, "slots": 4, **settings})


async def following(world: World, simulator: Simulator, coder: Mapping[str, Any] | None, **sections: Any) -> Served:
    """A gateway whose config has this model alone."""
    return await world.gateway(simulator.urls, models=models(coder), **sections)


def models(coder: Mapping[str, Any] | None) -> dict[str, Any]:
    """The section `models`; None: the model was taken out."""
    return {} if coder is None else {"coder": dict(coder)}


async def edit(
    served: Served | Iterable[Served], simulator: Simulator, coder: Mapping[str, Any] | None, **sections: Any
) -> None:
    """Changes the config of gateways, and waits until it is in force at all of them."""
    content = config(simulator.urls, models=models(coder), **sections)
    await asyncio.gather(*(one.reload(content) for one in ([served] if isinstance(served, Served) else served)))


def asked(simulator: Simulator, *paths: str) -> list[tuple[str, Any]]:
    """The requests to some paths, with their bodies, endpoint by endpoint."""
    return [
        (request.path, json.loads(request.body))
        for endpoint in simulator.endpoints
        for request in endpoint.ledger.last
        if request.path in paths
    ]


def pulls(simulator: Simulator) -> list[str]:
    """What was asked to be pulled, with repetitions."""
    return [body["model"] for _, body in asked(simulator, "/api/pull")]


def loads(simulator: Simulator) -> int:
    """How often something was loaded, by whomever."""
    return sum(endpoint.pod.leasing.scheduler.loads for endpoint in simulator.endpoints)


def cold(simulator: Simulator) -> int:
    """How many calls found no runner of theirs."""
    return sum(endpoint.ledger.cold for endpoint in simulator.endpoints)


def made(endpoint: Endpoint) -> list[str]:
    """The names on a disk that a gateway made."""
    return [model.name.short for model in endpoint.pod.store.listed() if read_made(model.name.short) is not None]


def on_disk(endpoint: Endpoint) -> set[str]:
    """All names on a disk."""
    return {model.name.short for model in endpoint.pod.store.listed()}


def digest_of(simulator: Simulator, tag: str) -> str:
    """Of what the registry has under a tag now."""
    return simulator.endpoints[0].pod.store.describe(valid_name(tag)).digest


def key_at(served: Served) -> str:
    """Of the model, as a gateway knows it."""
    return key_of(served.gateway.reconciler.owner, "coder")


def serving(served: Served) -> dict[str, str]:
    """By endpoint, the name that a call would get there."""
    key = key_at(served)
    return {one.address.authority: one.residency.name_for(key) for one in served.gateway.fleet.endpoints.values()}


def is_on(served: Served, simulator: Simulator, tag: str) -> bool:
    """Whether each endpoint would serve the content that the registry has under a tag, by a made name, loaded."""
    digest = digest_of(simulator, tag)[:12]
    found = [read_made(name) for name in serving(served).values()]
    return all(name is not None and name.digest == digest for name in found) and is_loaded(served)


def is_loaded(served: Served) -> bool:
    """Whether each endpoint has what it would serve loaded."""
    key = key_at(served)
    return all(one.is_resident(key) for one in served.gateway.fleet.endpoints.values())


async def switched(served: Served, simulator: Simulator, tag: str) -> None:
    """Returns when calls get a version on all endpoints, loaded."""
    await until(lambda: is_on(served, simulator, tag), f"{tag} is served everywhere, not {serving(served)}")


async def told(served: Served, is_so: Callable[[Any], object]) -> Any:
    """What the API says of the model, once that is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so(shown := await served.get("/v1/models/coder")):  # noqa: ASYNC110 - a client sees no event
            await asyncio.sleep(0.01)
    return shown


async def warm(served: Served, simulator: Simulator) -> None:
    """Loads what is served on each endpoint, as calls do: `resident` would be a load of the gateway's own."""
    for endpoint in simulator.endpoints:
        name = serving(served)[endpoint.address]
        await direct(endpoint, name)
    await until(lambda: is_loaded(served), "all have it loaded")


async def direct(endpoint: Endpoint, name: str) -> None:
    """Loads a name, as somebody else than the gateway would."""
    reader, writer = await asyncio.open_connection(*endpoint.address.rsplit(":", 1))
    body = json.dumps({"model": name}).encode()
    head = f"POST /api/generate HTTP/1.1\r\nhost: {endpoint.address}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    assert b" 200 " in await reader.readline()
    writer.close()


class Stream:
    """Calls that come one after the other on several connections, until it is ended; each must go well."""

    def __init__(self, served: Sequence[Served], width: int = 4) -> None:
        self.statuses: list[int] = []
        self._is_over = False
        self._tasks = [asyncio.create_task(self._run(served[number % len(served)])) for number in range(width)]

    async def _run(self, served: Served) -> None:
        line = await served.open()
        while not self._is_over:
            await line.send("POST", "/v1/chat/completions", chat(model="coder", max_tokens=3, stream=True))
            reply = await line.reply()
            is_whole = reply.events[-1:] == ["data: [DONE]"]
            self.statuses.append(reply.status if is_whole or reply.status != 200 else 0)

    async def end(self) -> set[int]:
        """What the calls were answered, those that run included."""
        self._is_over = True
        await asyncio.gather(*self._tasks)
        return set(self.statuses)


async def three(
    world: World, simulator: Simulator, coder: Mapping[str, Any] | None, **sections: Any
) -> tuple[KubernetesApi, list[Served]]:
    """Two gateways of one Service, the first of which leads, and a third that only follows, as a sidecar does."""
    api = await world.api_server()
    sections = {"models": models(coder), **sections}
    served = [await beside(world, api, uid, simulator.urls, **sections) for uid in ("a", "b")]
    for uid, one in zip(("a", "b"), served, strict=True):
        join(api, uid, one.admin_port)
    first, second = served
    await until(lambda: first.gateway.fleet.decides and not second.gateway.fleet.decides, "they agree who leads")
    served.append(await beside(world, api, "sidecar", simulator.urls, **sections))
    return api, served


def text(simulator: Simulator, coder: Mapping[str, Any] | None, **sections: Any) -> str:
    """A config.yml."""
    return yaml.safe_dump(config(simulator.urls, models=models(coder), **sections))
