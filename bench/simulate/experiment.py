"""Every policy in every world with every seed, in one process or several."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import process_time

from bench.simulate.measures import Measures, measure
from bench.simulate.policies import POLICIES
from bench.simulate.simulation import simulate
from bench.simulate.traffic import draw
from bench.simulate.worlds import World


@dataclass(frozen=True, slots=True)
class Task:
    """A world and a seed: one trace, which all policies get."""

    world: World
    seed: int
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The measures of a task by policy, and the CPU seconds of its runs."""

    task: Task
    measures: Mapping[str, Measures]
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Results:
    """All measures: by world and policy, in the order of the seeds."""

    seeds: tuple[int, ...]
    measures: Mapping[tuple[str, str], Sequence[Measures]]
    runs: int
    cpu_seconds: float

    def values(self, world: str, policy: str, figure: Callable[[Measures], float]) -> list[float]:
        """One figure of each seed."""
        return [figure(one) for one in self.measures[world, policy]]


def perform(task: Task) -> Done:
    """Draws the trace, and runs it under each policy."""
    begin = process_time()
    trace = draw(task.world, task.seed)
    measures: dict[str, Measures] = {}
    for name in task.policies:
        row = POLICIES[name]
        world = row.world(task.world)
        own = trace if world is task.world else draw(world, task.seed)
        measures[name] = measure(simulate(own, row.recipe))
    return Done(task, measures, process_time() - begin)


def performed(tasks: Sequence[Task], processes: int) -> Iterator[Done]:
    """Performs tasks in order, some at a time."""
    if processes == 1:
        yield from map(perform, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(perform, tasks)


def experiment(
    worlds: Sequence[World], policies: Sequence[str], seeds: Sequence[int], processes: int, tell: Callable[[str], None]
) -> Results:
    """Runs them all; `tell` gets a line for each task."""
    tasks = [Task(world, seed, tuple(policies)) for world in worlds for seed in seeds]
    measures: dict[tuple[str, str], list[Measures]] = {}
    cpu_seconds = 0.0
    for done in performed(tasks, processes):
        cpu_seconds += done.cpu_seconds
        for name, one in done.measures.items():
            measures.setdefault((done.task.world.name, name), []).append(one)
        waits = ", ".join(f"{name} {one.p95:.1f}" for name, one in done.measures.items())
        tell(f"{done.task.world.name}, seed {done.task.seed}: {waits}")
    return Results(tuple(seeds), measures, len(tasks) * len(policies), cpu_seconds)
