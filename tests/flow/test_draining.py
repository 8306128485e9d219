"""How a gateway leaves: first nobody is sent there any more, then the port closes, and running answers are finished."""

import asyncio
from typing import Any

import pytest
import yaml
from tests.flow.line import Line, Reply, error_in
from tests.flow.upstream import DONE, Gate
from tests.flow.waiting import PATIENCE_SECONDS, soon, until
from tests.flow.world import CHAT, Served, World, chat, config

STREAM = chat(stream=True)
LONG_SECONDS = 60.0  # longer than any test waits


async def gateway(world: World, gate: Gate, **settings: Any) -> Served:
    """A gateway over one endpoint with two slots, and these times."""
    content = config([(await world.upstream(gate.act)).url], balancing={"slots": 2})
    return await world.gateway_with(yaml.safe_dump(content), **settings)


async def streaming(served: Served) -> Line:
    """A stream that has begun."""
    line = await served.begin(STREAM)
    await line.head()
    await line.event()
    return line


async def refused(port: int) -> None:
    """Returns when nobody listens there."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # it was about to be accepted when the port closed
                pass
            await asyncio.sleep(0.005)


async def drain(served: Served, method: str = "POST") -> Reply:
    """What the admin port says to who asks it to drain."""
    line = await Line.open(served.admin_port)
    await line.send(method, "/drain")
    reply = await line.reply()
    line.leave()
    return reply


async def test_during_the_delay_new_requests_are_served_and_sent_elsewhere_next(world: World) -> None:
    """Not ready, so that no Service picks it; a late request still gets an answer, and `connection: close`."""
    served = await gateway(world, Gate(), drain_seconds=LONG_SECONDS)
    kept = await served.open()
    await kept.send("POST", CHAT, chat())
    assert (await kept.reply()).header("connection") is None
    served.shutdown.request()
    await served.readiness(503)
    assert (await served.probe("/readyz")).json == {"ready": False, "reason": "draining"}
    assert (await served.probe("/livez")).status == 200
    new = await served.chat()
    assert (new.status, new.header("connection")) == (200, "close")
    await kept.send("POST", CHAT, chat())
    old = await kept.reply()
    assert (old.status, old.header("connection")) == (200, "close")
    assert await kept.is_closed()


async def test_after_the_delay_the_port_closes_and_streams_come_to_their_end(world: World) -> None:
    """The admin port answers as long as they run, and closes last."""
    gate = Gate()
    served = await gateway(world, gate, drain_seconds=0.05, grace_seconds=LONG_SECONDS)
    line = await streaming(served)
    served.shutdown.request()
    await refused(served.port)
    assert (await served.probe("/readyz")).status == 503
    gate.opened.set()
    assert (await line.rest()).endswith(DONE)
    await refused(served.admin_port)


async def test_a_late_stream_says_that_the_server_leaves(world: World) -> None:
    """When the grace is over: an error event with its code, and no [DONE] that would make half an answer whole."""
    served = await gateway(world, Gate(), grace_seconds=0.05)
    line = await streaming(served)
    served.shutdown.request()
    rest = (await line.rest()).decode()
    *_, last = rest.split("\n\n")[:-1]
    assert error_in(last.removeprefix("data: "))["code"] == "server_shutdown"
    assert "[DONE]" not in rest
    record = await served.recorded()
    assert (record.outcome.kind, record.outcome.error_code) == ("shutdown", "server_shutdown")


async def test_after_a_late_stream_the_connection_closes(world: World) -> None:
    """On the connection that it keeps: there is no time for an answer, but for a word, instead of a reset."""
    served = await gateway(world, Gate(), grace_seconds=0.05)
    line = await streaming(served)
    served.shutdown.request()
    await line.rest()
    await line.send("POST", CHAT, chat())
    reply = await line.reply()
    assert (reply.status, reply.error["code"], reply.header("connection")) == (503, "server_shutdown", "close")


async def test_a_call_that_waits_when_the_signal_comes_is_served(world: World) -> None:
    """The queue is part of what runs."""
    gate = Gate()
    served = await gateway(world, gate, grace_seconds=LONG_SECONDS)
    running = [await streaming(served), await streaming(served)]
    waiting = await served.begin(STREAM)
    await until(lambda: served.waiting == 1)
    served.shutdown.request()
    await refused(served.port)
    gate.opened.set()
    for line in running:
        assert (await line.rest()).endswith(DONE)
    assert (await waiting.reply()).body.endswith(DONE)


async def test_a_second_signal_is_immediate(world: World) -> None:
    """Whatever the delay and the grace."""
    served = await gateway(world, Gate(), drain_seconds=LONG_SECONDS, grace_seconds=LONG_SECONDS)
    line = await streaming(served)
    served.shutdown.request()
    await served.readiness(503)
    served.shutdown.request()
    await refused(served.port)
    await refused(served.admin_port)
    with pytest.raises((AssertionError, asyncio.IncompleteReadError, ConnectionError)):
        assert DONE in await line.rest()


async def test_the_signal_after_a_pre_stop_hook_is_the_first_one(world: World) -> None:
    """The hook has begun it, so the kubelet's SIGTERM must not end it; only one more does."""
    gate = Gate()
    served = await gateway(world, gate, drain_seconds=LONG_SECONDS, grace_seconds=LONG_SECONDS)
    line = await streaming(served)
    assert (await drain(served)).json == {"draining": True}
    await served.readiness(503)
    served.shutdown.request()
    assert (await served.chat()).header("connection") == "close"
    gate.opened.set()
    assert (await line.rest()).endswith(DONE)
    served.shutdown.request()
    await refused(served.admin_port)


