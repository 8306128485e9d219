"""A server that answers as a test says, in place of a gateway."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast
from urllib.parse import unquote

Answer = tuple[int, Any]  # a status, and JSON or bytes
READY: Final = {"id": "coder", "state": "ready", "in_place": True, "config": "h", "complaint": None}


class Scripted:
    """Answers by path, as it was asked for, unquoted; `asked` has the paths and keys of all questions."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[], Answer]] = {}
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.connections = 0
        self.url = ""

    def __setitem__(self, path: str, answer: Answer | Callable[[], Answer]) -> None:
        self.answers[path] = answer

    @property
    def paths(self) -> list[str]:
        """Of all questions."""
        return [path for path, _ in self.asked]

    def answer(self, path: str, key: str | None) -> Answer:
        """Notes a question."""
        self.asked.append((path, key))
        found = self.answers.get(path, (404, error("no such page")))
        return found if isinstance(found, tuple) else cast("Callable[[], Answer]", found)()


def error(message: str) -> dict[str, Any]:
    """As the API has errors."""
    return {"error": {"message": message, "type": "invalid_request_error"}}


def listing(*models: str | Mapping[str, Any]) -> Answer:
    """The answer of /v1/models."""
    return 200, {"object": "list", "data": [{"id": one} if isinstance(one, str) else dict(one) for one in models]}


class Server(ThreadingHTTPServer):
    """Says nothing of clients that leave in the middle."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See socketserver.BaseServer."""


@contextmanager
def scripted(prefix: str = "", tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """Serves until the block is left; all is under a prefix."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            script.connections += 1

        def do_GET(self) -> None:
            path = unquote(self.path)
            if not path.startswith(prefix):
                path = "elsewhere"
            status, body = script.answer(path.removeprefix(prefix), self.headers.get("authorization"))
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(sent)), **script.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
    thread.start()
    script.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}{prefix}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
