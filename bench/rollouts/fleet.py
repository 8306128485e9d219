"""Two gateways and a sidecar, the simulated endpoints behind them, and the API server by which they find each other."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.flow.kubernetes_api import NAMESPACE, KubernetesApi, pod_on
from tests.flow.test_reports import join
from tests.ports import free_port

PATIENCE_SECONDS = 180.0
PROGRAM = str(Path(sys.executable).parent / "ai-gateway")
WRITES = ("/api/pull", "/api/copy", "/api/create", "/api/delete")

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The endpoints of a scenario."""

    endpoints: int = 4
    slots: int = 64
    rooms: int = 3
    models: Sequence[str] = ("coder:v1",)
    load_seconds: float = 1.0
    tokens_per_second: float = 5.0
    pull_bytes_per_second: float = 2e9


@dataclass
class Gateway:
    """A process."""

    uid: str
    port: int
    admin: int
    process: asyncio.subprocess.Process

    def cpu_seconds(self) -> float:
        """User and system time so far (Linux)."""
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(ticks[11]) + int(ticks[12])) / 100


class Fleet:
    """All of them. Changed by `edit` and `kill_leader`."""

    def __init__(self, folder: Path, stack: AsyncExitStack, shape: Shape) -> None:
        self._folder = folder
        self._stack = stack
        self.shape = shape
        self.gateways: list[Gateway] = []
        self.http = httpx.AsyncClient(timeout=30.0, trust_env=False)
        self._control = ""
        self._api = KubernetesApi()

    async def start(self, models: Json, count: int = 3, **reconcile: Any) -> None:
        """Starts everything, and waits until the gateways are ready and the first one leads."""
        self._stack.push_async_callback(self.http.aclose)
        await self._start_endpoints()
        await self._api.start()
        self._stack.push_async_callback(self._api.stop)
        self._api.access(self._folder)
        self.edit(models, **reconcile)
        for uid in ("a", "b", "sidecar")[:count]:
            self.gateways.append(await self._start_gateway(uid))
        for gateway in self.gateways[:2]:
            join(self._api, gateway.uid, gateway.admin)
        for gateway in self.gateways:
            await self.until(lambda gateway=gateway: self._is_ready(gateway), f"{gateway.uid} is ready")  # type: ignore[misc]
        await self.until_writes(self.gateways[0])
        await self.until(self._has_all, "the leader knows the endpoints")

    async def _has_all(self) -> bool:
        health = await self.http.get(f"http://127.0.0.1:{self.gateways[0].port}/v1/health")
        return [one["state"] for one in health.json()["endpoints"]] == ["up"] * self.shape.endpoints

    async def _start_endpoints(self) -> None:
        shape = self.shape
        flags = {
            "endpoints": shape.endpoints,
            "listen": "127.0.0.1:0",
            "control": f"127.0.0.1:{free_port()}",
            "models": ",".join(shape.models),
            "registry": "*",
            "slots": shape.slots,
            "max-loaded": shape.rooms,
            "load-seconds": shape.load_seconds,
            "tokens-per-second": shape.tokens_per_second,
            "pull-bytes-per-second": shape.pull_bytes_per_second,
            "version": "0.35.0",
        }
        command = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        process = await self._spawn([PROGRAM, "simulate", *command], {}, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        for number in range(shape.endpoints):
            port = int((await process.stdout.readline()).decode().strip().rpartition(":")[2])
            slots, rooms = str(shape.slots), str(shape.rooms)
            pod = pod_on(port, f"ollama-{number}", OLLAMA_NUM_PARALLEL=slots, OLLAMA_MAX_LOADED_MODELS=rooms)
            self._api.put("pods", pod)
        self._control = (await process.stdout.readline()).decode().split()[1]

    async def _start_gateway(self, uid: str) -> Gateway:
        port, admin = free_port(), free_port()
        command = [PROGRAM, "serve", "--config", str(self._folder / "config.yml")]
        command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
        named = {"AI_GATEWAY_PEERS_SERVICE": f"{NAMESPACE}/gateway", "AI_GATEWAY_POD_UID": uid}
        env = {**named, "KUBECONFIG": str(self._folder / "kubeconfig.yml"), "XDG_STATE_HOME": str(self._folder / uid)}
        return Gateway(uid, port, admin, await self._spawn(command, env))

    async def _spawn(
        self, command: list[str], env: Mapping[str, str], stdout: int | None = None
    ) -> asyncio.subprocess.Process:
        dies = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with (self._folder / "output").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *dies, *command, env={**os.environ, **env}, stdout=stdout or output, stderr=output
            )
        self._stack.push_async_callback(_ended, process)
        return process

    # -- what a scenario does

    def edit(self, models: Json, **reconcile: Any) -> float:
        """Writes config.yml for all gateways; returns when, in monotonic seconds."""
        config = {"models": models, "reconcile": reconcile, "discovery": {"kubernetes": {"namespaces": [NAMESPACE]}}}
        new = self._folder / "config.new"
        new.write_text(yaml.safe_dump(config))
        new.replace(self._folder / "config.yml")
        return time.monotonic()

    async def kill_leader(self) -> float:
        """SIGKILL; its pod is listed no more, as Kubernetes does some seconds later. Returns when."""
        gateway = self.gateways.pop(0)
        gateway.process.send_signal(signal.SIGKILL)
        await gateway.process.wait()
        return time.monotonic()

    async def load(self, name: str, number: int) -> None:
        """Loads a name on an endpoint, as a call that comes past the gateway."""
        address = (await self.states())[number]["address"]
        body = {"model": name}
        (await self.http.post(f"http://{address}/api/generate", json=body, timeout=PATIENCE_SECONDS)).raise_for_status()

    async def states(self) -> list[Json]:
        """What each endpoint has done so far."""
        numbers = range(self.shape.endpoints)
        return [(await self.http.get(f"{self._control}/endpoints/{number}/state")).json() for number in numbers]

    async def control(self, number: int, path: str, body: Json) -> None:
        """Asks an endpoint's control port."""
        (await self.http.post(f"{self._control}/endpoints/{number}/{path}", json=body)).raise_for_status()

    async def total(self, key: str) -> int:
        """A count over all endpoints."""
        return sum(state[key] for state in await self.states())

    async def asked(self, *paths: str) -> int:
        """How many requests came for some paths."""
        return sum(state["by_path"].get(path, 0) for state in await self.states() for path in paths)

    async def shown(self, gateway: Gateway, model: str = "coder") -> Json:
        """What a gateway says of a model."""
        answer = await self.http.get(f"http://127.0.0.1:{gateway.port}/v1/models/{model}")
        return answer.json() if answer.status_code == 200 else {}

    async def until_writes(self, gateway: Gateway) -> float:
        """Returns how long it took until a gateway changes endpoints."""

        async def writes() -> bool:
            health = await self.http.get(f"http://127.0.0.1:{gateway.port}/v1/health")
            return bool(health.json().get("reconcile", {}).get("writes"))

        return await self.until(writes, f"{gateway.uid} leads")

    async def until_done(self, is_enough: Callable[[int], bool] | None = None) -> float:
        """Returns how long it took until the endpoints, or enough of them, serve what the config asks for, loaded."""
        leader, count = self.gateways[0], self.shape.endpoints

        async def is_done() -> bool:
            versions = (await self.shown(leader)).get("versions", [])
            done = sum(one["serves"] == one["wanted"] and one["is_loaded"] for one in versions)
            return done == count if is_enough is None else is_enough(done)

        return await self.until(is_done, "the endpoints serve the new version")

    async def _is_ready(self, gateway: Gateway) -> bool:
        try:
            return (await self.http.get(f"http://127.0.0.1:{gateway.admin}/readyz")).status_code == 200
        except httpx.HTTPError:
            return False

    async def until(self, is_so: Callable[[], Any], what: str) -> float:
        started_at = time.monotonic()
        while not await is_so():
            if time.monotonic() - started_at > PATIENCE_SECONDS:
                tail = (self._folder / "output").read_text(errors="replace")[-3000:]
                raise TimeoutError(f"not within {PATIENCE_SECONDS:g} s: {what}\n{tail}")
            await asyncio.sleep(0.05)
        return time.monotonic() - started_at


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def chat(tokens: int, number: int) -> bytes:
    """The body of a streamed call."""
    messages = [{"role": "user", "content": f"call {number}"}]
    return json.dumps({"model": "coder", "stream": True, "max_tokens": tokens, "messages": messages}).encode()
