"""An API server that is away, forgets, refuses or hangs: calls go on without an error, and the view is right again
within five seconds after it is back. The gateway is the installed command, its watches last three seconds."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.kubernetes.figures import tell
from tests.kubernetes.load import Load
from tests.kubernetes.objects import documented_roles
from tests.kubernetes.space import Space
from tests.kubernetes.watcher import QUICK
from tests.ollama.gateway import Serving
from tests.ollama.simulated import Simulated
from tests.ollama.talk import until

pytestmark = pytest.mark.cluster

RIGHT_AGAIN_SECONDS = 5.0
LONGER_THAN_A_WATCH_SECONDS = 8.0  # 3 s +-20 % and 2 s of silence

ENOUGH_CALLS = 20

CONFIG: dict[str, Any] = {
    "models": {"llama3": {"ollama": "tiny"}},
    "discovery": {"kubernetes": QUICK},
    "polling": {"interval": "200ms", "models_interval": "500ms", "timeout": "2s"},
    "balancing": {"slots": 8},
}


@pytest.fixture(scope="module")
def ollamas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """The ports of two simulated Ollamas, which stand for pods."""
    folder = tmp_path_factory.mktemp("ollamas")
    simulated = [Simulated(folder / name) for name in ("a", "b")]
    for endpoint in simulated:
        endpoint.start()
    yield [int(endpoint.url.rpartition(":")[2]) for endpoint in simulated]
    for endpoint in simulated:
        endpoint.stop()


class Scene:
    """A gateway under load, over pods `a` (always ready) and `b` (which a test flips)."""

    def __init__(self, gateway: Serving, space: Space, load: Load) -> None:
        self.gateway = gateway
        self.space = space
        self.load = load

    async def health(self) -> dict[str, Any]:
        """What the gateway tells of itself."""
        async with httpx.AsyncClient(base_url=self.gateway.url, trust_env=False) as client:
            content: dict[str, Any] = (await client.get("/v1/health")).json()
            return content

    async def sees(self, *names: str) -> bool:
        """Whether exactly these pods take calls."""
        endpoints = (await self.health())["endpoints"]
        return {endpoint["pod"].partition("/")[2] for endpoint in endpoints} == set(names)

    async def is_failing(self) -> bool:
        """Whether discovery fails."""
        return (await self.health())["discovery"]["complaint"] is not None

    async def flip(self, is_ready: bool) -> None:
        """Pod `b` becomes ready, or not."""
        await asyncio.to_thread(self.space.set_status, "b", is_ready=is_ready)

    async def right_again(self, *names: str) -> float:
        """The seconds until the view is right."""
        began = time.monotonic()
        await until(lambda: self.sees(*names))
        return time.monotonic() - began


@asynccontextmanager
async def scene(space: Space, ollamas: list[int], folder: Path, token_file: Path | None = None) -> AsyncIterator[Scene]:
    """The gateway, found pods, running calls; at the end no call may have failed."""
    for name, port in zip(("a", "b"), ollamas, strict=True):
        await asyncio.to_thread(space.add_pod, name, port, env={"OLLAMA_NUM_PARALLEL": "8"})
    kubeconfig = space.kubeconfig(folder, token_file)
    gateway = Serving(folder, CONFIG, ["--kubeconfig", str(kubeconfig)])
    gateway.start()
    try:
        load = Load(gateway.url)
        set_up = Scene(gateway, space, load)
        await until(lambda: set_up.sees("a", "b"))
        async with load:
            yield set_up
            await until(lambda: _has_answered(load), 30)
    finally:
        gateway.stop()
    assert load.failures == []


async def test_an_api_server_that_is_killed_empties_nothing(
    fragile_space: Space, ollamas: list[int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It is away for longer than a watch lasts."""
    plane = fragile_space.plane
    async with scene(fragile_space, ollamas, tmp_path) as now:
        await asyncio.to_thread(plane.kill_apiserver)
        await until(now.is_failing)
        await asyncio.sleep(LONGER_THAN_A_WATCH_SECONDS)
        assert await now.sees("a", "b")
        health = await now.health()
        assert health["gateway"] == "ok"
        assert health["discovery"]["age_seconds"] >= LONGER_THAN_A_WATCH_SECONDS - 1
        plane.start_apiserver()  # in the main thread, whose end would end it
        await now.flip(is_ready=False)
        lag = await now.right_again("a")
        await until(lambda: _is_content(now))
    tell(request, f"view right {lag:.2f} s after the API server was back, {now.load.answered} calls")
    assert lag < RIGHT_AGAIN_SECONDS


async def test_a_version_that_was_compacted_away_is_listed_anew(
    fragile_space: Space, ollamas: list[int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """410: the list takes the place of what was known, and nothing is empty in between."""
    plane = fragile_space.plane
    async with scene(fragile_space, ollamas, tmp_path) as now:
        plane.compact_etcd()
        await now.flip(is_ready=False)
        lag = await now.right_again("a")
        await now.flip(is_ready=True)
        await now.right_again("a", "b")
    tell(request, f"view right {lag:.2f} s after the API server was back, {now.load.answered} calls")
    assert lag < RIGHT_AGAIN_SECONDS


async def test_rights_that_are_revoked_and_given_back(
    fragile_space: Space, ollamas: list[int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The pods that were known stay; the log names the verb, once."""
    (role,) = (role for role in documented_roles() if "pods" in role["rules"][0]["resources"])
    async with scene(fragile_space, ollamas, tmp_path) as now:
        await asyncio.to_thread(fragile_space.revoke, role)
        await until(now.is_failing)
        await now.flip(is_ready=False)
        assert await now.sees("a", "b")
        await asyncio.to_thread(fragile_space.grant, role)
        lag = await now.right_again("a")
    tell(request, f"view right {lag:.2f} s after the rights were back, {now.load.answered} calls")
    assert lag < RIGHT_AGAIN_SECONDS
    assert now.gateway.log.read_text().count("does not allow the gateway to watch pods") == 1


async def test_a_token_that_is_rotated_is_read_anew(
    fragile_space: Space, ollamas: list[int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The old one is worth nothing any more: a request with it gets 401."""
    token_file = tmp_path / "token"
    async with scene(fragile_space, ollamas, tmp_path, token_file) as now:
        new = await asyncio.to_thread(fragile_space.new_account)
        await until(now.is_failing)  # 401 with the old token, which still stands in the file
        token_file.write_text(new)
        await now.flip(is_ready=False)
        lag = await now.right_again("a")
        await until(lambda: _is_content(now))
    tell(request, f"view right {lag:.2f} s after the new token was there, {now.load.answered} calls")
    assert lag < RIGHT_AGAIN_SECONDS


async def test_an_api_server_that_hangs_is_noticed(
    fragile_space: Space, ollamas: list[int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Its connections stay open and silent: the watch is given up when it should have ended long ago."""
    plane = fragile_space.plane
    async with scene(fragile_space, ollamas, tmp_path) as now:
        plane.pause_apiserver()
        try:
            began = time.monotonic()
            await until(now.is_failing)
            noticed = time.monotonic() - began
            assert await now.sees("a", "b")
        finally:
            plane.resume_apiserver()
        await now.flip(is_ready=False)
        lag = await now.right_again("a")
    tell(request, f"noticed after {noticed:.1f} s, view right {lag:.2f} s after it went on, {now.load.answered} calls")
    assert lag < RIGHT_AGAIN_SECONDS


async def _has_answered(load: Load) -> bool:
    return load.answered > ENOUGH_CALLS or bool(load.failures)


async def _is_content(now: Scene) -> bool:
    return not await now.is_failing()
