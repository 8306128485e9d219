"""The image as a restricted container: nothing can be written, not even /tmp, and no capability is left."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.image.built import Built
from tests.image.running import Container, run, started
from tests.ports import free_port
from tools.image.sources import CHECKOUT

from ai_gateway.version import __version__

pytestmark = pytest.mark.cluster
MOST_SECONDS_TO_READY = 1.5
MODELS = "llama3:latest,codellama:13b,nomic-embed-text:latest"
CONFIG = {"/etc/ai-gateway/config.yml": CHECKOUT / "config.yml"}


def _get(port: int, path: str) -> int:
    """The status, or 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _wait_for(port: int, path: str) -> None:
    deadline = time.monotonic() + 30
    while _get(port, path) != 200:
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


@contextmanager
def _gateway(image: Built, **more: str) -> Iterator[tuple[Container, int, int]]:
    """The image's own command over a simulated Ollama that is a container of the image too; its two ports."""
    ollama, api, admin = free_port(), free_port(), free_port()
    simulate = ["simulate", "--listen", f"127.0.0.1:{ollama}", "--models", MODELS, "--load-seconds", "0"]
    env = {"OLLAMA_HOST": f"127.0.0.1:{ollama}", "AI_GATEWAY_LISTEN": f":{api}", "AI_GATEWAY_ADMIN": f":{admin}"}
    with started(image.root, image.config(), simulate):
        _wait_for(ollama, "/api/tags")
        with started(image.root, image.config(), image.config()["Cmd"], env=env | more, mounts=CONFIG) as container:
            yield container, api, admin


@pytest.mark.parametrize("command", ["serve", "simulate", "check", "drain"])
def test_every_command_tells_its_flags(image: Built, command: str) -> None:
    done = run(image.root, image.config(), [command, "--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: ai-gateway {command}")


def test_it_says_its_version(image: Built) -> None:
    assert run(image.root, image.config(), ["--version"]).stdout == f"ai-gateway {__version__}\n"


def test_a_config_is_checked(image: Built, tmp_path: Path) -> None:
    wrong = tmp_path / "config.yml"
    wrong.write_text("models: {llama3: {verson: latest}}")
    assert run(image.root, image.config(), ["check", "config.yml"], mounts=CONFIG).returncode == 0
    done = run(image.root, image.config(), ["check", "config.yml"], mounts={"/etc/ai-gateway/config.yml": wrong})
    assert done.returncode == 1
    assert "verson" in done.stdout + done.stderr


def test_it_serves_where_nothing_can_be_written_and_leaves_when_asked(image: Built) -> None:
    with _gateway(image, AI_GATEWAY_DRAIN_DELAY="1s") as (container, api, admin):
        _wait_for(admin, "/readyz")
        body = json.dumps({"model": "llama3", "messages": [{"role": "user", "content": "Hello"}]}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{api}/v1/chat/completions", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert json.load(answer)["choices"][0]["message"]["content"]
        assert container.exec("python3", "/opt/ai-gateway/health.py").returncode == 0
        assert container.exec("ai-gateway", "drain").returncode == 0
        assert container.process.wait(timeout=30) == 0


def test_the_health_check_fails_where_no_gateway_is(image: Built) -> None:
    env = {"AI_GATEWAY_ADMIN": f":{free_port()}"}
    done = run(image.root, image.config(), ["/opt/ai-gateway/health.py"], program=["python3"], env=env)
    assert (done.returncode, done.stderr[:25]) == (1, "no gateway answers at 127")


def test_it_is_ready_soon_after_its_start(image: Built) -> None:
    with _gateway(image) as (container, _, admin):
        _wait_for(admin, "/readyz")
        # In clock ticks since this machine started: of the process in the container, and of now.
        began = int(Path(f"/proc/{container.pid()}/stat").read_text().rpartition(")")[2].split()[19])
        taken = time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")
    assert taken <= MOST_SECONDS_TO_READY


def test_a_container_that_is_told_to_end_as_it_starts_ends(image: Built) -> None:
    """The kernel drops what a first process has no handler for, and Python needs a while to the command's first line:
    what comes in it waits for that line."""
    with started(image.root, image.config(), ["serve"]) as container:
        pid = _first_process(container)
        os.kill(pid, signal.SIGTERM)
        assert container.process.wait(timeout=30) == 0


def _first_process(container: Container) -> int:
    """Its number on this machine, once it is Python, which from then on hears SIGTERM or holds it back."""
    while container.process.poll() is None:
        with suppress(subprocess.CalledProcessError, OSError):  # it is being made
            pid = container.pid()
            while (fields := _status(pid))["Name"] != "python3":
                pass
            assert any(int(fields[name], 16) >> (signal.SIGTERM - 1) & 1 for name in ("SigBlk", "SigCgt"))
            return pid
    raise AssertionError("it ended before it was Python")


def _status(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def test_nothing_is_compiled_at_its_start(image: Built) -> None:
    """With -v Python says of each module whether its code came from bytecode or from its source."""
    everything = (
        "import importlib, pkgutil, ai_gateway\n"
        "for module in pkgutil.walk_packages(ai_gateway.__path__, 'ai_gateway.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    done = run(image.root, image.config(), ["-v", "-c", everything], program=["python3"])
    told = done.stderr.splitlines()
    assert done.returncode == 0
    assert sum(line.startswith("# code object from ") and ".pyc" in line for line in told) > 200
    assert [line for line in told if line.startswith("# code object from ") and line.rstrip("'").endswith(".py")] == []
    assert [line for line in told if line.startswith("# wrote ")] == []
