"""The smallest world with a whole gateway in it: on loopback, over simulated or hand-made endpoints."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.flow.kubernetes_api import KubernetesApi
from tests.flow.line import Line, Reply
from tests.flow.upstream import Act, Upstream
from tests.flow.waiting import PATIENCE_SECONDS, soon, until

from ai_gateway.app import Gateway
from ai_gateway.cli.serve import lead
from ai_gateway.cluster.access import Access
from ai_gateway.cluster.config_map import ConfigMapRef
from ai_gateway.exchange import Exchange
from ai_gateway.options import Options, ProcessHooks
from ai_gateway.server import FramingLimits, ServerCallbacks, ServerSettings, Shutdown
from ai_gateway.simulator import Settings, Simulator
from ai_gateway.telemetry.settings import TelemetrySettings
from ai_gateway.telemetry.tracing import Tracing

CHAT = "/v1/chat/completions"
MODELS: Mapping[str, Any] = {
    "llama3": {},
    "coder": {"ollama": "codellama", "version": "13b", "max_tokens": 7, "aliases": ["code", "team/code:best"]},
    "embed": {"ollama": "nomic-embed-text"},
}
NO_OLLAMA = {"OLLAMA_HOST": "127.0.0.1:9"}
QUICK = {"tokens_per_second": 0.0, "prefill_tokens_per_second": 0.0, "load_seconds": 0.0}


def chat(text: str = "hello world", model: str = "llama3", **more: Any) -> bytes:
    """The body of a chat call."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


def config(urls: Sequence[Any], **more: Any) -> dict[str, Any]:
    """A config that is quick to notice, and patient with a busy machine; `more` replaces or adds sections."""
    polling = {"interval": "60ms", "models_interval": "120ms", "timeout": "20s", "residents_timeout": "20s"}
    timeouts = {"connect": "20s", **more.pop("timeouts", {})}
    sections = {"discovery": {"static": list(urls)}, "polling": polling, "timeouts": timeouts}
    return {"models": dict(MODELS), **sections, **more}


@dataclass
class Served:
    """A running gateway."""

    gateway: Gateway
    path: Path
    exchanges: list[Exchange] = field(default_factory=list)
    shutdown: Shutdown = field(default_factory=Shutdown)
    lines: list[Line] = field(default_factory=list)
    port: int = 0
    admin_port: int = 0

    async def open(self, receive_bytes: int | None = None) -> Line:
        """A new connection to the API; at the end of the test it is closed."""
        line = await Line.open(self.port, receive_bytes)
        self.lines.append(line)
        return line

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """A whole answer, on a connection of its own."""
        line = await self.open()
        try:
            await line.send(method, path, body, headers)
            return await soon(line.head() if method == "HEAD" else line.reply())
        finally:
            line.leave()

    async def chat(self, text: str = "hello world", **more: Any) -> Reply:
        """The answer to a chat call."""
        return await self.ask("POST", CHAT, chat(text, **more))

    async def begin(self, body: bytes, path: str = CHAT, headers: Mapping[str, str] | None = None) -> Line:
        """A connection on which a call was sent."""
        line = await self.open()
        await line.send("POST", path, body, headers)
        return line

    async def get(self, path: str) -> Any:
        """The JSON at a path; it must be 200."""
        reply = await self.ask("GET", path)
        assert reply.status == 200, reply.body
        return reply.json

    async def probe(self, path: str) -> Reply:
        """The admin port's answer."""
        line = await Line.open(self.admin_port)
        await line.send("GET", path)
        reply = await line.reply()
        line.leave()
        return reply

    async def readiness(self, status: int = 200) -> None:
        """Returns when /readyz answers with a status."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self.probe("/readyz")).status != status:  # noqa: ASYNC110 - a client sees no event of it
                await asyncio.sleep(0.005)

    def write(self, content: Mapping[str, Any] | str) -> None:
        """Changes config.yml, as an editor does."""
        text = content if isinstance(content, str) else yaml.safe_dump(dict(content), sort_keys=False)
        new = self.path.with_suffix(".new")
        new.write_text(text)
        # Its times tell that it was moved here: within one tick of the kernel's clock nobody could see that, and an
        # exchange that may be a file made anew is looked at a moment longer.
        os.utime(new, (time.time(), time.time() - 1))
        new.replace(self.path)

    async def refused(self) -> None:
        """Returns once the gateway has refused its config.yml."""
        await until(lambda: self.gateway.live.reasons, "the config refused")

    async def reload(self, content: Mapping[str, Any]) -> None:
        """Changes config.yml and waits until it is in force."""
        before = self.gateway.current.now
        self.write(content)
        await until(lambda: self.gateway.current.now is not before, "the new config in force")

    def endpoint(self, address: str) -> Any:
        """What the balancer knows of an endpoint."""
        for found in (*self.gateway.fleet.endpoints.values(), *self.gateway.fleet.leaving):
            if found.address.authority == address:
                return found
        raise AssertionError(f"{address} is not in the fleet")

    async def loaded(self, model: str = "llama3:latest") -> None:
        """Returns when every endpoint has the model loaded, as `resident` in the config may ask for."""
        endpoints = self.gateway.fleet.endpoints.values()
        await until(lambda: all(endpoint.is_resident(model) for endpoint in endpoints), f"{model} is loaded")

    @property
    def in_flight(self) -> int:
        """Slots that are taken now, anywhere."""
        fleet = self.gateway.fleet
        return sum(endpoint.total_in_flight for endpoint in (*fleet.endpoints.values(), *fleet.leaving))

    @property
    def waiting(self) -> int:
        """Calls in the queues."""
        return sum(pool.waiting for pool in self.gateway.fleet.pools())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held by any call."""
        budget, buffers = self.gateway.fleet.budget, self.gateway.buffers
        return not (self.in_flight or self.waiting or budget.active or budget.retries or buffers.held_bytes)

    @property
    def last(self) -> Exchange:
        """The record of the call that ended last."""
        return self.exchanges[-1]

    async def recorded(self, count: int = 1) -> Exchange:
        """The record of the `count`th call to /v1 POST routes."""

        def posts() -> list[Exchange]:
            return [exchange for exchange in self.exchanges if exchange.method == "POST"]

        await until(lambda: len(posts()) >= count, f"{count} finished calls")
        return posts()[count - 1]


