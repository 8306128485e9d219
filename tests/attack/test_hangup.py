"""SIGHUP, as operators and terminals send it to a whole gateway."""

import asyncio
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
import yaml
from tests.attack.command import Command
from tests.attack.table import Tried
from tests.flow.waiting import soon, until
from tests.flow.world import World, config

READ_AGAIN = "SIGHUP: reading config and certificates again"
IN_TERMINAL = ("/bin/sh", "-c", 'exec <"$0" && exec "$@"')  # who leads a session takes the first terminal it opens


@asynccontextmanager
async def started(world: World, *before: str) -> AsyncIterator[Command]:
    """A gateway that leads a session of its own, by the words `before` it, if any; not waited for."""
    simulator = await world.simulator(tokens_per_second=50.0)
    (world.folder / "config.yml").write_text(yaml.safe_dump(config(simulator.urls)))
    words = [*before, sys.executable, "-m", "ai_gateway", "serve", "--config", str(world.folder / "config.yml")]
    words += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    variables = {**os.environ, "OLLAMA_HOST": "127.0.0.1:9", "XDG_STATE_HOME": str(world.folder / "state")}
    with (world.folder / "stdout").open("wb") as out, (world.folder / "stderr").open("wb") as error:
        process = await asyncio.create_subprocess_exec(
            *words, env=variables, stdout=out, stderr=error, start_new_session=True
        )
    try:
        yield Command(process, world.folder)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def heard(command: Command, count: int, words: str = READ_AGAIN) -> None:
    """Returns once the log has these words that often."""
    await until(lambda: command.log.count(words) == count, f"{count} x {words}")


@pytest.mark.attack("http", "kill -HUP without a terminal: the config is read again, and nobody is cut")
async def test_without_a_terminal_files_are_read_again(world: World, tried: Tried) -> None:
    async with started(world) as command:
        await command.listening()
        await command.ready()
        for count in range(1, 6):
            command.process.send_signal(signal.SIGHUP)
            await heard(command, count)
            await heard(command, count, "config reloaded")
            assert (await command.ask("GET", "/v1/models")).status == 200
        assert command.is_alive
        tried.times = 5
        assert await command.end() == 0


@pytest.mark.attack("http", "kill -HUP after a file that the config names has come")
async def test_sighup_reads_the_files_of_the_config_again(world: World) -> None:
    late = world.folder / "ca.pem"
    async with started(world) as command:
        await command.listening()
        path = world.folder / "config.yml"
        content = yaml.safe_load(path.read_text())
        content["discovery"] = {"static": [{"url": "https://127.0.0.1:9", "ca_file": str(late)}]}
        new = path.with_suffix(".new")
        new.write_text(yaml.safe_dump(content))
        new.replace(path)
        await until(lambda: "there is no file" in command.log, command.log)
        late.write_text(trustme.CA().cert_pem.bytes().decode())
        command.process.send_signal(signal.SIGHUP)
        await until(lambda: "config reloaded" in command.log, command.log)


@pytest.mark.attack("http", "kill -HUP while the gateway is still starting")
@pytest.mark.parametrize("wait", [0.06, 0.1, 0.2, 0.3, 0.45])
async def test_a_wish_that_comes_early_does_not_end_it(world: World, wait: float) -> None:
    async with started(world) as command:
        path = Path(f"/proc/{command.process.pid}/status")
        caught = 1 << (signal.SIGHUP - 1)
        await until(lambda: bool(int(path.read_text().partition("SigCgt:")[2].split()[0], 16) & caught), "it hears")
        await asyncio.sleep(wait - 0.06)
        command.process.send_signal(signal.SIGHUP)
        await command.listening()
        await until(lambda: READ_AGAIN in command.log, "it is not forgotten")
        await command.ready()
        assert await command.end() == 0


@pytest.mark.attack("http", "a terminal that hangs up, with a stream under way")
async def test_a_terminal_that_goes_is_the_end_after_a_drain(world: World) -> None:
    ours, theirs = pty.openpty()
    async with started(world, *IN_TERMINAL, os.ttyname(theirs)) as command:
        await command.listening()
        await command.ready()
        line = await command.open()
        body = b'{"model": "llama3", "stream": true, "max_tokens": 40, "messages": [{"role": "user", "content": "x"}]}'
        await line.send("POST", "/v1/chat/completions", body)
        assert (await line.head()).status == 200
        os.close(theirs)
        os.close(ours)  # the kernel sends SIGHUP to the session's leader
        command.process.send_signal(signal.SIGHUP)  # and so do shells: it is no second signal
        await until(lambda: "leaving: finishing running answers first" in command.log, command.log)
        assert (await line.rest()).endswith(b"data: [DONE]\n\n")
        line.leave()
        assert await soon(command.process.wait(), 20) == 0
        assert READ_AGAIN not in command.log


@pytest.mark.attack("http", "nohup, and then the terminal hangs up")
async def test_under_nohup_a_gateway_outlives_its_terminal(world: World) -> None:
    ours, theirs = pty.openpty()
    async with started(world, *IN_TERMINAL, os.ttyname(theirs), "nohup") as command:
        await command.listening()
        os.close(theirs)
        os.close(ours)
        await until(lambda: READ_AGAIN in command.log, "it was heard")
        await command.ready()
        assert await command.end() == 0
