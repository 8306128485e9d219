"""Requests to an API server through the Kubernetes library, on real sockets: who asks, and what failures become."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
import yaml

from ai_gateway.cluster.access import Access
from ai_gateway.cluster.api import ApiServer, StatusFailure, Stream, Unreachable

Answer = Callable[["Asked"], None]


class Asked(BaseHTTPRequestHandler):
    """One request; the server's `answer` says what becomes of it."""

    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        """Every method."""
        server = self.server
        assert isinstance(server, Server)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        authorization = self.headers.get("Authorization")
        server.seen.append((self.command, self.path, authorization, self.headers.get("Content-Type"), body))
        server.answer(self)

    do_GET = do_POST = do_PATCH = handle_any  # noqa: N815 - the names that http.server looks for

    def say(self, status: int, body: bytes, **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin_stream(self) -> None:
        """The head of an answer in chunks."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        """A piece of it."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    """An API server that says what a test wants."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.answer = answer
        self.seen: list[tuple[str, str, str | None, str | None, str]] = []
        self.port: int = self.server_address[1]


@contextmanager
def serving(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server in a thread of its own."""
    server = Server(answer)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(folder: Path, port: int, **user: str) -> ApiServer:
    """Requests by a kubeconfig for this port."""
    content = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": user or {"token": "secret"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return ApiServer(Access(str(path), service_account=folder / "none"))


def test_a_request_carries_the_token_and_the_query(tmp_path: Path) -> None:
    with serving(lambda asked: asked.say(200, b'{"ok": 1}')) as server:
        body = kubeconfig(tmp_path, server.port).get("/api/v1/pods", {"labelSelector": "a=b,c", "limit": "5"}, 5.0)
    assert body == b'{"ok": 1}'
    assert server.seen == [("GET", "/api/v1/pods?labelSelector=a%3Db%2Cc&limit=5", "Bearer secret", None, "")]


def test_objects_are_sent_as_json_and_patches_as_merge_patches(tmp_path: Path) -> None:
    """An empty patch is a body, too."""
    with serving(lambda asked: asked.say(201, b"{}")) as server:
        api = kubeconfig(tmp_path, server.port)
        api.send("POST", "/events", {"reason": "X"}, 5.0)
        api.send("PATCH", "/events/a", {}, 5.0)
    assert [(seen[0], seen[3], seen[4].replace(" ", "")) for seen in server.seen] == [
        ("POST", "application/json", '{"reason":"X"}'),
        ("PATCH", "application/merge-patch+json", "{}"),
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"kind":"Status","message":"pods is forbidden","code":403}', "403 pods is forbidden"),
        (b"<html>no</html>", "403 Forbidden"),
        (b"", "403 Forbidden"),
    ],
)
def test_a_refusal_says_what_the_server_says(tmp_path: Path, body: bytes, words: str) -> None:
    """Whatever its body is."""
    with (
        serving(lambda asked: asked.say(403, body)) as server,
        pytest.raises(StatusFailure) as refused,
    ):
        kubeconfig(tmp_path, server.port).get("/x", {}, 5.0)
    assert (str(refused.value), refused.value.status) == (words, 403)


def test_a_server_may_say_when_to_ask_again(tmp_path: Path) -> None:
    """It is asked once, and not again by the library."""
    with serving(lambda asked: asked.say(429, b"", Retry_After="7")) as server, pytest.raises(StatusFailure) as refused:
        kubeconfig(tmp_path, server.port).get("/x", {}, 5.0)
    assert refused.value.retry_after_seconds == 7.0
    assert len(server.seen) == 1


def test_a_refused_connection_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"^Failed to establish a new connection: .*refused$"):
        kubeconfig(tmp_path, 9).get("/x", {}, 5.0)


def test_a_server_that_does_not_answer_in_time_is_given_up(tmp_path: Path) -> None:
    """Once: no retry of the library's makes three times of it."""
    over = threading.Event()
    with serving(lambda asked: (over.wait(60), None)[1]) as server:
        with pytest.raises(Unreachable, match="timed out"):
            kubeconfig(tmp_path, server.port).get("/x", {}, 0.2)
        over.set()
    assert len(server.seen) <= 1


def test_a_kubeconfig_that_is_missing_or_nonsense_is_said_in_words(tmp_path: Path) -> None:
    missing = ApiServer(Access(str(tmp_path / "no-such"), service_account=tmp_path / "none"))
    with pytest.raises(Unreachable, match=r"."):
        missing.get("/x", {}, 1.0)
    (tmp_path / "odd").write_text("current-context: nowhere\n")
    with pytest.raises(Unreachable, match=r"."):
        ApiServer(Access(str(tmp_path / "odd"), service_account=tmp_path / "none")).get("/x", {}, 1.0)


def test_a_token_that_was_rotated_is_read_when_the_old_one_is_forgotten(tmp_path: Path) -> None:
    token = tmp_path / "token-file"
    token.write_text("old")
    with serving(lambda asked: asked.say(200, b"{}")) as server:
        api = kubeconfig(tmp_path, server.port, tokenFile=str(token))
        api.get("/x", {}, 5.0)
        token.write_text("new")
        api.forget_credentials()
        api.get("/x", {}, 5.0)
    assert [seen[2] for seen in server.seen] == ["Bearer old", "Bearer new"]


def service_account(folder: Path) -> ssl.SSLContext:
    """The files that are mounted in a pod; returns the certificate of a server that they trust."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    (folder / "token").write_text("mounted")
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    return context


def in_pod(folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """Requests as a pod sends them."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    return ApiServer(Access(service_account=folder))


def test_in_a_pod_the_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token, and its authority for the server's certificate; a certificate of another one is not believed."""
    with serving(lambda asked: asked.say(200, b"{}"), service_account(tmp_path)) as server:
        api = in_pod(tmp_path, server, monkeypatch)
        api.get("/x", {}, 5.0)
        assert str(server.seen[0][2]).lower() == "bearer mounted"
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
        api.forget_credentials()
        with pytest.raises(Unreachable) as distrust:
            api.get("/x", {}, 5.0)
    assert distrust.value.is_distrust


def two_lines_and_a_half(asked: Asked) -> None:
    """Cut in the middle of lines, as networks do."""
    asked.begin_stream()
    for piece in (b'{"a": ', b'1}\n{"b": 2}\n{"c', b'": 3', b"}\n"):
        asked.chunk(piece)
    asked.chunk(b"")


def test_a_stream_is_read_line_by_line(tmp_path: Path) -> None:
    with (
        serving(two_lines_and_a_half) as server,
        kubeconfig(tmp_path, server.port).stream("/x", {}, 5.0) as stream,
    ):
        assert list(stream.lines()) == [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}']


def test_a_fault_of_whoever_reads_a_stream_is_not_the_servers(tmp_path: Path) -> None:
    """It comes out as what it is, with its trace, and is no word about the connection."""

    def read(port: int) -> None:
        with kubeconfig(tmp_path, port).stream("/x", {}, 5.0) as stream:
            for line in stream.lines():
                int(line)

    with serving(two_lines_and_a_half) as server, pytest.raises(ValueError, match="invalid literal"):
        read(server.port)


def test_a_stream_that_is_silent_for_too_long_is_unreachable(tmp_path: Path) -> None:
    """Counted from the last byte."""
    over = threading.Event()

    def stall(asked: Asked) -> None:
        asked.begin_stream()
        asked.chunk(b"first\n")
        over.wait(60)

    with serving(stall) as server, kubeconfig(tmp_path, server.port).stream("/x", {}, 1.5) as stream:
        lines = stream.lines()
        assert next(lines) == b"first"
        with pytest.raises(Unreachable, match="timed out"):
            next(lines)
        over.set()


@pytest.mark.parametrize("is_tls", [False, True])
def test_a_stream_can_be_ended_by_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_tls: bool) -> None:
    """Which does not wait for its next byte; with TLS, as in a cluster, and without."""
    over, opened, ended = threading.Event(), threading.Event(), threading.Event()
    streams: list[Stream] = []

    def hang(asked: Asked) -> None:
        asked.begin_stream()
        asked.chunk(b"first\n")
        over.wait(60)

    def read(api: ApiServer) -> None:
        with api.stream("/x", {}, 60.0) as stream:
            streams.append(stream)
            try:
                for _ in stream.lines():
                    opened.set()
            except Unreachable:
                pass
            ended.set()

    with serving(hang, service_account(tmp_path) if is_tls else None) as server:
        api = in_pod(tmp_path, server, monkeypatch) if is_tls else kubeconfig(tmp_path, server.port)
        reading = threading.Thread(target=read, args=(api,))
        reading.start()
        assert opened.wait(60)
        streams[0].stop()
        assert ended.wait(30)
        reading.join()
        over.set()
