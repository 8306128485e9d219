"""What a step costs, told so that it holds on a machine that does other work too."""

import gc
import time
from collections.abc import Callable

TRIES = 5  # what else runs makes each of them dearer, and none cheaper


def assert_cheap(step: Callable[[], object], seconds: float) -> None:
    """One of some tries takes less CPU of this thread than that."""
    costs: list[float] = []
    while not costs or costs[-1] >= seconds:
        assert len(costs) < TRIES, f"it may cost {seconds:g} s of CPU, and has cost {costs}"
        costs.append(_cpu_seconds(step))


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
