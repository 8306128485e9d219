"""The two shell scripts of the chart's own Ollama, run by a real shell with small programs in place of the real ones."""

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.helm.pods import Pod, pods
from tests.helm.running import kind, rendered
from tests.ollama.process import free_port

pytestmark = pytest.mark.cluster

OLLAMA = """#!/bin/sh
echo "$@" >> {log}
case $1 in
  serve) exec /bin/sleep 60;;
  show) [ "$2" = held:latest ];;
  pull) [ "$2" != unknown:latest ];;
esac
"""


def _pod(port: int = 11434) -> Pod:
    values = {
        "placement": "ollama-sidecar",
        "discovery": {"port": port},
        "drain": {"delaySeconds": 2, "graceSeconds": 3},
    }
    (pod,) = pods(kind(rendered("helm4", values=values), "StatefulSet"))
    return pod


def _program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def _run(command: Sequence[str], folder: Path) -> int:
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(command, env=environment, timeout=30, check=False, stderr=subprocess.DEVNULL).returncode


def _naps(port: int, folder: Path) -> list[str]:
    """How long the pre-stop hook of Ollama sleeps; the sleeping itself is left out."""
    log = folder / "naps"
    _program(folder, "sleep", f'#!/bin/sh\necho "$1" >> {log}\n')
    command = _pod(port).container("ollama")["lifecycle"]["preStop"]["exec"]["command"]
    assert _run(command, folder) == 0
    return log.read_text().split()


def test_ollama_ends_at_once_where_nobody_is_connected(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # a port that is only listened on counts for nothing
        assert _naps(listener.getsockname()[1], tmp_path) == ["2"]


def test_ollama_waits_for_a_connection_as_long_as_a_drain(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as _,
    ):
        assert _naps(listener.getsockname()[1], tmp_path) == ["2", *["1"] * 5]


def test_ollama_waits_for_a_connection_of_the_other_family(tmp_path: Path) -> None:
    """A server on every address has its IPv4 connections in the table of IPv6."""
    port = free_port()
    with (
        socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True),
        socket.create_connection(("127.0.0.1", port)) as _,
    ):
        assert _naps(port, tmp_path)[1:] == ["1"] * 5


def _pulled(models: Sequence[str], folder: Path) -> tuple[int, list[str]]:
    log = folder / "asked"
    _program(folder, "ollama", OLLAMA.format(log=log))
    container = _pod().container("pull")
    status = _run([*container["command"], *container["args"][:2], *models], folder)
    return status, [line for line in log.read_text().splitlines() if line.startswith("pull")]


def test_only_models_that_are_not_there_are_pulled(tmp_path: Path) -> None:
    assert _pulled(["held:latest", "new:1b"], tmp_path) == (0, ["pull new:1b"])


def test_a_model_that_cannot_be_pulled_fails_the_start(tmp_path: Path) -> None:
    assert _pulled(["unknown:latest", "new:1b"], tmp_path) == (1, ["pull unknown:latest"])
