"""The divided world twice: over simulated endpoints in a process of their own, and as the simulation predicts it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests.ollama.process import Server
from tests.ports import free_port

from bench.reality.before import Place, gateway_before
from bench.reality.clients import PATIENCE_SECONDS, Clients
from bench.reality.divided import divided
from bench.simulate.measures import measure, quantile
from bench.simulate.policies import POLICIES
from bench.simulate.simulation import simulate
from bench.simulate.traffic import Trace


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds to the first token of the calls after the warm-up, and all loads."""

    calls: int
    p50: float
    p95: float
    loads: int


class Endpoints(Server):
    """`ai-gateway simulate` with the pods of a world."""

    def __init__(self, trace: Trace, folder: Path) -> None:
        world, port = trace.world, free_port(trace.world.pods)
        options = {
            "endpoints": world.pods,
            "listen": f"127.0.0.1:{port}",
            "models": ",".join(model.name for model in trace.models),
            "tokens-per-second": world.tokens_per_second,
            "prefill-tokens-per-second": world.prefill_tokens_per_second,
            "load-seconds": world.load_seconds,
            "slots": world.slots,
            "max-loaded": world.places,
            "context-length": 131072,
            "answer-tokens": 2000,  # the calls' own limits are what ends their answers
            "version": "0.33.0",
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        super().__init__([str(Path(sys.executable).with_name("ai-gateway")), "simulate", *flags], port, folder, {})
        self.urls = [f"http://127.0.0.1:{port + number}" for number in range(world.pods)]

    def loads(self) -> int:
        """How many loads there were."""
        states = [httpx.get(f"{url}/simulator/state", trust_env=False).json() for url in self.urls]
        return sum(state["loads"] for state in states)


def predicted(seed: int) -> Figures:
    """As the simulation has it, with the gateway's own scheduler."""
    measures = measure(simulate(divided(seed), POLICIES["shipped"].recipe))
    return Figures(measures.calls, measures.p50, measures.p95, measures.loads)


async def lived(seed: int, folder: Path) -> Figures:
    """As processes have it."""
    trace = divided(seed)
    endpoints = Endpoints(trace, folder / "endpoints")
    endpoints.start()
    try:
        names = [model.name for model in trace.models]
        place = Place(endpoints.urls, trace.world.places, trace.world.slots, names)
        async with (
            gateway_before(place, "warm", folder) as url,
            httpx.AsyncClient(
                base_url=url, trust_env=False, timeout=PATIENCE_SECONDS, limits=httpx.Limits(max_connections=None)
            ) as http,
        ):
            seen = await Clients(trace, http).run()
        counted = sorted(one.wait for one in seen if one.arrived_at >= trace.world.warm_up_seconds)
        return _figures(counted, endpoints.loads())
    finally:
        endpoints.stop()


def _figures(waits: Sequence[float], loads: int) -> Figures:
    return Figures(len(waits), quantile(waits, 0.5), quantile(waits, 0.95), loads)


def table(predicted: Figures, lived: Figures) -> str:
    """Markdown."""
    rows = [
        f"| {name} | {one.calls} | {one.p50:.3f} | {one.p95:.3f} | {one.loads} |"
        for name, one in (("the simulation", predicted), ("processes", lived))
    ]
    return "\n".join(["| world C, divided | calls | p50 | p95 | loads |", "|---|---|---|---|---|", *rows])
