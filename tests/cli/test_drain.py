"""The shutdown of the process: signals, the flags for its times, `ai-gateway drain`, and the log's last lines."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.test_command import FREE, model_ids, refused, running, said
from tests.flow.kubernetes_api import KubernetesApi, config_map
from tests.flow.line import Line, Reply, error_in
from tests.flow.upstream import DONE, Gate, Upstream
from tests.flow.waiting import PATIENCE_SECONDS, soon, until
from tests.flow.world import CHAT, chat, config


class Endpoint(Upstream):
    """A gate of one's own, as an endpoint."""

    def __init__(self) -> None:
        gate = Gate()
        super().__init__(gate.act)
        self.opened = gate.opened


class Program:
    """`ai-gateway serve` over one endpoint, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, endpoint: Endpoint) -> None:
        self.process = process
        self.endpoint = endpoint
        self.port = self.admin_port = 0
        self.lines: list[Line] = []

    async def listening(self) -> None:
        """Reads the log until it tells the ports."""
        assert self.process.stderr is not None
        while "listening on" not in (said := (await soon(self.process.stderr.readline())).decode()):
            assert said, "it ended before it listened"
        self.port, self.admin_port = (int(port) for port in re.findall(r":(\d+)", json.loads(said)["message"]))

    async def ask(self, port: int, method: str, path: str, body: bytes | None = None) -> Reply:
        """A whole answer."""
        line = await Line.open(port)
        await line.send(method, path, body)
        reply = await line.reply()
        line.leave()
        return reply

    async def chat(self) -> Reply:
        """The answer to a short call."""
        return await self.ask(self.port, "POST", CHAT, chat())

    async def stream(self) -> Line:
        """A stream that has begun."""
        line = await Line.open(self.port)
        self.lines.append(line)
        await line.send("POST", CHAT, chat(stream=True))
        await line.head()
        await line.event()
        return line

    async def readiness(self, status: int) -> None:
        """Returns when /readyz answers with this status; 503 means that the signal was heard."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self.ask(self.admin_port, "GET", "/readyz")).status != status:  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.005)

    async def ended(self) -> list[dict[str, Any]]:
        """The access lines of all calls, after a clean end that needed no force."""
        out, err = await soon(self.process.communicate())
        assert (self.process.returncode, b"Traceback" in err) == (0, False)
        lines = [json.loads(line) for line in out.splitlines()]
        return [line for line in lines if line.get("path") == CHAT]


@asynccontextmanager
async def program(folder: Path, *flags: str, is_ready: bool = True) -> AsyncIterator[Program]:
    """Serves over an endpoint until the block is left; waits until it is ready, unless it is not to be."""
    endpoint = Endpoint()
    await endpoint.start()
    (folder / "config.yml").write_text(yaml.safe_dump(config([endpoint.url], balancing={"slots": 9})))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AI_GATEWAY_", "OLLAMA_"))}
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "ai_gateway", "serve", "--listen", FREE, "--admin", FREE, *flags)
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=clean, stdout=pipe, stderr=pipe)
    started = Program(process, endpoint)
    try:
        await started.listening()
        await started.readiness(200 if is_ready else 503)
        yield started
    finally:
        for line in started.lines:
            line.vanish()
        if process.returncode is None:
            process.kill()
        await process.communicate()
        await endpoint.stop()


async def test_sigterm_serves_on_for_the_delay_then_finishes_for_the_grace(tmp_path: Path) -> None:
    """Not ready at once; new calls get `connection: close`; a stream that outlasts both gets an error; status 0."""
    async with program(tmp_path, "--drain-delay", "3s", "--drain-grace", "1s") as gateway:
        line = await gateway.stream()
        signalled_at = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.readiness(503)
        reply = await gateway.chat()
        assert (reply.status, reply.header("connection")) == (200, "close")
        rest = (await line.rest()).decode()
        assert time.monotonic() - signalled_at >= 4
        assert error_in(rest.split("\n\n")[-2].removeprefix("data: "))["code"] == "server_shutdown"
        assert "[DONE]" not in rest
        assert [line["outcome"] for line in await gateway.ended()] == ["ok", "shutdown"]


async def test_what_runs_is_finished_and_written_in_the_log(tmp_path: Path) -> None:
    """Five streams in flight at the signal: five whole answers, five access lines."""
    async with program(tmp_path) as gateway:
        lines = [await gateway.stream() for _ in range(5)]
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.readiness(503)
        gateway.endpoint.opened.set()
        for line in lines:
            assert (await line.rest()).endswith(DONE)
        assert [line["outcome"] for line in await gateway.ended()] == ["ok"] * 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_clients_that_keep_their_connections_lose_no_call(tmp_path: Path, number: signal.Signals) -> None:
    """Each calls again as soon as its stream ends: it is answered, and the answer closes the connection."""
    async with program(tmp_path) as gateway:
        lines = [await gateway.stream() for _ in range(9)]
        gateway.process.send_signal(number)
        await until(lambda: is_closed(gateway.port))
        gateway.endpoint.opened.set()
        for line in lines:
            assert (await line.rest()).endswith(DONE)
            await line.send("POST", CHAT, chat())
        replies = [await line.reply() for line in lines]
        assert [(reply.status, reply.header("connection")) for reply in replies] == [(200, "close")] * 9
        assert [line["outcome"] for line in await gateway.ended()] == ["ok"] * 18


