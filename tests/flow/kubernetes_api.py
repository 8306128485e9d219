"""A Kubernetes API server on loopback, as far as the gateway uses one: list, watch, and Events that are written.

It keeps the rules that a client relies on: versions grow, a watch begins after the version that it names, an object
that is there already is no second time created.
"""

import asyncio
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from tests.flow.line import LINGER_NOT
from tests.flow.upstream import END, Upstream, framed, whole
from tests.ports import free_port

from ai_gateway.cluster.access import Access

NAMESPACE = "ai"
OLLAMA = {"app.kubernetes.io/name": "ollama"}
WATCH_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
VERBS = {"POST": "create", "PATCH": "patch"}

Json = dict[str, Any]


def pod(upstream: Upstream, name: str = "ollama-0", *, is_ready: bool = True, **env: str) -> Json:
    """An Ollama pod that runs at an endpoint of the test, as the usual chart makes it."""
    return pod_on(upstream.port, name, is_ready=is_ready, **env)


def pod_on(port: int, name: str, *, is_ready: bool = True, **env: str) -> Json:
    """The same for whatever listens on a port of this machine."""
    container = {
        "name": "ollama",
        "ports": [{"name": "http", "containerPort": port}],
        "env": [{"name": key, "value": value} for key, value in env.items()],
    }
    ready = {"type": "Ready", "status": "True" if is_ready else "False"}
    return {
        "metadata": {"name": name, "uid": f"uid-of-{name}", "labels": OLLAMA},
        "spec": {"nodeName": "node-1", "containers": [container]},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]},
    }


def config_map(content: str | Mapping[str, Any], name: str = "models") -> Json:
    """A ConfigMap with this config.yml."""
    text = content if isinstance(content, str) else yaml.safe_dump(dict(content), sort_keys=False)
    return {"metadata": {"name": name, "uid": f"uid-of-{name}"}, "data": {"config.yml": text}}


@dataclass
class Asked:
    """One request to the API."""

    method: str
    path: str
    query: dict[str, str]
    body: Any

    @property
    def kind(self) -> str:
        """`pods`, `configmaps`, `events`, in the namespace that there is."""
        return (self.path.split(f"/v1/namespaces/{NAMESPACE}/")[-1]).split("/")[0]

    @property
    def verb(self) -> str:
        """As a Role names it."""
        return VERBS.get(self.method) or ("watch" if "watch" in self.query else "list")

    def selects(self, content: Json) -> bool:
        """Whether an object has the labels and the name that are asked for."""
        labels = content["metadata"].get("labels", {})
        if (wanted := self.query.get("labelSelector")) and tuple(wanted.split("=")) not in labels.items():
            return False
        named = self.query.get("fieldSelector", "").removeprefix("metadata.name=")
        return not named or named == content["metadata"]["name"]


@dataclass
class KubernetesApi:
    """Objects by kind and name. Changed by `put`, `delete` and the gateway's own writes; `refusals` by tests."""

    refusals: dict[str, int] = field(default_factory=dict)  # a status in place of the answer, by verb: {"watch": 403}
    asked: list[str] = field(default_factory=list)  # "list pods", in order
    port: int = 0
    _objects: dict[tuple[str, str], Json] = field(default_factory=dict)
    _history: list[tuple[int, str, str, Json]] = field(default_factory=list)  # version, kind, type of event, object
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Takes a free port; started again it takes the same one."""
        self.port = self.port or free_port()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Is gone, and every connection with it; what it knows it knows again after `start`."""
        if self._server is not None:
            self._server.close()
        self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def access(self, folder: Path) -> Access:
        """How a gateway reaches it: with a kubeconfig in this folder, and no ServiceAccount."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "test", "user": {"token": "secret"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
            "current-context": "test",
        }
        path = folder / "kubeconfig.yml"
        path.write_text(yaml.safe_dump(content))
        return Access(kubeconfig=str(path), service_account=folder / "none")

    def put(self, kind: str, content: Json) -> Json:
        """Adds an object or changes it; returns it with its new version."""
        name = content["metadata"]["name"]
        known = self._objects.get((kind, name))
        return self._note(kind, name, "ADDED" if known is None else "MODIFIED", content)

    def delete(self, kind: str, name: str) -> None:
        """Takes an object away."""
        self._note(kind, name, "DELETED", self._objects[kind, name])
        del self._objects[kind, name]

    @property
    def events(self) -> list[Json]:
        """The Events that were written."""
        return [content for (kind, _), content in self._objects.items() if kind == "events"]

    def _note(self, kind: str, name: str, change: str, content: Json) -> Json:
        version = len(self._history) + 1
        metadata = content["metadata"] | {"namespace": NAMESPACE, "resourceVersion": str(version)}
        noted = content | {"metadata": metadata}
        self._objects[kind, name] = noted
        self._history.append((version, kind, change, noted))
        self._changed.set()
        self._changed = asyncio.Event()
        return noted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                await self._answer(await _read(reader), writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            with suppress(OSError):  # RST: the port is free at once
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self.asked.append(f"{asked.verb} {asked.kind}")
        refusal = self.refusals.get(asked.verb)
        if refusal is not None:
            writer.write(_status(refusal))
        elif asked.verb == "watch":
            await self._watch(asked, writer)
        elif asked.verb == "list":
            items = [content for (kind, _), content in self._objects.items() if kind == asked.kind]
            chosen = [content for content in items if asked.selects(content)]
            listed = {"metadata": {"resourceVersion": str(len(self._history))}, "items": chosen}
            writer.write(whole(json.dumps(listed).encode()))
        else:
            writer.write(self._written(asked))
        await writer.drain()

    async def _watch(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(WATCH_HEAD)
        seen = int(asked.query["resourceVersion"])
        with suppress(TimeoutError):
            async with asyncio.timeout(float(asked.query["timeoutSeconds"])):
                while True:
                    changed = self._changed
                    for line in self._since(seen, asked):
                        writer.write(framed(line))
                    seen = len(self._history)
                    await changed.wait()
        writer.write(END)

    def _since(self, seen: int, asked: Asked) -> Iterator[bytes]:
        for _, kind, change, content in self._history[seen:]:
            if kind == asked.kind and asked.selects(content):
                yield json.dumps({"type": change, "object": content}).encode() + b"\n"

    def _written(self, asked: Asked) -> bytes:
        """Creates an Event, or merges a patch into it."""
        name = asked.path.rpartition("/")[2] if asked.verb == "patch" else asked.body["metadata"]["name"]
        known = self._objects.get((asked.kind, name))
        if asked.verb == "create":
            if known is not None:
                return _status(409)
            return whole(json.dumps(self.put(asked.kind, asked.body)).encode(), "201 Created")
        if known is None:
            return _status(404)
        changed = _merged(known, asked.body)
        return whole(json.dumps(self.put(asked.kind, changed) if changed != known else known).encode())


def _merged(known: Json, patch: Json) -> Json:
    """RFC 7386, as far as it is used: nothing is taken away."""
    merged = dict(known)
    for key, value in patch.items():
        merged[key] = _merged(known.get(key, {}), value) if isinstance(value, dict) else value
    return merged


def _status(code: int) -> bytes:
    """A refusal, as the API words one."""
    reason = HTTPStatus(code).phrase
    content = {"kind": "Status", "code": code, "message": f"the test says {reason}"}
    return whole(json.dumps(content).encode(), f"{code} {reason}")


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return Asked(method, parts.path, query, json.loads(body) if body else None)
