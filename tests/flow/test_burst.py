"""Many pods that come at once cost the calls nothing: what the event loop does for them is a moment."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.fake_api import FakeApi, reach, serving
from tests.cost import TRIES
from tests.flow.waiting import PATIENCE_SECONDS, until

from ai_gateway.app import Gateway
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.cluster.change_notice import SETTLE_SECONDS
from ai_gateway.discovery.runner import STEP_ENDPOINTS
from ai_gateway.options import Options

PODS = 500
MOST_SECONDS = 0.1
TICK_SECONDS = 0.02  # rarely: a test's own turns of the loop are counted too, and a thousand of them cost 0.1 s
NOBODY = 9  # the discard port: who polls there is refused
OLLAMA = {"name": "ollama", "ports": [{"name": "http", "containerPort": NOBODY}]}
READY = {"type": "Ready", "status": "True"}


def add_pods(api: FakeApi, seconds: float = 0.0) -> None:
    """As many, and each as long, as those of a large namespace: half of a pod is what nobody reads."""
    for number in range(PODS):
        time.sleep(seconds / PODS)
        ip = f"127.1.{number // 250}.{number % 250 + 1}"
        meta = {"uid": f"uid-{number}", "managedFields": [{"fieldsV1": "x" * 3000}]}
        status = {"phase": "Running", "podIP": ip, "conditions": [READY]}
        api.put("ai", f"ollama-{number}", {"metadata": meta, "spec": {"containers": [OLLAMA]}, "status": status})


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as server:
        yield server


@asynccontextmanager
async def following(api: FakeApi, folder: Path) -> AsyncIterator[Gateway]:
    """A gateway without its ports. What it logs is not written: a test's capture costs more than a real log."""
    logging.getLogger("ai_gateway").setLevel(logging.ERROR)
    access = reach(api, folder).access
    (folder / "config.yml").write_text("models: {llama3: }")
    gateway = Gateway(Options(folder / "config.yml", {}, access=access))
    try:
        async with gateway.following_config(), gateway.running():
            yield gateway
    finally:
        logging.getLogger("ai_gateway").setLevel(logging.NOTSET)


class Loop:
    """The CPU that the event loop's thread uses, in seconds: other threads and processes do not count."""

    def __init__(self) -> None:
        self._began = 0.0
        self.used = 0.0
        self.longest = 0.0  # without a turn of any other task

    async def __aenter__(self) -> "Loop":
        gc.collect()
        gc.freeze()  # as `serve` does: what the tests hold is no part of the gateway
        self._began = time.thread_time()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.used = time.thread_time() - self._began
        self._ticking.cancel()
        gc.unfreeze()

    async def _tick(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(TICK_SECONDS)
            self.longest = max(self.longest, time.thread_time() - before)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of the fleet after each change of it, as they come."""
    changes: list[int] = []
    apply = Fleet.apply

    def counted(fleet: Fleet, *arguments: Any) -> Any:
        done = apply(fleet, *arguments)
        changes.append(len(fleet.endpoints))
        return done

    monkeypatch.setattr(Fleet, "apply", counted)
    return changes


async def all_followed(gateway: Gateway) -> None:
    """Each is an endpoint, and the task that looks after it has taken its first step."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(gateway.fleet.endpoints) != PODS:  # noqa: ASYNC110 - each look is counted, too: they are few
            await asyncio.sleep(TICK_SECONDS)
    await asyncio.sleep(0)


async def assert_cheap(attempt: Callable[[], Awaitable[Loop]]) -> None:
    """One of some attempts costs less than a tenth of a second, and holds the loop up for half of that at most."""
    loops: list[Loop] = []
    while not loops or loops[-1].used >= MOST_SECONDS or loops[-1].longest >= MOST_SECONDS / 2:
        assert len(loops) < TRIES, [(loop.used, loop.longest) for loop in loops]
        loops.append(await attempt())


@pytest.fixture(autouse=True)
def _no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come after that, so many a second; here they are put off, or a slow machine would count some of them."""
    monkeypatch.setattr("ai_gateway.upstream.polling.AT_ONCE", 0)
    monkeypatch.setattr("ai_gateway.upstream.polling.MOST_PER_SECOND", 0.01)


async def test_a_list_of_500_pods_costs_the_loop_less_than_a_tenth_of_a_second(api: FakeApi, tmp_path: Path) -> None:
    """All of it, from nothing to 500 endpoints that are looked after; it is not held up for half of that at a time."""
    add_pods(api)

    async def attempt() -> Loop:
        async with Loop() as loop, following(api, tmp_path) as gateway:
            await all_followed(gateway)
        return loop

    await assert_cheap(attempt)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
async def test_500_pods_that_come_as_events_cost_the_loop_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Those that come together are taken up together, and those that come over a second in a few steps."""
    changes = counting(monkeypatch)

    async def attempt() -> Loop:
        with serving() as api:
            async with following(api, tmp_path) as gateway:
                await until(lambda: gateway.discovery.status().lists == 1)
                changes.clear()
                began_at = time.monotonic()
                async with Loop() as loop:
                    await asyncio.to_thread(add_pods, api, seconds)
                    await all_followed(gateway)
                took = time.monotonic() - began_at
        steps = PODS / STEP_ENDPOINTS  # a list that brings many is put in force in steps, between which calls go on
        assert 1 <= len(changes) <= took / SETTLE_SECONDS + 1 + steps
        return loop

    await assert_cheap(attempt)
