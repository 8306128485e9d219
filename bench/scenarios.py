"""The scenarios, and what one run of one of them against one server yields."""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.build import BenchError
from bench.processes import resident_kb, wait_until_quiet
from bench.targets import Server

Sample = dict[str, float]  # by name of the figure; what could not be measured is not in it


@dataclass(frozen=True, slots=True)
class Scenario:
    """`amount`: connections (closed), requests a second (open) or streams, each of `pace` events a second."""

    name: str
    title: str
    mode: str
    amount: int
    pace: int = 0
    needs_fresh_process: bool = False
    litellm: Literal["too", "never", "only"] = "never"  # only: what it can carry, run when it takes part


SCENARIOS = (
    Scenario("one", "1 connection", "closed", 1, litellm="too"),
    Scenario("many", "32 connections", "closed", 32, litellm="too"),
    Scenario("paced", "100 streams, 20 chunks/s each", "streams", 100, 20),
    Scenario("few", "10 streams, 20 chunks/s each", "streams", 10, 20, litellm="only"),
    Scenario("knee", "500 streams, 50 chunks/s each", "streams", 500, 50),
    Scenario("open", "open loop, 500 requests/s", "open", 500),
    Scenario("fresh", "fresh process, 500 idle streams", "streams", 500, 1, True, litellm="too"),
)


@dataclass(frozen=True, slots=True)
class Load:
    """The load generator, the stub whose work counts as its own, and how long it asks."""

    loadgen: Path
    stub_pid: int
    seconds: float
    warm_seconds: float = 0.4


def measure(load: Load, scenario: Scenario, port: int, pids: Sequence[int]) -> Sample:
    """`pids` are the processes whose CPU time counts; none for the way without a gateway."""
    command = [str(load.loadgen), scenario.mode, str(port), str(scenario.amount), str(load.seconds)]
    command += [str(load.warm_seconds), "-u", str(load.stub_pid)]
    if scenario.pace:
        command += ["-p", str(scenario.pace)]
    for pid in pids:
        command += ["-w", str(pid)]
    wait_until_quiet(pids)
    done = subprocess.run(command, capture_output=True, text=True, timeout=load.seconds + 60, check=False)
    if done.returncode != 0:
        raise BenchError(f"the load generator gave up: {done.stderr}")
    return _sample(json.loads(done.stdout), scenario, bool(pids))


def _sample(seen: dict[str, float], scenario: Scenario, has_pids: bool) -> Sample:
    sample = {
        "failed": seen["failed"],
        "unfinished": seen["unfinished"],
        "harness_busy_percent": seen["own_cpu_ns"] / seen["seconds"] / 1e7,
    }
    if seen["failed"]:
        print(f"  {seen['failed']} failed, the first: {seen['first_failure']}")
    if seen["arrived"] == 0:
        return sample
    if seen["timed"]:
        sample["p50_ms"] = seen["p50_us"] / 1000
        sample["p99_ms"] = seen["p99_us"] / 1000
    sample["per_second"] = seen["arrived"] / seen["seconds"]
    if scenario.mode != "closed":
        sample["delivered_percent"] = 100 * seen["in_time"] / seen["expected"]
    if has_pids:
        sample["cpu_us"] = seen["cpu_ns"] / seen["arrived"] / 1000
        if scenario.needs_fresh_process and seen["streams_open"] == scenario.amount:
            sample["stream_kb"] = (seen["rss_after_kb"] - seen["rss_before_kb"]) / scenario.amount
    return sample


def measure_fresh(load: Load, scenario: Scenario, server: Server) -> Sample:
    """A process that has just started: its start, its memory at rest, and what an open stream adds to it."""
    time.sleep(0.5)
    idle_kb = resident_kb(server.pids)
    warm = Load(load.loadgen, load.stub_pid, seconds=0.3, warm_seconds=0.0)
    measure(warm, SCENARIOS[0], server.port, server.pids)
    short = Load(load.loadgen, load.stub_pid, seconds=1.0, warm_seconds=0.2)
    sample = measure(short, scenario, server.port, server.pids)
    fresh = {
        "failed": sample["failed"],
        "unfinished": sample["unfinished"],
        "harness_busy_percent": sample["harness_busy_percent"],
        "ready_ms": server.ready_seconds * 1000,
        "idle_mb": idle_kb / 1024,
    }
    if "stream_kb" in sample:
        fresh["stream_kb"] = sample["stream_kb"]
    return fresh
