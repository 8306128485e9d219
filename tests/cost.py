"""What a step costs, told so that it holds on a machine that does other work too."""

import gc
import json
import time
from collections.abc import Callable

TRIES = 5  # what else runs makes each of them dearer, and none cheaper
WORK_SECONDS = 0.020  # what `_work` takes on the machine for which bounds are written


def assert_cheap(step: Callable[[], object], seconds: float) -> None:
    """One of some tries takes less CPU of this thread than that; see `slowness`."""
    costs: list[float] = []
    while not costs or (costs[-1] >= seconds and costs[-1] >= seconds * slowness()):
        assert len(costs) < TRIES, f"it may cost {seconds:g} s of CPU, and has cost {costs}"
        costs.append(_cpu_seconds(step))


def slowness() -> float:
    """How many times slower this machine is now than the one for which bounds are written; at least 1.

    Virtual machines share cores and caches with others: for minutes the same work may take half as long again.
    """
    return max(1.0, least_cpu_seconds(_work) / WORK_SECONDS)


def _work() -> None:
    """A bit of everything that the gateway does: texts, numbers, dicts, JSON, sorting."""
    seen = {str(number): number * 3 % 7 for number in range(20_000)}
    json.loads(json.dumps(seen))
    sorted(seen, key=seen.__getitem__)


def least_cpu_seconds(step: Callable[[], object]) -> float:
    """CPU of this thread: the least of some tries."""
    return min(_cpu_seconds(step) for _ in range(TRIES))


def _cpu_seconds(step: Callable[[], object]) -> float:
    """The heap of the tests is set aside, as `serve` does with its own: no collection of it is counted."""
    gc.freeze()
    try:
        began = time.thread_time()
        step()
        return time.thread_time() - began
    finally:
        gc.unfreeze()
