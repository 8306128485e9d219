"""What would cost others their log lines, act on a terminal, or fill a disk with lines."""

import asyncio
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.attack.command import Command, serving
from tests.attack.table import Tried
from tests.flow.line import Line
from tests.flow.waiting import until
from tests.flow.world import config

NOWHERE = config(["http://127.0.0.1:9"])
LATIN = {"LANG": "de_DE.ISO-8859-1", "LC_ALL": "de_DE.ISO-8859-1", "PYTHONIOENCODING": "latin-1"}
ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def access_lines(command: Command) -> list[dict[str, Any]]:
    """All that are there, each of which must be JSON in UTF-8."""
    lines = [json.loads(line) for line in (command.folder / "stdout").read_bytes().decode().splitlines()]
    return [line for line in lines if line["log"] == "access"]


@pytest.mark.parametrize("locale", [LATIN, ASCII], ids=["latin-1", "ascii"])
@pytest.mark.attack("logs", "a path in Chinese where standard output is not UTF-8: nobody loses a line")
async def test_a_foreign_path_loses_no_line(tmp_path: Path, locale: dict[str, Any], tried: Tried) -> None:
    tried.times = 30
    async with serving(tmp_path, NOWHERE, **locale) as command:
        paths = ["/v1/models/%E6%A8%A1", "/v1/models/plain", "/v1/models/%ED%A0%80"] * 10
        await asyncio.gather(*(command.ask("GET", path) for path in paths))
        await until(lambda: len(access_lines(command)) == 30, "each has its line")
        assert sum(line["path"] == "/v1/models/\u6a21" for line in access_lines(command)) == 10
        assert "Traceback" not in command.log


SIGNS = ["%7F", "%C2%9B31m", "%E2%80%AE", "%E2%81%A6", "%E2%80%A8", "%1B%5B2J", "%E2%80%8B", "%D8%9C", "%EF%BB%BF"]


@pytest.mark.attack("logs", "control characters, bidirectional and zero-width marks in a path, a model and a header")
async def test_nothing_that_acts_on_a_terminal_reaches_a_log(tmp_path: Path, tried: Tried) -> None:
    tried.times = 2 * len(SIGNS)
    async with serving(tmp_path, NOWHERE) as command:
        for sign in SIGNS:
            await command.ask("GET", f"/v1/models/{sign}")
            await command.chat(model=bytes.fromhex(sign[1:3]).decode("latin-1") + "\u202e\u009b\u2066")
        await until(lambda: len(access_lines(command)) == tried.times, "each has its line")
        assert await command.end() == 0
        for text in (command.lines, command.log):
            assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("end", ["nobody reads", "the reader is gone", "closed", "set not to wait", "a full disk"])
@pytest.mark.attack("logs", "standard output takes nothing: requests are served, what is lost is counted")
async def test_a_blocked_standard_output_delays_no_request(tmp_path: Path, end: str, tried: Tried) -> None:
    tried.times = 400
    (tmp_path / "config.yml").write_text("models: {llama3: {}}\n")
    reader, writer = os.pipe()
    os.set_blocking(writer, end != "set not to wait")
    out = os.open("/dev/full", os.O_WRONLY) if end == "a full disk" else writer
    words = [sys.executable, "-m", "ai_gateway", "serve", "--config", str(tmp_path / "config.yml")]
    words += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-grace", "0"]
    if end == "closed":
        words = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *words]
    environment = {**os.environ, "OLLAMA_HOST": "127.0.0.1:9", "XDG_STATE_HOME": str(tmp_path / "state")}
    with (tmp_path / "stderr").open("wb") as error:
        process = await asyncio.create_subprocess_exec(*words, env=environment, stdout=out, stderr=error)
    command = Command(process, tmp_path)
    try:
        await command.listening()
        if end == "the reader is gone":
            os.close(reader)
        line = await command.open()
        for _ in range(tried.times):
            await line.send("GET", "/v1/models")
            assert (await line.reply()).status == 200
        line.leave()
        assert "Traceback" not in command.log
        assert await command.end() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        for file in {reader, writer, out}:
            with suppress(OSError):
                os.close(file)


