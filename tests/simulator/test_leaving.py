"""Clients that disconnect, pods that die, ports that are in use."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.flow.waiting import PATIENCE_SECONDS, soon
from tests.simulator.conftest import FAST, HELLO, Client, ask, chat, connect, until

from ai_gateway.simulator import Settings, Simulator
from ai_gateway.simulator.endpoint import Endpoint
from ai_gateway.simulator.pacing import Pacing

SLOW = replace(FAST, tokens_per_second=20, answer_tokens=1000)
STREAM = {"model": "llama3", "messages": HELLO, "stream": True}


class StillOutlet:
    """A connection whose client does not read."""

    is_paused = True
    on_resume: Callable[[], None] | None = None


async def started(endpoint: Endpoint, **changes: object) -> Client:
    """A client whose request is being answered."""
    client = await connect(endpoint)
    running = endpoint.ledger.running
    client.send("POST", "/v1/chat/completions", STREAM | changes)
    await until(lambda: endpoint.ledger.running > running)
    return client


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_slot_for_the_next(stream: bool) -> None:
    async with Simulator(SLOW) as simulator:
        endpoint = simulator.endpoints[0]
        first = await started(endpoint, stream=stream)
        second = await started(endpoint)
        await first.close()
        assert b'"content":"I"' in await soon(second.reader.readuntil(b"\n\n"))
        assert (endpoint.ledger.cancelled, endpoint.ledger.running) == (1, 1)
        await second.close()


async def test_a_half_closed_connection_is_a_client_that_left() -> None:
    async with Simulator(SLOW) as simulator:
        endpoint = simulator.endpoints[0]
        client = await started(endpoint)
        client.writer.write_eof()
        await until(lambda: endpoint.ledger.cancelled == 1)
        await client.close()


async def test_leaving_during_the_load_aborts_it() -> None:
    async with Simulator(replace(SLOW, load_seconds=30)) as simulator:
        endpoint = simulator.endpoints[0]
        client = await started(endpoint)
        scheduler = endpoint.pod.leasing.scheduler
        await until(lambda: scheduler.loading is not None)
        await client.close()
        await until(lambda: scheduler.aborted_loads == 1)
        assert (await ask(endpoint, "GET", "/api/ps")).json == {"models": []}


async def test_nothing_is_sent_during_a_load() -> None:
    async with Simulator(replace(FAST, load_seconds=30)) as simulator:
        client = await started(simulator.endpoints[0])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), 0.1)
        await client.close()


async def test_a_full_queue_is_answered_503() -> None:
    async with Simulator(replace(SLOW, load_seconds=30, max_queue=1)) as simulator, AsyncExitStack() as stack:
        endpoint = simulator.endpoints[0]
        for model in ("llama3", "codellama:13b"):
            stack.push_async_callback((await started(endpoint, model=model)).close)
        assert (await chat(endpoint, model="mistral:7b")).status == 503


async def test_a_warm_prompt_is_answered_sooner() -> None:
    settings = replace(FAST, prefill_tokens_per_second=4_000, context_length=100_000)
    async with Simulator(settings) as simulator:
        loop, times = asyncio.get_running_loop(), []
        for _ in range(2):
            started_at = loop.time()
            await chat(simulator.endpoints[0], "word " * 4000, max_tokens=1)
            times.append(loop.time() - started_at)
        assert times[0] > 1.0
        assert times[1] < times[0] / 2


async def test_a_killed_pod_drops_its_streams_and_refuses(endpoint: Endpoint) -> None:
    async with Simulator(SLOW) as simulator:
        endpoint = simulator.endpoints[0]
        client = await started(endpoint)
        endpoint.kill()
        with pytest.raises(ConnectionResetError):
            await client.reader.readuntil(b"[DONE]")
        with pytest.raises(ConnectionRefusedError):
            await ask(endpoint, "GET", "/api/version")
        await client.close()


async def test_a_restarted_pod_has_its_port_and_its_disk_but_nothing_loaded(endpoint: Endpoint) -> None:
    address = endpoint.address
    await ask(endpoint, "POST", "/api/copy", {"source": "llama3", "destination": "mine"})
    await chat(endpoint)
    endpoint.restart()
    assert endpoint.address == address
    assert (await ask(endpoint, "GET", "/api/ps")).json == {"models": []}
    assert (await chat(endpoint, model="mine")).status == 200


async def test_a_slow_reader_stops_the_writing() -> None:
    async with Simulator(replace(FAST, answer_tokens=60_000)) as simulator:
        endpoint = simulator.endpoints[0]
        client = await started(endpoint)
        await asyncio.sleep(0.3)
        assert endpoint.ledger.running == 1
        async with asyncio.timeout(PATIENCE_SECONDS):
            while b"[DONE]" not in await client.reader.read(1 << 20):
                pass
        await client.close()


async def test_paused_pacing_gives_nothing_and_goes_on_when_resumed() -> None:
    given: list[tuple[int, int]] = []
    outlet = StillOutlet()
    pacing = Pacing(3, 0.01, lambda first, last: given.append((first, last)), outlet)
    running = asyncio.create_task(pacing.run())
    await asyncio.sleep(0.05)
    assert given == []
    outlet.is_paused = False
    assert outlet.on_resume is not None
    outlet.on_resume()
    await running
    assert [token for tokens in given for token in range(*tokens)] == [0, 1, 2]


async def test_a_taken_port_is_an_error_and_leaves_nothing_bound() -> None:
    async with Simulator(Settings()) as simulator:
        host, _, port = simulator.addresses[0].rpartition(":")
        other = Simulator(Settings(), listen=(host, int(port)))
        with pytest.raises(OSError, match="in use"):
            await other.start()
        assert other.addresses == ()
