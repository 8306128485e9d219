"""Two gateways over one real Ollama, each a process of its own: the one that decides on loads is killed amid a load."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from tests.flow.kubernetes_api import NAMESPACE, KubernetesApi
from tests.flow.test_reports import join
from tests.flow.waiting import until
from tests.ollama.gateway import Serving
from tests.ollama.real import Ollama
from tests.ollama.store import link, seeded_store
from tests.ollama.talk import ask, chat
from tests.ollama.talk import until as until_true
from tests.tools.build_ollama import binary_path

pytestmark = pytest.mark.ollama

PATIENCE_SECONDS = 60.0  # ten times what it takes here
TRIES = 3  # a load may be over before it is seen
LEADER, OTHER = "a", "b"  # uids: the first one decides
WARM = ask("warm", max_tokens=4, temperature=0)
COLD = ask("cold", max_tokens=2, temperature=0)
LOADING = "loading slow:latest"  # as a gateway's log says that it does


class Pair(NamedTuple):
    """Both gateways, their Ollama, and a client of the gateway that is not killed."""

    leader: Serving
    other: Serving
    ollama: Ollama
    client: httpx.AsyncClient


@asynccontextmanager
async def two_gateways(folder: Path) -> AsyncIterator[Pair]:
    """They are told of themselves what the chart tells them, and have heard each other."""
    api = KubernetesApi()
    await api.start()
    try:
        with ExitStack() as stack:
            ollama = stack.enter_context(running(folder / "ollama"))
            leader, other = (gateway_of(uid, folder / uid, api, ollama) for uid in (LEADER, OTHER))
            for uid, gateway in ((LEADER, leader), (OTHER, other)):
                stack.callback(gateway.stop)
                gateway.listen()
                join(api, uid, int(gateway.admin_url.rpartition(":")[2]))
            async with httpx.AsyncClient(base_url=other.url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
                pair = Pair(leader, other, ollama, client)
                await until_true(partial(are_led, pair), PATIENCE_SECONDS)
                yield pair
    finally:
        await api.stop()


@contextmanager
def running(folder: Path) -> Iterator[Ollama]:
    """An Ollama that nobody else uses."""
    link(seeded_store(), folder / "models")
    ollama = Ollama(folder)
    try:
        ollama.start()
        yield ollama
    finally:
        ollama.stop()


def gateway_of(uid: str, folder: Path, api: KubernetesApi, ollama: Ollama) -> Serving:
    """One of the gateways; it is not started."""
    folder.mkdir(parents=True)
    kubeconfig = api.access(folder).kubeconfig
    assert kubeconfig is not None
    config: dict[str, Any] = {
        "models": {"warm": {"ollama": "tiny"}, "cold": {"ollama": "slow"}},
        "discovery": {"static": [ollama.url]},
        "polling": {"interval": "200ms", "models_interval": "500ms"},
    }
    named = {"AI_GATEWAY_PEERS_SERVICE": f"{NAMESPACE}/gateway", "AI_GATEWAY_POD_UID": uid}
    return Serving(folder, config, ["--kubeconfig", kubeconfig], named)


async def are_led(pair: Pair) -> bool:
    """Whether both know that the first one decides."""
    wanted = ("ok", LEADER, ["fresh"])
    return await told_by(pair, pair.leader) == wanted == await told_by(pair, pair.other)


async def told_by(pair: Pair, gateway: Serving) -> tuple[Any, ...] | None:
    """What its health says of Ollama, of who decides, and of the other gateway."""
    try:
        told = (await pair.client.get(f"{gateway.url}/v1/health")).json()
    except httpx.TransportError:
        return None
    return told["ollama"], told["loads"]["leader"], [other["state"] for other in told["gateways"]["others"]]


async def answered(client: httpx.AsyncClient) -> int:
    """Three calls for the model that is not loaded, all at once: how many; each must be answered."""
    return len(await asyncio.gather(*(chat(client, COLD) for _ in range(3))))


async def go_on(client: httpx.AsyncClient, is_over: asyncio.Event) -> int:
    """Calls for the model that is loaded, one after the other: how many; each must be answered."""
    count = 0
    while not is_over.is_set():
        await chat(client, WARM)
        count += 1
    return count


async def is_killed_amid_a_load(pair: Pair) -> bool:
    """Kills the leader once the other one knows that it loads a second model; False if that load was over by then.

    The process that reads the model is held still, so the load does not end before Ollama has given it up.
    """
    ollama, others = pair.ollama, pair.ollama.runners
    await until(lambda: ollama.loads == 2, "the leader loads", PATIENCE_SECONDS)
    reading = ollama.runners - others
    for runner in reading:
        os.kill(runner, signal.SIGSTOP)
    try:
        await until_true(partial(is_announced, pair), PATIENCE_SECONDS)
        assert LOADING not in pair.other.log.read_text()
        pair.leader.kill()
        await until(lambda: ollama.failed_embeds or is_loaded(ollama), "the load ends", PATIENCE_SECONDS)
    finally:
        for runner in reading:
            with suppress(ProcessLookupError):  # Ollama has killed it
                os.kill(runner, signal.SIGCONT)
    return not is_loaded(ollama)


async def is_announced(pair: Pair) -> bool:
    """Whether the other one knows of the load, or the load is over."""
    told = (await pair.client.get("/v1/health")).json()
    return bool(told["loads"]["under_way"]) or is_loaded(pair.ollama)


def is_loaded(ollama: Ollama) -> bool:
    """Whether the second model is there, by whomever it was loaded."""
    return ollama.finished_loads == 2


async def is_replaced(pair: Pair) -> bool:
    """Kills the leader, and looks how the other one goes on; False if that was not amid a load."""
    leader, other, ollama, client = pair
    await chat(client, WARM)
    is_over = asyncio.Event()
    calls = asyncio.gather(answered(client), go_on(client, is_over))
    was_amid = await is_killed_amid_a_load(pair)
    assert LOADING in leader.log.read_text()
    await until(lambda: is_loaded(ollama), "the model is loaded", PATIENCE_SECONDS)
    is_over.set()
    assert all(await calls)
    if was_amid:
        assert ollama.loads == 3
        assert other.log.read_text().count(LOADING) == 1
        assert await told_by(pair, other) == ("ok", OTHER, ["silent"])
    return was_amid


async def test_the_other_gateway_loads_in_place_of_a_leader_that_is_killed_amid_a_load(tmp_path: Path) -> None:
    """No call at it fails: neither those that wait for the load, nor those of a model that is loaded."""
    if not binary_path().exists():
        pytest.fail("Ollama is not built; run: python tests/tools/build_ollama.py", pytrace=False)
    for number in range(TRIES):
        async with two_gateways(tmp_path / str(number)) as pair:
            if await is_replaced(pair):
                return
    raise AssertionError(f"each of {TRIES} loads was over before the leader was killed")
