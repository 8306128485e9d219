"""The worlds: how many pods of which kind, how many models, and what calls arrive. All numbers stand here."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Era = Literal["0.33", "0.24"]


@dataclass(frozen=True, slots=True)
class Crash:
    """A pod is gone from `at` on for `seconds`, and comes back with nothing loaded."""

    pod: int
    at: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One world. Times are seconds, rates a second of all calls together."""

    name: str
    models: int
    calls_per_second: float
    pods: int = 8
    places: int = 2  # OLLAMA_MAX_LOADED_MODELS
    slots: int = 4  # OLLAMA_NUM_PARALLEL
    load_seconds: float = 12.0  # median of a load, lognormal
    load_sigma: float = 0.35
    keep_alive_seconds: float = 300.0
    tokens_per_second: float = 40.0  # of a call that is alone on its pod
    prefill_tokens_per_second: float = 1500.0
    slow_pods: int = 0  # so many of them, the last ones, are slower
    slowness: float = 3.0
    crowding: float = 0.2  # how much each further call slows every call of a pod
    gateways: int = 1
    era: Era = "0.33"
    seconds: float = 1500.0
    warm_up_seconds: float = 120.0  # calls that arrive in this time are not counted
    is_loaded: bool = False  # every model is resident everywhere from the start, and stays
    crashes: tuple[Crash, ...] = ()
    burst: tuple[float, float, float] | None = None  # from, to, and by how much more arrives
    impatient: float = 0.0  # the share of calls whose client leaves if it waits too long
    patience_seconds: float = 8.0  # median of these
    embeddings_per_second: float = 0.0  # beside the calls
    max_waiting: int = 1 << 30  # `queue.max_waiting` of gateways that bound their queues
    queue_seconds: float = math.inf  # `timeouts.queue` of these
    callers: tuple[tuple[str, float], ...] = (("one", 1.0),)  # names and their shares of the sessions


WORLDS: Final = {
    world.name: world
    for world in (
        World(name="A", models=1, calls_per_second=2.4, places=1),
        World(name="B", models=2, calls_per_second=2.8),
        World(name="C", models=6, calls_per_second=1.6),
        World(name="D", models=10, calls_per_second=0.6, pods=4, load_seconds=30.0),
        World(name="E", models=10, calls_per_second=1.6, load_seconds=30.0),
    )
}


def _one_slot(world: World) -> World:
    return replace(world, slots=1, calls_per_second=world.calls_per_second / 4)


def _slow_half(world: World) -> World:
    return replace(world, slow_pods=world.pods // 2, calls_per_second=world.calls_per_second * 0.65)


def _greedy(world: World) -> World:
    return replace(world, callers=(("light", 1.0), ("greedy", 10.0)), calls_per_second=world.calls_per_second * 1.6)


def _limits(world: World) -> World:
    """The limits of a gateway without a config."""
    return replace(world, max_waiting=100, queue_seconds=30.0)


def _overload(world: World) -> World:
    return replace(_limits(world), calls_per_second=world.calls_per_second * 5)


def _crash(world: World) -> World:
    return replace(world, crashes=(Crash(0, 500.0, 60.0), Crash(1, 900.0, 60.0)))


VARIANTS: Final[Mapping[str, Callable[[World], World]]] = {
    "one-slot": _one_slot,
    "slow-half": _slow_half,
    "one-place": lambda world: replace(world, places=1),
    "three-places": lambda world: replace(world, places=3),
    "three-gateways": lambda world: replace(world, gateways=3),
    "five-gateways": lambda world: replace(world, gateways=5),
    "old-era": lambda world: replace(world, era="0.24"),
    "crash": _crash,
    "burst": lambda world: replace(world, burst=(600.0, 720.0, 3.0)),
    "cancels": lambda world: replace(world, impatient=0.2),
    "embeddings": lambda world: replace(world, embeddings_per_second=world.calls_per_second / 2),
    "greedy": _greedy,
    "limits": _limits,
    "overload": _overload,
}


def varied(world: World, names: tuple[str, ...]) -> World:
    """A world with variants applied, which its name then has."""
    for name in names:
        world = replace(VARIANTS[name](world), name=f"{world.name} {name}")
    return world