async def test_a_second_sigterm_is_immediate_and_the_log_is_whole(tmp_path: Path) -> None:
    """With any times; each call that was cut has its line."""
    async with program(tmp_path, "--drain-delay", "60s", "--drain-grace", "60s") as gateway:
        for _ in range(5):
            await gateway.stream()
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.readiness(503)
        gateway.process.send_signal(signal.SIGTERM)
        assert len(await gateway.ended()) == 5


async def test_sigint_has_no_drain_delay(tmp_path: Path) -> None:
    """No delay, since a person waits; the running stream is finished."""
    async with program(tmp_path, "--drain-delay", "60s") as gateway:
        line = await gateway.stream()
        gateway.process.send_signal(signal.SIGINT)
        await gateway.readiness(503)
        await until(lambda: is_closed(gateway.port))
        gateway.endpoint.opened.set()
        assert (await line.rest()).endswith(DONE)
        assert [line["outcome"] for line in await gateway.ended()] == ["ok"]


async def test_sigint_gives_what_runs_five_seconds(tmp_path: Path) -> None:
    """With any grace: a person at a keyboard does not wait for five minutes. The stream gets an error event."""
    async with program(tmp_path, "--drain-delay", "60s", "--drain-grace", "60s") as gateway:
        line = await gateway.stream()
        signalled_at = time.monotonic()
        gateway.process.send_signal(signal.SIGINT)
        rest = (await line.rest()).decode()
        assert time.monotonic() - signalled_at >= 5
        assert error_in(rest.split("\n\n")[-2].removeprefix("data: "))["code"] == "server_shutdown"
        assert [line["outcome"] for line in await gateway.ended()] == ["shutdown"]


def is_closed(port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_drain_as_a_pre_stop_hook_makes_the_signal_after_it_the_first(tmp_path: Path) -> None:
    """The hook returns at once with 0; the kubelet's SIGTERM then ends nothing that runs."""
    async with program(tmp_path, "--drain-delay", "60s", "--drain-grace", "60s") as gateway:
        line = await gateway.stream()
        assert await asyncio.to_thread(drained, f"127.0.0.1:{gateway.admin_port}") == 0
        await gateway.readiness(503)
        gateway.process.send_signal(signal.SIGTERM)
        assert (await gateway.chat()).status == 200
        gateway.endpoint.opened.set()
        assert (await line.rest()).endswith(DONE)
        gateway.process.send_signal(signal.SIGTERM)
        assert len(await gateway.ended()) == 2


def drained(address: str) -> int:
    """The exit status of `ai-gateway drain`."""
    from ai_gateway.__main__ import main

    return main(["drain", "--admin", address])


async def test_a_drain_takes_an_address_as_serve_does(tmp_path: Path) -> None:
    """`:PORT` and 0.0.0.0 mean every address to a server; it is asked on loopback. With it done, the process ends."""
    async with program(tmp_path) as gateway:
        assert await asyncio.to_thread(drained, f":{gateway.admin_port}") == 0
        assert await gateway.ended() == []


async def test_drain_uses_a_host_name_that_every_gateway_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the machine calls the address: another name than its own is refused."""
    async with program(tmp_path) as gateway:
        here = socket.getaddrinfo("127.0.0.1", gateway.admin_port, type=socket.SOCK_STREAM)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: here)
        assert await asyncio.to_thread(drained, f"alias.example:{gateway.admin_port}") == 0
        assert await gateway.ended() == []


async def test_a_late_first_config_with_other_times_ends_the_process(tmp_path: Path) -> None:
    """With status 0, so that it is started anew, now with these times."""
    api = KubernetesApi()
    await api.start()
    kubeconfig = str(api.access(tmp_path).kubeconfig)
    try:
        async with program(tmp_path, "--kubeconfig", kubeconfig, "--configmap", "models", is_ready=False) as gateway:
            api.put("configmaps", config_map("drain: {grace: 20s}"))
            assert await gateway.ended() == []
    finally:
        await api.stop()


def test_a_drain_without_a_gateway_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    """The kubelet shows what a hook wrote."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, out, err = said(capsys, "drain", "--admin", address)
    assert (status, out) == (1, "")
    assert err.startswith(f"ai-gateway drain: no gateway answers at {address}: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000"])
def test_a_drain_of_an_invalid_address_is_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], address: str
) -> None:
    """And no trace."""
    status, out, err = said(capsys, "drain", "--admin", address)
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert address in err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--drain-delay", "soon"], "'soon' is not a duration"),
        (["--drain-grace", "-1s"], "'-1s' is not a duration"),
        (["--configmap", "a/b/c"], "'a/b/c' is not [NAMESPACE/]NAME[:KEY]"),
    ],
)
def test_an_invalid_flag_is_one_clear_line(tmp_path: Path, flags: list[str], expected: str) -> None:
    """With status 1."""
    flag, value = flags
    line = refused([f"{flag}={value}", "--listen", FREE, "--admin", FREE], tmp_path)
    assert line.startswith("ai-gateway: ")
    assert expected in line


def test_a_folder_with_a_config_is_a_config(tmp_path: Path) -> None:
    """As a ConfigMap is mounted: files are links into a folder that is swapped."""
    mounted = tmp_path / "mounted"
    (mounted / "..1").mkdir(parents=True)
    (mounted / "..1" / "config.yml").write_text("models: {llama3: }")
    (mounted / "..data").symlink_to("..1")
    (mounted / "config.yml").symlink_to("..data/config.yml")
    with running(["--config", str(mounted), "--listen", FREE, "--admin", FREE], {}, tmp_path) as gateway:
        assert model_ids(gateway.api) == ["llama3"]
