"""Real pods on a real node. The gateway is the installed command, beside the cluster, as a ServiceAccount of it with
the rights that the documentation names; applications are the OpenAI SDK, which does not try again."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from openai.types.chat import ChatCompletionChunk
from tests.cluster.node import Cluster
from tests.kubernetes.figures import tell
from tests.kubernetes.objects import ACCOUNT, MODELS_MAP, binding, config_map, documented_roles
from tests.kubernetes.talkers import Talkers
from tests.ollama.gateway import Serving
from tests.ollama.talk import until

pytestmark = pytest.mark.cluster

MODELS = ("llama3", "tiny", "slow", "embed")
OLLAMA_PODS = "app.kubernetes.io/name=ollama"
STREAM_SECONDS = 60
TOKENS_PER_SECOND = 20

# Labels and port are right, and it never becomes ready.
NEVER_READY = """
apiVersion: v1
kind: Pod
metadata: {name: never-ready, labels: {app.kubernetes.io/name: ollama}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: ollama
      image: %(image)s
      imagePullPolicy: Never
      args: [simulate, --listen, "0.0.0.0:11434"]
      ports: [{name: http, containerPort: 11434}]
      readinessProbe: {httpGet: {path: /never, port: http}, periodSeconds: 1}
"""

# Fourteen seconds after its start the process is gone, as when memory has run out.
CRASHING = """
apiVersion: v1
kind: Pod
metadata: {name: crashing, labels: {app.kubernetes.io/name: ollama}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: ollama
      image: %(image)s
      imagePullPolicy: Never
      command: [sh, -c, "ai-gateway simulate --listen 0.0.0.0:11434 --slots 16 --tokens-per-second 20
        --answer-tokens 4800 & sleep 14; kill -9 $!; exit 137"]
      ports: [{name: http, containerPort: 11434}]
      env: [{name: OLLAMA_NUM_PARALLEL, value: "16"}]
      readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
"""


@dataclass
class Outside:
    """A namespace of the cluster and a gateway outside of it that serves what runs there."""

    cluster: Cluster
    namespace: str
    folder: Path
    gateway: Serving

    async def health(self) -> dict[str, Any]:
        """What the gateway tells of itself."""
        async with httpx.AsyncClient(base_url=self.gateway.url, trust_env=False) as client:
            content: dict[str, Any] = (await client.get("/v1/health")).json()
            return content

    async def pods(self) -> list[str]:
        """The pods that take calls, by name."""
        return [endpoint["pod"].partition("/")[2] for endpoint in (await self.health())["endpoints"]]

    async def sees(self, count: int) -> bool:
        """Whether so many pods take calls."""
        return len(await self.pods()) == count

    async def has_loaded(self, model: str, count: int) -> bool:
        """Whether so many pods have the model loaded."""
        return bool((await self.health())["models"][model]["loaded_on"] == count)

    async def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """kubectl in the namespace, as the admin."""
        return await asyncio.to_thread(self.cluster.kubectl, "-n", self.namespace, *arguments, input=input)

    def access_lines(self) -> dict[str, dict[str, Any]]:
        """What the gateway wrote of each request, by its id."""
        lines = (json.loads(line) for line in self.gateway.log.read_text().splitlines() if line.startswith("{"))
        return {line["request_id"]: line for line in lines if line.get("log") == "access"}


@contextmanager
def outside(
    cluster: Cluster, folder: Path, namespace: str, flags: list[str] | None = None, **resident: int
) -> Iterator[Outside]:
    """The namespace with the gateway's account; the gateway is not started yet. It keeps so many copies loaded."""
    with cluster.namespace(namespace):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}
        roles = documented_roles()
        cluster.apply(yaml.safe_dump_all([account, *roles, *(binding(role, namespace) for role in roles)]), namespace)
        token = cluster.kubectl("-n", namespace, "create", "token", ACCOUNT)
        content = yaml.safe_load(cluster.kubeconfig.read_text())
        content["users"][0]["user"] = {"token": token.strip()}
        content["contexts"][0]["context"]["namespace"] = namespace
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(content))
        models = {model: {"resident": resident.get(model, 0)} for model in MODELS}
        config = (
            None if flags else {"models": models, "balancing": {"slots": 1}, "compatibility": {"endpoint_header": True}}
        )
        gateway = Serving(folder, config, ["--kubeconfig", str(kubeconfig), *(flags or [])])
        try:
            yield Outside(cluster, namespace, folder, gateway)
        finally:
            gateway.stop()


async def test_real_ollama_pods_are_found_and_answer_by_their_addresses(
    cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Chat, stream, embeddings and the list of models; three pods share the calls."""
    with outside(cluster, tmp_path, "real", slow=3) as now:
        await asyncio.to_thread(cluster.start_ollama, "ollama", now.namespace, replicas=3)
        now.gateway.start()
        await until(lambda: now.sees(3))
        async with openai.AsyncOpenAI(base_url=f"{now.gateway.url}/v1", api_key="unused", max_retries=0) as client:
            asked: Any = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "temperature": 0}
            answers = await asyncio.gather(*(client.chat.completions.create(model="tiny", **asked) for _ in range(6)))
            assert all(answer.choices[0].message.content for answer in answers)
            stream = await client.chat.completions.create(model="tiny", stream=True, **asked)
            assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "length"
            assert len((await client.embeddings.create(model="embed", input="a cat")).data[0].embedding) > 1
            assert {model.id async for model in client.models.list()} == set(MODELS)
            await until(lambda: now.has_loaded("slow", 3))
            await asyncio.to_thread(_a_real_pod_dies_while_all_stream, now, request)


def _a_real_pod_dies_while_all_stream(now: Outside, request: pytest.FixtureRequest) -> None:
    """One slow stream of real Ollama for half a minute, to its end; then one on each pod, and one pod is deleted."""
    with openai.OpenAI(base_url=f"{now.gateway.url}/v1", api_key="unused", max_retries=0, timeout=120) as client:
        began = time.monotonic()
        chunks = list(_stream(client))
        took = time.monotonic() - began
        assert chunks[-1].choices[0].finish_reason == "length"
        tell(request, f"a stream of {len(chunks)} chunks took {took:.0f} s on real Ollama")
        streams = [_stream(client) for _ in range(3)]
        addresses = [stream.response.headers["x-ai-gateway-endpoint"].partition(":")[0] for stream in streams]
        names = {ip: pod for pod, ip in now.cluster.pod_addresses(OLLAMA_PODS, now.namespace).items()}
        assert {names[address] for address in addresses} == set(names.values())
        seen = [next(streams[0]) for _ in range(5)]
        now.cluster.kubectl("-n", now.namespace, "delete", "pod", names[addresses[0]], "--wait=false")
        with pytest.raises(openai.APIError, match="broke off"):
            seen.extend(streams[0])
        assert all(chunk.choices[0].finish_reason is None for chunk in seen)
        for stream in streams[1:]:
            assert next(stream).choices[0].finish_reason is None
            stream.close()


def _stream(client: openai.OpenAI) -> openai.Stream[ChatCompletionChunk]:
    """An answer of about half a minute."""
    return client.chat.completions.create(
        model="slow", messages=[{"role": "user", "content": "tell"}], max_tokens=400, seed=1, stream=True
    )


async def test_scaling_deleting_and_crashing_under_load_costs_no_other_call_anything(
    cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """3, 5, then 1 pods; one deleted while it streams, one that never is ready, one that crashes."""
    tokens = STREAM_SECONDS * TOKENS_PER_SECOND
    shape = {
        "slots": 64,  # the one that stays can take all of them
        "tokens_per_second": TOKENS_PER_SECOND,
        "answer_tokens": 4 * tokens,
        "models": "llama3:latest",
    }
    image = {"image": cluster.image("simulator")}
    with outside(cluster, tmp_path, "load", llama3=6) as now:  # so each pod has streams, also the one that stays
        await asyncio.to_thread(cluster.start_simulated, "ollama", now.namespace, replicas=3, **shape)
        now.gateway.start()
        await until(lambda: now.sees(3))
        await until(lambda: now.has_loaded("llama3", 3))
        ever = set(await now.pods())
        talkers = Talkers(now.gateway.url, "llama3")
        talkers.begin_calls(4, pause_seconds=0.1)
        talkers.begin_streams(20, tokens)

        await now.kubectl("apply", "-f", "-", input=NEVER_READY % image)
        await now.kubectl("apply", "-f", "-", input=CRASHING % image)
        await until(lambda: _takes_calls(now, "crashing"))
        talkers.begin_streams(8, tokens)
        lag = await _scaled(now, 5)
        ever |= set(await now.pods())
        await until(lambda: _is_gone(now, "crashing"), 30)
        await now.kubectl("delete", "pod", "crashing", "--wait=false")

        (victim, *_) = sorted(set(await now.pods()) - {"crashing"})
        await now.kubectl("delete", "pod", victim, "--wait=false")
        await until(lambda: _is_gone(now, victim))
        await until(lambda: now.sees(5))
        await until(lambda: now.has_loaded("llama3", 5))
        ever |= set(await now.pods())
        talkers.begin_streams(8, tokens)
        down = await _scaled(now, 1)
        survivors = set(await now.pods())
        await talkers.close()

        lines = now.access_lines()
        assert talkers.failures == [], [lines.get(str(failed)) for failed in talkers.failed_ids]
        killed = {f"load/{pod}" for pod in (ever | {"crashing"}) - survivors}
        broken = [stream for stream in talkers.streams if stream.error]
        assert {lines[stream.request_id]["pod"] for stream in broken} <= killed
        assert all("broke off" in str(stream.error) for stream in broken)
        whole = [stream for stream in talkers.streams if not stream.error]
        assert {stream.chunks >= tokens for stream in whole} == {True}
        assert not any(line.get("pod") == "load/never-ready" for line in lines.values())
    tell(
        request,
        f"{talkers.answered} short calls, {len(whole)} whole streams, {len(broken)} cut with their pods by an error; "
        f"5 pods known {lag:.1f} s after scaling, 1 after {down:.1f} s",
    )
    assert whole
    assert broken


async def _scaled(now: Outside, count: int) -> float:
    """The seconds from `kubectl scale` until the gateway sees it."""
    began = time.monotonic()
    await now.kubectl("scale", "deployment", "ollama", f"--replicas={count}")

    async def is_seen() -> bool:
        return len([pod for pod in await now.pods() if pod != "crashing"]) == count

    await until(is_seen, 60)
    return time.monotonic() - began


async def _takes_calls(now: Outside, pod: str) -> bool:
    return pod in await now.pods()


async def _is_gone(now: Outside, pod: str) -> bool:
    return pod not in await now.pods()


async def test_an_edited_config_map_takes_effect_within_a_second(
    cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In `GET /v1/models`, counted from the end of kubectl; and the pods are found without any `discovery`."""
    with outside(cluster, tmp_path, "edited", ["--configmap", MODELS_MAP]) as now:
        await asyncio.to_thread(cluster.start_simulated, "ollama", now.namespace, models="llama3:latest")
        await now.kubectl("apply", "-f", "-", input=yaml.safe_dump(config_map("models: {llama3: }")))
        now.gateway.start()
        await until(lambda: now.sees(1))
        began = time.monotonic()
        await now.kubectl("apply", "-f", "-", input=yaml.safe_dump(config_map("models: {coder: {ollama: llama3}}")))
        await until(lambda: _lists(now, ["coder"]))
        took = time.monotonic() - began
        await now.kubectl("apply", "-f", "-", input=yaml.safe_dump(config_map("models: {coder: {slots: many}}")))
        await until(lambda: _is_described(now))
        assert await _lists(now, ["coder"])
    tell(request, f"in GET /v1/models {took:.2f} s after kubectl was started")


async def _lists(now: Outside, models: list[str]) -> bool:
    async with httpx.AsyncClient(base_url=now.gateway.url, trust_env=False) as client:
        return [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == models


async def _is_described(now: Outside) -> bool:
    return "models.coder.slots" in await now.kubectl("describe", "configmap", MODELS_MAP)
