"""A client that leaves frees everything at once, in every phase; one that does not read holds back little."""

import asyncio
import socket
from functools import partial

import pytest
from tests.flow.upstream import DONE, END, SSE_HEAD, Visit, answer, answer_well, event, framed, whole
from tests.flow.waiting import soon, until
from tests.flow.world import CHAT, World, chat

from ai_gateway.simulator.faults import Fault
from ai_gateway.simulator.pod import Ledger

STREAM = chat(stream=True)


@pytest.mark.parametrize("way", ["leave", "vanish"])
@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_before_the_head_frees_the_endpoint(world: World, way: str, stream: bool) -> None:
    """The endpoint's connection is closed within a second, its slot is free, the record says client_left."""
    gone = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.gone()
        gone.set()

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url])
    line = await served.begin(chat(stream=stream))
    await until(lambda: upstream.visits)
    assert served.in_flight == 1
    getattr(line, way)()
    await soon(gone.wait())
    await until(lambda: served.is_idle)
    record = await served.recorded()
    assert record.outcome.kind == "client_left"
    assert record.attempts[0].status is None


@pytest.mark.parametrize("way", ["leave", "vanish"])
async def test_leaving_in_mid_stream_frees_the_endpoint(world: World, way: str) -> None:
    """Also while the endpoint is silent; what went out is recorded."""
    gone = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("one")))
        await visit.gone()
        gone.set()

    served = await world.gateway([(await world.upstream(act)).url])
    line = await served.begin(STREAM)
    await line.head()
    await line.event()
    getattr(line, way)()
    await soon(gone.wait())
    await until(lambda: served.is_idle)
    record = await served.recorded()
    assert (record.outcome.kind, record.outcome.status) == ("client_left", 200)
    assert record.outcome.sent_bytes > 0


async def test_leaving_in_the_middle_of_a_whole_answer_frees_the_endpoint(world: World) -> None:
    """The head came, the body is still being written."""
    gone = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(whole(answer("x" * 1000))[:500])
        await visit.gone()
        gone.set()

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url])
    line = await served.begin(chat())
    await until(lambda: upstream.visits)
    line.leave()
    await soon(gone.wait())
    await until(lambda: served.is_idle)


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_the_queue_leaves_no_trace(world: World, stream: bool) -> None:
    """Who left gets no slot: the next in the queue gets it, in order; the endpoint never hears of the other."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await go_on.wait()
        await visit.say(whole(answer()))

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url])
    first = await served.begin(chat("first"))
    await until(lambda: upstream.visits)
    leaver = await served.begin(chat("leaver", stream=stream))
    await until(lambda: served.waiting == 1)
    third = await served.begin(chat("third"))
    await until(lambda: served.waiting == 2)
    leaver.leave()
    await until(lambda: served.waiting == 1)
    assert (await served.recorded()).outcome.kind == "client_left"
    go_on.set()
    assert [(await first.reply()).status, (await third.reply()).status] == [200, 200]
    assert [visit.fields["messages"][0]["content"] for visit in upstream.visits] == ["first", "third"]
    first.leave()
    third.leave()


async def test_leaving_while_connecting_frees_the_slot(world: World) -> None:
    """An endpoint that takes no connection, a full backlog: the slot comes back when the client goes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listener.getsockname()[1]
    fillers = []
    try:
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        served = await world.gateway(
            [f"http://127.0.0.1:{port}"],
            is_ready=False,
            timeouts={"connect": "60s"},
            polling={"interval": "60s", "timeout": "60s"},
        )
        fleet = served.gateway.fleet
        await soon(fleet.listed.wait())
        (endpoint,) = fleet.endpoints.values()
        fleet.saw_residents(endpoint, None, 0.0)  # the poll is over: nothing is known, and calls go out all the same
        line = await served.begin(STREAM)
        await until(lambda: served.in_flight == 1)
        line.leave()
        await until(lambda: served.is_idle)
        assert (await served.recorded()).outcome.kind == "client_left"
    finally:
        for sock in (*fillers, listener):
            sock.close()


