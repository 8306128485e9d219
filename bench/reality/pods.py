"""Three real Ollamas with room for one model each, and gateways before them."""

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from tests.ollama.real import Ollama
from tests.ollama.store import HEAVY, heavy_store, link

from bench.reality.before import Place, gateway_before
from bench.reality.replay import replay
from bench.reality.trace import Arrival
from bench.simulate.measures import quantile

PODS: Final = 3
LOOK_SECONDS: Final = 0.1
COLD_SECONDS: Final = 0.25  # between two times that the files are made cold

Way = str  # a policy, or "service": each call to a pod at random, as through a plain Service


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run gave."""

    waits: tuple[float, ...]  # sorted seconds to the first token
    loads: int

    @property
    def p50(self) -> float:
        """Their median."""
        return quantile(self.waits, 0.5)

    @property
    def p95(self) -> float:
        """Their 95th percentile."""
        return quantile(self.waits, 0.95)


class Pods:
    """The Ollamas of all runs. Each run begins with nothing loaded, and with a gateway that has learned nothing."""

    def __init__(self, folder: Path, ollamas: Sequence[Ollama]) -> None:
        self._folder = folder
        self._ollamas = ollamas
        self._blobs = list((folder / "pod-0" / "models" / "blobs").iterdir())  # the others are links to them

    def run(self, way: Way, arrivals: Sequence[Arrival], seed: int) -> Outcome:
        """Replays a trace in one way."""
        self._unload()
        before = self._loads()
        replay = self._past if way == "service" else self._through
        waits = asyncio.run(replay(way, arrivals, seed))
        return Outcome(tuple(sorted(waits)), self._loads() - before)

    async def _past(self, _: Way, arrivals: Sequence[Arrival], seed: int) -> list[float]:
        """Each call to a pod at random, as kube-proxy chooses one for each connection."""
        rng = random.Random(seed)
        urls = [rng.choice(self._ollamas).url for _ in arrivals]
        return await self._replay(arrivals, urls)

    async def _through(self, policy: str, arrivals: Sequence[Arrival], _: int) -> list[float]:
        """All calls to a gateway."""
        place = Place([ollama.url for ollama in self._ollamas], places=1, slots=1, models=HEAVY)
        async with gateway_before(place, policy, self._folder) as url:
            return await self._replay(arrivals, [url] * len(arrivals))

    async def _replay(self, arrivals: Sequence[Arrival], urls: Sequence[str]) -> list[float]:
        cooling = asyncio.create_task(self._cool())
        try:
            return await replay(arrivals, urls)
        finally:
            cooling.cancel()

    async def _cool(self) -> None:
        """Makes each load read its file anew, as where the files exceed the memory of the node."""
        while True:
            await asyncio.to_thread(self._forget_files)
            await asyncio.sleep(COLD_SECONDS)

    def _forget_files(self) -> None:
        for blob in self._blobs:
            with blob.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _loads(self) -> int:
        return sum(ollama.loads for ollama in self._ollamas)

    def _unload(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            for ollama in self._ollamas:
                loaded = client.get(f"{ollama.url}/api/ps").json()["models"]
                for one in loaded:
                    client.post(f"{ollama.url}/api/generate", json={"model": one["name"], "keep_alive": 0})


@contextmanager
def running(folder: Path) -> Iterator[Pods]:
    """The pods, until the block is left."""
    store = heavy_store()
    ollamas = []
    for number in range(PODS):
        link(store, folder / f"pod-{number}" / "models")
        ollamas.append(Ollama(folder / f"pod-{number}", max_loaded=1))
    try:
        for ollama in ollamas:
            ollama.start()
        yield Pods(folder, ollamas)
    finally:
        for ollama in ollamas:
            ollama.stop()