class World:
    """Makes gateways and endpoints for one test, and ends them in the right order."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.telemetry = TelemetrySettings()  # of gateways that are made from then on
        self.tracing: Tracing | None = None
        self._stack = stack
        # Of gateways that are made from then on, too; what they keep stays in the test's folder.
        self.environment = {**NO_OLLAMA, "XDG_STATE_HOME": str(folder / "state")}

    async def simulator(self, count: int = 1, **settings: Any) -> Simulator:
        """Simulated endpoints that answer at once, unless the settings say otherwise."""
        return await self._stack.enter_async_context(Simulator(Settings(**{**QUICK, **settings}), count=count))

    async def upstream(self, act: Act, **more: Any) -> Upstream:
        """A hand-made endpoint."""
        upstream = Upstream(act, **more)
        await upstream.start()
        self._stack.push_async_callback(upstream.stop)
        return upstream

    async def gateway(self, urls: Sequence[Any], *, is_ready: bool = True, **sections: Any) -> Served:
        """A gateway over these endpoints, ready; `sections` are those of config.yml."""
        return await self.gateway_with(yaml.safe_dump(config(urls, **sections), sort_keys=False), is_ready=is_ready)

    async def gateway_with(
        self, content: str, *, is_ready: bool = True, access: Access | None = None, **settings: Any
    ) -> Served:
        """A gateway with exactly this config.yml; `access` leads to an API server where its pods are."""
        path = self.folder / "config.yml"
        path.write_text(content)
        options = Options(path, self.environment, access=access or Access(), telemetry=self.telemetry)
        served = await self._stack.enter_async_context(_serving(options, path, settings, self.tracing))
        if is_ready:
            await served.readiness()
        return served

    async def api_server(self) -> KubernetesApi:
        """A Kubernetes API server; a gateway's `access` leads there."""
        api = KubernetesApi()
        await api.start()
        self._stack.push_async_callback(api.stop)
        return api

    async def gateway_beside(
        self, access: Access, config_map: ConfigMapRef, stand_in: Path | None = None, **settings: Any
    ) -> Served:
        """A gateway whose config is in a ConfigMap of the API server that `access` leads to; not waited for.

        A file that stands in is its config until the ConfigMap is read.
        """
        options = Options(stand_in, self.environment, access=access, config_map=config_map)
        return await self._stack.enter_async_context(_serving(options, self.folder, settings))


@asynccontextmanager
async def _serving(
    options: Options, path: Path, settings: dict[str, Any], tracing: Tracing | None = None
) -> AsyncIterator[Served]:
    listening = asyncio.Event()
    exchanges: list[Exchange] = []
    shutdown = Shutdown()
    gateway = Gateway(options, ProcessHooks(readers=(exchanges.append,), tracing=tracing, leave=shutdown.begin))
    served = Served(gateway, path, exchanges, shutdown)

    def on_listening(api: tuple[str, ...], admin: tuple[str, ...]) -> None:
        served.port, served.admin_port = (int(urls[0].rpartition(":")[2]) for urls in (api, admin))
        listening.set()

    callbacks = ServerCallbacks(
        on_listening=on_listening,
        leaving=gateway.leave,
        shutdown_streams=gateway.running_requests.end_all,
        refused=lambda status, code, _: gateway.refused(status, code),
        shutdown=shutdown,
    )
    usual: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "grace_seconds": 0.0,
        "limits": FramingLimits(sweep_seconds=0.02),
    }
    chosen = ServerSettings(**{**usual, **settings})
    running = asyncio.create_task(lead(gateway, lambda _: chosen, callbacks))
    await until(lambda: listening.is_set() or running.done(), "the gateway listens")
    try:
        yield served
        for line in served.lines:
            line.vanish()
        await until(lambda: served.is_idle, "nothing is held by any call any more")
    finally:
        for line in served.lines:
            line.vanish()
        served.shutdown.request()
        served.shutdown.request()
        await running
