"""`ai-gateway simulate` as a process."""

import argparse
import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.flow.waiting import soon

from ai_gateway.cli.simulate import add_command, settings_from

_START = (
    "import argparse, sys; from ai_gateway.cli.simulate import add_command; p = argparse.ArgumentParser(); "
    "add_command(p.add_subparsers()); a = p.parse_args(); sys.exit(a.run(a))"
)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser()
    add_command(whole.add_subparsers())
    return whole


@asynccontextmanager
async def command(*flags: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", _START, "simulate", *flags, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_prints_its_addresses_serves_and_stops_when_asked() -> None:
    flags = ("--endpoints", "2", "--listen", "127.0.0.1:0", "--models", "llama3:latest,codellama:13b")
    async with command(*flags) as process:
        assert process.stdout is not None
        for _ in range(2):
            url = (await soon(process.stdout.readline())).decode().strip()
            host, _, port = url.removeprefix("http://").rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b'"id":"codellama:13b"' in await reader.read()
            writer.close()
        process.send_signal(signal.SIGTERM)
        _, message = await soon(process.communicate())
        assert (process.returncode, message) == (0, b"")


async def test_a_taken_port_is_one_clear_line() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with command("--listen", f"127.0.0.1:{port}") as process:
            _, message = await soon(process.communicate())
        assert process.returncode == 1
        assert message.startswith(f"ai-gateway simulate: cannot listen on 127.0.0.1:{port}".encode())
        assert message.count(b"\n") == 1


def test_the_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["simulate", "--help"])
    shown = capsys.readouterr().out
    assert "ai-gateway simulate --endpoints 3" in shown
    assert "/simulator/faults" in shown


def test_flags_become_settings_and_the_rest_keeps_its_default() -> None:
    flags = ["--slots", "4", "--load-seconds", "0", "--capability", "plain=completion,tools", "--dialect", "old"]
    settings = settings_from(parser().parse_args(["simulate", *flags]))
    assert (settings.slots, settings.load_seconds, settings.max_loaded) == (4, 0.0, 3)
    assert settings.capabilities == {"plain": ("completion", "tools")}
    assert settings.reported_version == "0.24.0"


def test_every_default_in_the_help_is_the_settings_own(capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_from(parser().parse_args(["simulate"]))
    with pytest.raises(SystemExit):
        parser().parse_args(["simulate", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for sentence in (
        f"(default {settings.tokens_per_second:g})",
        f"(default {settings.prefill_tokens_per_second:g})",
        f"(default {settings.load_seconds:g})",
        f"OLLAMA_NUM_PARALLEL (default {settings.slots})",
        f"OLLAMA_MAX_LOADED_MODELS (default {settings.max_loaded})",
        f"OLLAMA_MAX_QUEUE (default {settings.max_queue})",
        f"(default {settings.keep_alive_seconds:g})",
        f"of every model (default {settings.context_length})",
        f"(default {settings.embedding_length})",
        f"(default {settings.answer_tokens})",
    ):
        assert sentence in shown


@pytest.mark.parametrize("flags", [["--slots", "0"], ["--listen", "nowhere"], ["--tokens-per-second", "-1"]])
def test_invalid_flags_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["simulate", *flags])
    assert flags[0] in capsys.readouterr().err
