"""A Kubernetes API server on loopback that lists and watches objects in several namespaces, each with its own rights.

It runs in threads: what asks it blocks. The one beside whole gateways, with one namespace and the rules of Events, is
`tests/flow/kubernetes_api.py`.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from ai_gateway.cluster.access import Access
from ai_gateway.cluster.api import ApiServer

Json = dict[str, Any]
LONGEST_WATCH_SECONDS = 10.0
POLL_SECONDS = 0.01  # until a server that is asked to end ends


class FakeApi(ThreadingHTTPServer):
    """Objects by namespace and name, whatever their kind. Changed by `put`, `delete` and `forbidden`, in any thread."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.forbidden: set[str] = set()  # namespaces
        self.asked: list[tuple[str, dict[str, str]]] = []  # path and query
        self.sent: list[Json] = []  # objects that were created, of which no more is kept
        self.change = threading.Condition()
        self.is_ending = False
        self._objects: dict[tuple[str, str], Json] = {}
        self._history: list[tuple[str, Json]] = []  # namespace and event; a version is how long it was then

    def put(self, namespace: str, name: str, content: Mapping[str, Any]) -> None:
        """Adds an object or changes it."""
        kind = "MODIFIED" if (namespace, name) in self._objects else "ADDED"
        self._objects[namespace, name] = self._note(namespace, name, kind, content)

    def delete(self, namespace: str, name: str) -> None:
        """Takes an object away."""
        self._note(namespace, name, "DELETED", self._objects.pop((namespace, name)))

    def listed(self, namespace: str) -> Json:
        """A list, with the version that a watch goes on from."""
        with self.change:
            items = [content for (place, _), content in self._objects.items() if place == namespace]
            return {"metadata": {"resourceVersion": str(len(self._history))}, "items": items}

    def events(self, namespace: str, version: int) -> Iterator[Json]:
        """Those after this version, as they come, until the server ends or it takes too long for any test."""
        while True:
            with self.change:
                if len(self._history) == version and not self.is_ending:
                    self.change.wait(LONGEST_WATCH_SECONDS)
                new = self._history[version:]
            if self.is_ending or not new:
                return
            version += len(new)
            yield from (event for place, event in new if place == namespace)

    def _note(self, namespace: str, name: str, kind: str, content: Mapping[str, Any]) -> Json:
        with self.change:
            meta = {"name": name, "namespace": namespace, "resourceVersion": str(len(self._history) + 1)}
            noted = {**content, "metadata": {**content.get("metadata", {}), **meta}}
            self._history.append((namespace, {"type": kind, "object": noted}))
            self.change.notify_all()
        return noted


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeApi

    def do_GET(self) -> None:
        """A list or a watch, of any kind of object."""
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        namespace = parts.path.split("/namespaces/")[1].split("/")[0]
        self.server.asked.append((parts.path, query))
        if namespace in self.server.forbidden:
            self._say(403, {"kind": "Status", "code": 403, "message": "pods is forbidden"})
        elif "watch" in query:
            self._watch(namespace, int(query["resourceVersion"]))
        else:
            self._say(200, self.server.listed(namespace))

    def do_POST(self) -> None:
        """An object is created, such as an Event."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.sent.append(body)
        self._say(201, body)

    def _say(self, status: int, content: Json) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _watch(self, namespace: str, version: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in self.server.events(namespace, version):
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[FakeApi]:
    """A server in a thread of its own; every watch has ended when it is left."""
    server = FakeApi()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL_SECONDS})
    thread.start()
    try:
        yield server
    finally:
        with server.change:
            server.is_ending = True
            server.change.notify_all()
        server.shutdown()
        server.server_close()
        thread.join()


def reach(server: FakeApi, folder: Path, namespace: str = "ai") -> ApiServer:
    """Requests to it, by a kubeconfig whose context has this namespace."""
    content = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return ApiServer(Access(str(path), service_account=folder / "none"))