async def test_a_drain_is_asked_for_with_post(world: World) -> None:
    """A browser or a scraper that looks at the path begins nothing; asked twice, it is still one drain."""
    served = await gateway(world, Gate(), drain_seconds=LONG_SECONDS)
    assert (await drain(served, "GET")).status == 405
    assert (await served.probe("/readyz")).status == 200
    assert (await drain(served)).status == 200
    assert (await drain(served)).status == 200
    await soon(served.shutdown.requested.wait())
    assert (await served.chat()).status == 200
    assert not served.shutdown.forced.is_set()


async def test_a_drain_is_asked_for_on_this_machine_alone(world: World) -> None:
    """Who reaches the admin port from elsewhere, to scrape or to probe it, cannot end the gateway."""
    served = await gateway(world, Gate())
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/drain", "headers": [], "query_string": b""}
    await served.gateway.admin({**scope, "client": ("203.0.113.7", 1)}, receive, send)
    assert said[0]["status"] == 403
    assert not served.shutdown.requested.is_set()


async def test_who_states_a_patience_does_not_wait_for_services(world: World) -> None:
    """SIGINT, from a keyboard: the port closes at once, running answers have that long."""
    gate = Gate()
    served = await gateway(world, gate, drain_seconds=LONG_SECONDS, grace_seconds=LONG_SECONDS)
    line = await streaming(served)
    served.shutdown.request(LONG_SECONDS / 2)
    await refused(served.port)
    gate.opened.set()
    assert (await line.rest()).endswith(DONE)
    await refused(served.admin_port)


async def test_a_patience_stated_during_the_delay_ends_the_delay(world: World) -> None:
    """A pre-stop hook and then Ctrl-C: nobody waits for Services any more; what began during the delay is finished."""
    gate = Gate()
    served = await gateway(world, gate, drain_seconds=LONG_SECONDS, grace_seconds=LONG_SECONDS)
    await drain(served)
    await served.readiness(503)
    line = await streaming(served)
    served.shutdown.request(LONG_SECONDS / 2)
    await refused(served.port)
    gate.opened.set()
    assert (await line.rest()).endswith(DONE)
