"""What is measured: how each program is configured in front of the stub, started, and found ready."""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

from bench.build import BenchError, cache_folder
from bench.processes import running, tail, tree

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one program. It serves on `port`; it is ready when `ready_path` on `ready_port` says 200."""

    command: list[str]
    port: int
    ready_port: int
    ready_path: str
    env: Mapping[str, str] = field(default_factory=dict)
    most_seconds: float = 15.0


Prepare = Callable[[int, Path], Launch]  # (port of the stub, an empty folder of its own)


@dataclass(frozen=True, slots=True)
class Server:
    """A program that is up."""

    port: int
    pids: list[int]
    ready_seconds: float  # from its start to its first 200


NGINX_CONF = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log error.log error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream stub {{ server 127.0.0.1:{stub_port}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 100000000;
    location / {{
      proxy_pass http://stub;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def nginx(stub_port: int, folder: Path) -> Launch:
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX_CONF.format(port=port, stub_port=stub_port))
    command = [find_nginx(), "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    return Launch(command, port, port, "/api/version")


def find_nginx() -> str:
    """Installs Debian's package when it may."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    if shutil.which("nginx", path=path) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "nginx-light"]
        if subprocess.run(install, check=False, stdout=subprocess.DEVNULL).returncode != 0:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    found = shutil.which("nginx", path=path)
    if found is None:
        raise BenchError("the bench needs nginx beside the gateway (Debian: apt-get install nginx-light)")
    return found


def gateway(command: list[str], env: Mapping[str, str], sections: str = "") -> Prepare:
    """The gateway that `command` starts; `sections` are further lines of its config."""

    def prepare(stub_port: int, folder: Path) -> Launch:
        port, admin = free_port(), free_port()
        config = folder / "config.yml"
        config.write_text(
            "models: {bench: {version: latest, slots: 4096}}\n"
            f"discovery: {{static: [http://127.0.0.1:{stub_port}]}}\n{sections}"
        )
        listen = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
        serve = [*command, "serve", "--config", str(config), *listen]
        return Launch(serve, port, admin, "/readyz", {"XDG_STATE_HOME": str(folder), **env})

    return prepare


def this_gateway() -> Prepare:
    return gateway([str(Path(sys.executable).parent / "ai-gateway")], {})


def gateway_of(folder: Path) -> Prepare:
    """The gateway of another checkout or virtual environment; sources alone run with our packages."""
    folder = folder.resolve()
    for installed in (folder / ".venv/bin/ai-gateway", folder / "bin/ai-gateway"):
        if installed.exists():
            return gateway([str(installed)], {})
    if (folder / "src/ai_gateway").is_dir():
        return gateway([sys.executable, "-m", "ai_gateway"], {"PYTHONPATH": str(folder / "src")})
    raise BenchError(f"{folder} holds neither .venv/bin/ai-gateway nor bin/ai-gateway nor src/ai_gateway")


def litellm(stub_port: int, folder: Path) -> Launch:
    port = free_port()
    config = {
        "model_list": [
            {
                "model_name": "bench",
                "litellm_params": {
                    "model": "openai/bench",
                    "api_base": f"http://127.0.0.1:{stub_port}/v1",
                    "api_key": "bench",
                },
            }
        ]
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    command = [str(_litellm_environment() / "bin/litellm"), "--config", "config.yaml", "--telemetry", "False"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    env = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # asks nobody outside
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # no keys, as in the gateway's config here
        "NO_PROXY": "127.0.0.1",
    }
    return Launch(command, port, port, "/health/liveliness", env, most_seconds=120.0)


def _litellm_environment() -> Path:
    """Made once per lock, in the cache."""
    lock = Path(__file__).parent / "requirements-litellm.txt"
    folder = cache_folder() / f"bench-litellm-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not (folder / "complete").exists():
        uv = [sys.executable, "-m", "uv"]
        python = str(folder / "bin/python")
        subprocess.run([*uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [*uv, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", str(lock)]
        subprocess.run(install, check=True)
        (folder / "complete").touch()
    return folder


@contextmanager
def serving(launch: Launch, core: int, folder: Path) -> Iterator[Server]:
    """The program, up and known to answer rightly, for as long as the block lasts."""
    start = time.perf_counter()
    with running(launch.command, core, folder, launch.env) as process:
        while not _is_ready(launch):
            if process.poll() is not None or time.perf_counter() - start > launch.most_seconds:
                raise BenchError(f"{launch.command[0]} does not get ready:\n{tail(folder)}")
            time.sleep(0.002)
        ready_seconds = time.perf_counter() - start
        yield Server(launch.port, tree(process.pid), ready_seconds)


def _is_ready(launch: Launch) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", launch.ready_port, timeout=2)
    try:
        connection.request("GET", launch.ready_path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def ask_once(port: int) -> None:
    """One call by hand before any is counted: a wrong set-up is told in its own words."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "Are you there?"}]})
    try:
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read().decode(errors="replace")
        if reply.status != 200 or "The bench answers" not in text:
            raise BenchError(f"the answer to a first call is {reply.status}: {text[:500]}")
    finally:
        connection.close()
