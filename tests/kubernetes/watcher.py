"""The gateway's own parts in the test's process: what discovery knows, to the millisecond."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import yaml

from ai_gateway.app import Gateway
from ai_gateway.cluster.access import Access
from ai_gateway.cluster.config_map import ConfigMapRef
from ai_gateway.options import Options

QUICK = {"watch_timeout": "3s", "read_timeout": "2s"}


@asynccontextmanager
async def watching(
    folder: Path,
    kubeconfig: Path,
    config: Mapping[str, Any] | None,
    config_map: ConfigMapRef | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway without its ports, that follows what the test names."""
    path = None
    if config is not None:
        path = folder / "config.yml"
        path.write_text(yaml.safe_dump(dict(config)))
    access = Access(str(kubeconfig), service_account=folder / "none")
    gateway = Gateway(Options(path, dict(environment or {}), access=access, config_map=config_map))
    async with gateway.following_config(), gateway.running():
        yield gateway


def config(**kubernetes: Any) -> dict[str, Any]:
    """A config that finds pods; polls are slow, since few of these pods have an Ollama in them."""
    models: dict[str, Any] = {"llama3": {}}
    polling = {"interval": "5s", "models_interval": "30s", "timeout": "1s"}
    return {"models": models, "polling": polling, "discovery": {"kubernetes": {**QUICK, **kubernetes}}}


def names(gateway: Gateway) -> set[str]:
    """The pods that take calls now."""
    return {endpoint.pod.name for endpoint in gateway.fleet.endpoints.values() if endpoint.pod is not None}


@contextmanager
def heap_of_tests_set_aside() -> Iterator[None]:
    """What a long run of tests holds is not looked through by the collector, as `serve` does with its own start: it is
    no part of the gateway, and takes a quarter of a second."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Blocked:
    """How long the event loop was kept from other work, in seconds: the most CPU that it used between two looks of a
    ticker that wants to look each millisecond. CPU and not time, since other processes take time too."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._ticking: asyncio.Task[None] | None = None
        self._heap = heap_of_tests_set_aside()

    async def __aenter__(self) -> "Blocked":
        self._heap.__enter__()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._heap.__exit__(None, None, None)
        if self._ticking is not None:
            self._ticking.cancel()

    async def _tick(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.thread_time() - before)
