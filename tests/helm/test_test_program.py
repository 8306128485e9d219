"""What `helm test` runs in its pod: it waits for a gateway and an Ollama, and says why there is none."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.docs.program import serve, simulate
from tests.ports import free_port
from tools.chart.files import CHART

PROGRAM = (CHART / "files" / "test.py").read_text()
WELL = {"gateway": "ok", "ollama": "ok", "uptime_seconds": 1}
AWAY = {"gateway": "ok", "ollama": "unavailable", "uptime_seconds": 1}


def run(address: str, *flags: str, seconds: float = 0) -> tuple[int, str]:
    """Exit status, and all that it prints. A traceback is nothing that a person should see."""
    command = [sys.executable, "-c", PROGRAM, f"http://{address}/v1", str(seconds), *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


@contextmanager
def answering(*healths: Any) -> Iterator[str]:
    """The address of a gateway that tells these healths one after the other, the last one for ever. Text is a page."""
    left = list(healths)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content: Any = {"data": [{"id": "llama3"}]}
            if self.path.endswith("/health"):
                content = left.pop(0) if len(left) > 1 else left[0]
            body = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def config(folder: Path, text: str) -> str:
    """A flag that names a file with this config."""
    (folder / "config.yml").write_text(f"models: {{llama3: }}\n{text}\n")
    return f"--config={folder / 'config.yml'}"


def test_it_succeeds_where_an_ollama_is_reached(tmp_path: Path) -> None:
    with (
        simulate() as ((ollama, *_), _),
        serve(config(tmp_path, f"discovery: {{static: ['http://{ollama}']}}")) as (
            address,
            _,
        ),
    ):
        status, said = run(address, seconds=30)
    assert status == 0, said
    assert "models: 200 llama3" in said
    assert "gateway ok, ollama" in said


def test_it_fails_where_no_ollama_is_reached_and_says_why(tmp_path: Path) -> None:
    """Unless the values do not ask for one."""
    port = free_port()
    with serve(config(tmp_path, f"discovery: {{static: ['http://127.0.0.1:{port}']}}")) as (address, _):
        status, said = run(address)
        assert status == 1
        assert "ollama unavailable" in said
        assert "discovery: source: static" in said
        assert f"endpoint http://127.0.0.1:{port}: down, " in said
        assert "refused" in said
        assert run(address, "--without-ollama")[0] == 0


def test_it_sees_without_a_key_whether_there_is_an_ollama(tmp_path: Path) -> None:
    """The reason is for admins: it says whom to ask."""
    (tmp_path / "keys.yaml").write_text("keys: []\n")
    auth = f"auth: {{methods: [keys], keys_file: {tmp_path / 'keys.yaml'}}}"
    flag = config(tmp_path, f"{auth}\ndiscovery: {{static: ['http://127.0.0.1:{free_port()}']}}")
    with serve(flag) as (address, _):
        status, said = run(address)
        assert status == 1
        assert "models: 401" in said
        assert "ollama unavailable" in said
        assert "with an admin's key" in said
        assert run(address, "--without-ollama")[0] == 0


def test_it_waits_for_an_ollama_that_comes() -> None:
    with answering(AWAY, AWAY, WELL) as address:
        status, said = run(address, seconds=30)
    assert status == 0
    assert "not yet; waiting for up to 30 s" in said


def test_it_fails_if_nothing_listens() -> None:
    for flags in ((), ("--without-ollama",)):
        status, said = run(f"127.0.0.1:{free_port()}", *flags)
        assert status == 1
        assert "no answer: " in said


def test_it_says_what_discovery_searched_and_what_it_left_out() -> None:
    """Whatever health tells of it."""
    left_out = [{"reason": "declares no port", "count": 2, "pods": ["ai/a", "ai/b"]}]
    discovery = {"source": "kubernetes pods", "seen": 2, "selector": "app=ollama", "namespaces": ["ai"]}
    with answering(AWAY | {"discovery": discovery | {"left_out": left_out, "complaint": None}}) as address:
        said = run(address)[1]
    assert "discovery: selector: app=ollama" in said
    assert "discovery: namespaces: ai" in said
    assert "discovery: left_out: reason declares no port, count 2, pods ai/a; ai/b" in said
    assert "complaint" not in said


@pytest.mark.parametrize("health", ["<html>", [], {}, {"gateway": "no valid config: x", "ollama": "unavailable"}])
def test_what_is_no_healthy_gateway_fails_it(health: Any) -> None:
    """A page of somebody else's, or a gateway without a config, whether an Ollama is asked for or not."""
    with answering(health) as address:
        assert [run(address, *flags)[0] for flags in ((), ("--without-ollama",))] == [1, 1]
