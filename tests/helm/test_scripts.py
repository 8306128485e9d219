"""The small programs inside the chart do what they are for, run as the pods run them."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.helm.pods import Pod, pods
from tests.helm.running import kind, rendered

pytestmark = pytest.mark.cluster

FAKE_OLLAMA = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
  serve) trap 'exit 0' TERM; while :; do sleep 0.1; done ;;
  show) [ "$2" = here:latest ] ;;
  pull) [ "$2" != endless:latest ] || sleep 1000; [ "$2" != broken:latest ] ;;
esac
"""


def _ollama_pod(**ollama: object) -> Pod:
    values = {"placement": "ollama-sidecar", "drain": {"delaySeconds": 0, "graceSeconds": 20}, "ollama": ollama}
    (pod,) = pods(kind(rendered("helm4", values=values), "StatefulSet"))
    return pod


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server's port on which nothing is connected yet. One on every address, as Ollama's, has its IPv4 connections
    in the table of IPv6."""
    is_dual = request.param == socket.AF_INET6
    host = "::" if is_dual else "127.0.0.1"
    with socket.create_server((host, 0), family=request.param, dualstack_ipv6=is_dual) as server:
        yield server.getsockname()[1]


def _waiting(port: int) -> "subprocess.Popen[bytes]":
    """The pre-stop hook of Ollama's container, for that port in place of 11434, and with seconds of 100 ms."""
    command = _ollama_pod().container("ollama")["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["/bin/sh", "-c"]
    script = command[2].replace(":2CAA ", f":{port:04X} ")
    assert script != command[2]
    script = script.replace("sleep 1", "sleep 0.1").replace("sleep 2", "sleep 0.2")
    return subprocess.Popen(["/bin/sh", "-c", script])


def test_ollama_ends_without_connections(port: int) -> None:
    assert _waiting(port).wait(timeout=60) == 0


def test_ollama_waits_for_a_connection_to_end(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):
        waiting = _waiting(port)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=1)
    assert waiting.wait(timeout=60) == 0


def test_ollama_waits_at_most_as_long_as_a_drain(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):
        assert _waiting(port).wait(timeout=60) == 0


def test_a_connection_that_this_side_opened_counts_for_nothing(port: int) -> None:
    """The gateway's way to Ollama in another pod has that port on its far side."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert _waiting(client.getsockname()[1] + 1).wait(timeout=60) == 0


@pytest.mark.parametrize(("models", "status"), [(["here:latest", "gone:latest"], 0), (["broken:latest"], 1)])
def test_models_that_are_not_there_are_pulled(tmp_path: Path, models: list[str], status: int) -> None:
    program = tmp_path / "ollama"
    program.write_text(FAKE_OLLAMA)
    program.chmod(0o755)
    pull = _ollama_pod(pull={"models": models}).container("pull")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    command = [*pull["command"], *pull["args"]]
    with subprocess.Popen(command, env=environment, start_new_session=True) as ended:
        assert ended.wait(timeout=60) == status
    with suppress(ProcessLookupError):
        os.killpg(ended.pid, signal.SIGKILL)  # the end of a container, which takes the server along
    pulled = [line for line in (tmp_path / "calls").read_text().splitlines() if line.startswith("pull")]
    assert pulled == [f"pull {model}" for model in models if model != "here:latest"]


def test_a_pull_ends_when_its_pod_is_deleted(tmp_path: Path) -> None:
    """The script is the container's first process, for which the kernel drops a signal that it has no trap for."""
    program = tmp_path / "ollama"
    program.write_text(FAKE_OLLAMA)
    program.chmod(0o755)
    pull = _ollama_pod(pull={"models": ["endless:latest"]}).container("pull")
    calls = tmp_path / "calls"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
    command = ["unshare", "--pid", "--fork", "--kill-child", *pull["command"], *pull["args"]]
    with subprocess.Popen(command, env=environment) as ended:
        try:
            while ended.poll() is None and not (calls.exists() and "pull endless" in calls.read_text()):
                time.sleep(0.01)
            (first,) = Path(f"/proc/{ended.pid}/task/{ended.pid}/children").read_text().split()
            os.kill(int(first), signal.SIGTERM)
            assert ended.wait(timeout=60) == 128 + signal.SIGTERM
        finally:
            ended.kill()