@pytest.mark.attack("logs", "out of file descriptors: the log says so once, and it serves again afterwards")
async def test_a_lack_of_descriptors_is_logged_and_ends(tmp_path: Path, tried: Tried) -> None:
    tried.times = 80
    async with serving(tmp_path, NOWHERE) as command:
        limits = resource.prlimit(command.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(command.process.pid, resource.RLIMIT_NOFILE, (40, limits[1]))
        lines = [await Line.open(command.port) for _ in range(tried.times)]
        await until(lambda: "no file descriptor is left (the limit is 40)" in command.log, "it says so")
        await asyncio.sleep(1.2)
        assert command.log.count("no file descriptor is left") == 1
        for line in lines:
            line.leave()
        await asyncio.sleep(0.3)
        assert (await command.ask("GET", "/v1/models")).status == 200
        await until(lambda: "audit" not in command.log or "is written again" in command.log, "the audit goes on")
        assert await command.end() == 0
        tried.figure(f"{len(command.log)} bytes of log")


@pytest.mark.attack("logs", "floods of nonsense and of unknown keys: the log stays small, each is counted")
async def test_floods_are_logged_a_few_times_and_counted(tmp_path: Path, tried: Tried) -> None:
    tried.times = 2 * 1000
    (tmp_path / "keys.yaml").write_text("keys: []\n")
    auth = {"methods": ["keys"], "keys_file": str(tmp_path / "keys.yaml")}
    async with serving(tmp_path, config(["http://127.0.0.1:9"], auth=auth)) as command:
        before = len(command.log)
        line = await command.open()
        for number in range(1000):
            await line.send("GET", "/v1/models", headers={"authorization": f"Bearer aigw_ab{number:06}_{'x' * 43}"})
            assert (await line.reply()).status == 401
        line.leave()
        for _ in range(1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", command.port)
            writer.write(b"nonsense\r\n\r\n")
            assert b"400" in await reader.read(64)
            writer.close()
        written = len(command.log) - before
        tried.figure(f"{written} bytes of log, {len(command.lines)} of access lines")
        assert written < 10_000
        assert len(command.lines) < 10_000
        assert command.log.count("refused a request before it was read") <= 20
        assert await command.end() == 0
        (told,) = [line for line in map(json.loads, command.lines.splitlines()) if "held_back" in line]
        assert told["held_back"] == 980


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "it has no scheme; write http://localhost:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector", "it has no scheme"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:99999", "it is not a URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://", "it names no host"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "is not supported"),
    ],
)
@pytest.mark.attack("logs", "a variable of OpenTelemetry that nothing can be sent by ends the start with a sentence")
def test_a_start_that_could_export_nothing_ends(tmp_path: Path, name: str, value: str, told: str) -> None:
    done = started(tmp_path, **{name: value})
    assert done.returncode == 1
    assert (name in done.stderr, told in done.stderr, "Traceback" in done.stderr) == (True, True, False)


def started(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A start that ends by itself."""
    (folder / "config.yml").write_text("models: {llama3: {}}\n")
    words = [sys.executable, "-m", "ai_gateway", "serve", "--config", str(folder / "config.yml"), "--listen", ":0"]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder), **variables}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("word", ["prometheus", "otlp,prometheus", "none"])
@pytest.mark.attack("logs", "OTEL_METRICS_EXPORTER=prometheus, a word of the specification: the scrape is there")
async def test_prometheus_is_taken_as_the_scrape(tmp_path: Path, word: str) -> None:
    variables: dict[str, Any] = {"OTEL_METRICS_EXPORTER": word, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    async with serving(tmp_path, NOWHERE, **variables, OTEL_TRACES_EXPORTER="none") as command:
        line = await Line.open(command.admin_port)
        await line.send("GET", "/metrics")
        reply = await line.reply()
        line.leave()
        assert (reply.status, b"ai_gateway_build_info" in reply.body) == (200, True)


@pytest.mark.attack("logs", "a config whose error holds control characters: `check` shows them")
def test_what_the_command_prints_does_not_act_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text('models: {"a\\u001b[2J\\u202e\\u009b": {nonsense: 1}}\n')
    words = [sys.executable, "-m", "ai_gateway", "check", str(tmp_path / "config.yml")]
    done = subprocess.run(words, capture_output=True, check=False, env={**os.environ, **ASCII})
    text = (done.stdout + done.stderr).decode()
    assert done.returncode != 0
    assert all(line.isprintable() for line in text.splitlines())
