"""A gateway under every kind of load that its metrics tell of, in a thread and loop of its own."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.flow.upstream import DONE, END, SSE_HEAD, Upstream, Visit, event, framed, whole
from tests.tracing.receiver import Receiver

from ai_gateway.simulator import Settings, Simulator

GATEWAY = Path(sys.executable).parent / "ai-gateway"
LOADED = whole(b'{"models":[{"name":"llama3:latest","model":"llama3:latest"}]}')
ASKERS = 20  # ten or more want the model that a few slots and a queue of two are for: some are refused
USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
CHAT = {"model": "llama3", "messages": [{"role": "user", "content": "hello"}]}


class Frail:
    """An endpoint with the model loaded, that breaks every third call."""

    def __init__(self) -> None:
        self._calls = 0

    async def act(self, visit: Visit) -> None:
        """Resets it, or streams four words."""
        self._calls += 1
        if self._calls % 3 == 0:
            visit.reset()
            return
        if not visit.fields.get("stream"):
            message = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
            content = {"id": "x", "object": "chat.completion", "model": "llama3:latest", "choices": [message]}
            await visit.say(whole(json.dumps({**content, "usage": USAGE}).encode()))
            return
        await visit.say(SSE_HEAD)
        for _ in range(4):
            await visit.say(framed(event("word ")))
            await asyncio.sleep(0.03)
        await visit.say(framed(event("", "stop")), framed(event("", choices=[], usage=USAGE)), framed(DONE), END)


class Loaded:
    """A running gateway: its admin port, its collector, and a load that goes on until it is stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stopped = threading.Event()
        self._up = threading.Event()
        self.receiver = Receiver()
        self.admin = ""
        self.dead = ""  # HOST:PORT of the endpoint that dies
        self.failure: BaseException | None = None

    def run(self) -> None:
        """The thread."""
        try:
            asyncio.run(self._run())
        except BaseException as failure:
            self.failure = failure
            raise
        finally:
            self._up.set()

    def wait(self) -> None:
        """Returns when calls are made."""
        assert self._up.wait(30)
        assert self.failure is None

    def stop(self) -> None:
        """Ends all of it."""
        self._stopped.set()

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            settings = Settings(
                models=("llama3:latest", "nomic-embed-text:latest", "phi4:latest", "qwen3:latest"),
                tokens_per_second=200.0,
                load_seconds=0.1,
                max_loaded=1,
                pull_bytes_per_second=2e7,  # a rollout that goes on for minutes
            )
            simulator = await stack.enter_async_context(Simulator(settings, count=2))
            models = ("llama3:latest", "mistral:latest")
            frail, mortal = (Upstream(Frail().act, models=models, state={"/api/ps": LOADED}) for _ in range(2))
            for server in (frail, mortal, self.receiver):
                await server.start()
                stack.push_async_callback(server.stop)
            api = await self._start([*simulator.urls, frail.url, mortal.url], stack)
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=api, trust_env=False, timeout=10))
            tasks = [asyncio.create_task(self._ask(client, number)) for number in range(ASKERS)]
            self._up.set()
            await asyncio.wait_for(_after_a_call(mortal), 20)
            self.dead = mortal.address
            await mortal.stop()  # dies with a call on it, and stays away
            while not self._stopped.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self, urls: list[str], stack: AsyncExitStack) -> str:
        config: dict[str, Any] = {
            "models": {
                "llama3": {},
                "embed": {"ollama": "nomic-embed-text"},
                "phi4": {},
                "qwen3": {},
                "mistral": {"pull": "if_missing", "copies": "all"},  # nobody calls it
            },
            "discovery": {"static": urls},
            "polling": {"interval": "300ms", "models_interval": "500ms"},
            "queue": {"max_waiting": 2},
            "balancing": {"starve": "500ms"},  # three models that only the simulators have take turns
            "limits": {"models": {"embed": {"rpm": 6}}},  # two ask for far more
            "log": {"access": False, "level": "warning"},
        }
        path = self._folder / "config.yml"
        path.write_text(yaml.safe_dump(config))
        ports = self._folder / "ports"
        command = [str(GATEWAY), "serve", "--config", str(path), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": self.receiver.url}
        with ports.open("wb") as said:
            process = subprocess.Popen(command, env=environment, stderr=said)  # noqa: ASYNC220 - at once
        stack.push_async_callback(_end, process)
        found: list[str] = []
        while len(found) < 2:
            assert process.poll() is None, ports.read_text()
            await asyncio.sleep(0.05)
            found = _listening(process.pid)
        self.admin, api = await _which(found)
        return f"http://{api}"

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        """One kind of call after the other; whatever becomes of it."""
        kinds = (_stream, _whole, _embeddings, _stream, _refused, _leaves, _stream, _listed, _phi, _qwen)
        while True:
            with suppress(httpx.HTTPError):
                await kinds[number % len(kinds)](client)
            await asyncio.sleep(0.02)


async def _after_a_call(upstream: Upstream) -> None:
    while not upstream.visits:  # noqa: ASYNC110 - a simulated endpoint rings no bell
        await asyncio.sleep(0.01)


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Beside the loop: it sends its last spans to the collector that runs on it."""
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, 10)
    finally:
        process.kill()


async def _stream(client: httpx.AsyncClient) -> None:
    await client.post("/v1/chat/completions", json={**CHAT, "stream": True, "max_tokens": 8})


async def _whole(client: httpx.AsyncClient) -> None:
    await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 4})


async def _embeddings(client: httpx.AsyncClient) -> None:
    await client.post("/v1/embeddings", json={"model": "embed", "input": "hello"})


async def _phi(client: httpx.AsyncClient) -> None:
    await client.post("/v1/chat/completions", json={**CHAT, "model": "phi4", "max_tokens": 4})


async def _qwen(client: httpx.AsyncClient) -> None:
    await client.post("/v1/chat/completions", json={**CHAT, "model": "qwen3", "max_tokens": 4})


async def _refused(client: httpx.AsyncClient) -> None:
    await client.post("/v1/chat/completions", json={**CHAT, "model": "nope"})


async def _leaves(client: httpx.AsyncClient) -> None:
    async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True, "max_tokens": 50}) as reply:
        async for _ in reply.aiter_raw():
            return


async def _listed(client: httpx.AsyncClient) -> None:
    await client.get("/v1/models")
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        writer.write(b"NONSENSE\r\n\r\n")  # refused before it is a request
        await reader.read()
    finally:
        writer.close()


def _listening(pid: int) -> list[str]:
    """The addresses on which a process listens."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(os.readlink(descriptor).removeprefix("socket:[").rstrip("]"))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ports = [int(line[1].partition(":")[2], 16) for line in lines if line[3] == "0A" and line[9] in inodes]
    return [f"127.0.0.1:{port}" for port in ports]


async def _which(addresses: list[str]) -> tuple[str, str]:
    """Admin and API, by what they answer."""
    async with httpx.AsyncClient(trust_env=False) as client:
        first = await client.get(f"http://{addresses[0]}/livez")
    return (addresses[0], addresses[1]) if first.status_code == 200 else (addresses[1], addresses[0])


@contextmanager
def loaded(folder: Path) -> Iterator[Loaded]:
    """A gateway under load for as long as the block lasts."""
    running = Loaded(folder)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        running.wait()
        yield running
    finally:
        running.stop()
        thread.join(30)