async def test_leaving_between_two_attempts_frees_everything(world: World) -> None:
    """The first endpoint broke off, the second has no free slot: the call waits, then its client goes."""
    hold = asyncio.Event()

    async def act(visit: Visit) -> None:
        if "hold" in visit.body.decode():
            await hold.wait()
            await answer_well(visit)
        else:
            visit.reset()

    first, second = await world.upstream(act), await world.upstream(act)
    served = await world.gateway([first.url, second.url])
    held = [await served.begin(chat("hold"))]
    await until(lambda: len(first.visits) + len(second.visits) == 1)
    line = await served.begin(chat("break"))
    await until(lambda: len(first.visits) + len(second.visits) == 2)
    await until(lambda: served.waiting == 1)
    line.leave()
    await until(lambda: served.waiting == 0)
    await until(lambda: served.in_flight == 1)
    hold.set()
    assert (await held[0].reply()).status == 200


async def test_leaving_while_the_body_is_sent_is_recorded(world: World) -> None:
    """Half a body, then nobody: no call is made, nothing is held."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    line = await served.open()
    await line.write(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode())
    await line.write(b"content-length: 1000\r\n\r\n{")
    line.leave()
    assert (await served.recorded()).outcome.kind == "client_left"
    assert not simulator.endpoints[0].ledger.last


def cancelled_since(ledger: Ledger, before: int) -> bool:
    """Whether one more client has left."""
    return ledger.cancelled > before


async def test_a_simulated_pod_sees_its_client_leave(world: World) -> None:
    """The simulator counts a cancelled request, and runs nothing any more."""
    simulator = await world.simulator(tokens_per_second=20.0)
    served = await world.gateway(simulator.urls)
    ledger = simulator.endpoints[0].ledger
    for stream in (True, False):
        before = ledger.cancelled
        line = await served.begin(chat(stream=stream, max_tokens=1000))
        if stream:
            await line.head()
        await until(lambda: served.in_flight == 1)
        line.leave()
        await until(partial(cancelled_since, ledger, before))
        await until(lambda: served.is_idle)


async def test_a_slow_reader_stops_the_reading_upstream(world: World) -> None:
    """Bounded memory: what the endpoint could write stays small while the client reads nothing; then all comes.

    The kernel's own buffers hold up to 38 MB: the busier the machine, the more of them.
    """
    wrote = 0
    text = "x" * 10_000
    count = 10_000

    async def act(visit: Visit) -> None:
        nonlocal wrote
        visit.writer.transport.set_write_buffer_limits(high=1 << 12)
        await visit.say(SSE_HEAD)
        data = framed(event(text))
        for _ in range(count):
            await visit.say(data)
            wrote += len(data)
        await visit.say(framed(event("", "stop")), framed(DONE), END)

    served = await world.gateway([(await world.upstream(act)).url])
    line = await served.open(receive_bytes=1 << 16)
    await line.send("POST", CHAT, STREAM)
    await line.head()
    seen = [-1]

    def is_still() -> bool:
        seen.append(wrote)
        return len(seen) > 50 and seen[-1] == seen[-50]

    await until(is_still)
    assert 0 < wrote < count * len(text) // 2
    found = 0
    while (block := await line.event()) is not None:
        found += block.count(text)
    assert found == count
    line.leave()
    assert (await served.recorded()).outcome.kind == "ok"


async def test_a_client_that_reads_nothing_is_cut_off(world: World) -> None:
    """After `timeouts.client_stall` the endpoint and the slot are free; the connection ends."""
    gone = asyncio.Event()

    async def act(visit: Visit) -> None:
        data = framed(event("x" * 10_000))
        await visit.say(SSE_HEAD)
        try:
            while True:
                await visit.say(data)
        finally:
            gone.set()

    served = await world.gateway([(await world.upstream(act)).url], timeouts={"client_stall": "200ms"})
    line = await served.open(receive_bytes=4096)
    await line.send("POST", CHAT, STREAM)
    await line.head()
    await soon(gone.wait())
    await until(lambda: served.is_idle)
    record = await served.recorded()
    assert record.outcome.kind == "client_stalled"
    line.vanish()


async def test_clients_that_leave_hanging_pods_free_all_of_them(world: World) -> None:
    """Hanging pods hold no slot longer than their clients wait, and a queue behind them empties."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls)
    for endpoint in simulator.endpoints:
        endpoint.faults.add(Fault(kind="hang", routes="openai"))
    lines = [await served.begin(chat(max_tokens=1)) for _ in range(6)]
    await until(lambda: served.in_flight == 2 and served.waiting == 4)
    for line in lines:
        line.leave()
    await until(lambda: served.is_idle)
    await until(lambda: all(e.ledger.running == 0 for e in simulator.endpoints))
