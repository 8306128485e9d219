"""Bodies that are small to send and dear to read: what they cost, and how long anybody else waits behind them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import pytest
from tests.attack.bodies import CHAT_PATH, KINDS, MIB, beside, take_unread
from tests.attack.command import serving
from tests.attack.holding import callbacks_timed
from tests.attack.table import Tried
from tests.cost import TRIES, slowness
from tests.flow.test_access import Ring, bearer
from tests.flow.world import World, config

from ai_gateway.accounting.admission import AdmissionControl, TokenAccounting
from ai_gateway.accounting.buffers import Buffers
from ai_gateway.catalog.active import ActiveConfig
from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.types import Body, Config
from ai_gateway.edge.asgi import HEADERS_KEY, Message
from ai_gateway.edge.incoming import Incoming
from ai_gateway.errors import GatewayError
from ai_gateway.exchange import Exchange, Ids, Times
from ai_gateway.limits.limiter import Limiter, LimiterDeps
from ai_gateway.wire.operations import CHAT, EMBEDDINGS

CHUNK: Final = 64 << 10  # as the server hands a body on
LARGEST: Final = 20 * MIB - 4096
# What is dear in many small parts is read at once up to one of these.
SMALL_SIZES: Final = (16 << 10, 40 << 10, 63 << 10, 127 << 10)
HELD_SECONDS: Final = 0.005  # at most, at once
# In all, where it is more than 4 s: some 500,000 messages, of which each is changed.
MOST_SECONDS: Final = {"messages without a content": 8.0, "messages of a tool call": 6.0}


async def _came(body: bytes) -> AsyncIterator[Message]:
    for at in range(0, len(body), CHUNK):
        yield {"type": "http.request", "body": body[at : at + CHUNK], "more_body": at + CHUNK < len(body)}


async def read(path: str, body: bytes) -> int:
    """Reads a body as the request path does; returns the status that it would get, 200 where it may go on."""
    operation = EMBEDDINGS if "embeddings" in path else CHAT
    config = Config(body=Body())
    limiting = AdmissionControl(Limiter(LimiterDeps(lambda: 0.0, lambda: 0.0)), TokenAccounting(lambda: 0.0))
    exchange, active = Exchange(Ids("r"), Times(0.0), "POST", path), ActiveConfig(config, Catalog(config))
    messages = _came(body)

    async def receive() -> Any:
        return await anext(messages)

    try:
        headers = {b"content-type": b"application/json", b"content-length": b"%d" % len(body)}
        with Incoming(Buffers(), limiting, exchange, active) as incoming:
            await incoming.ask({HEADERS_KEY: headers}, None)  # type: ignore[arg-type]  # nobody is asked for models
            call = await incoming.read(operation, receive)
            call.upstream(None).naming("llama3:latest")
    except GatewayError as error:
        return error.error_status
    return 200


@pytest.mark.attack("bodies", "20 MiB of the dearest JSON do not hold the loop")
@pytest.mark.parametrize("kind", KINDS)
def test_no_body_holds_the_loop(kind: str, tried: Tried) -> None:
    path, status, make = KINDS[kind]
    body = make(LARGEST)
    best = 1.0
    for _ in range(TRIES):  # another process may take the caches away
        with callbacks_timed() as held, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            assert runner.run(read(path, body)) == status
        best = min(best, held.longest_seconds)
        if best < HELD_SECONDS:
            break
    tried.figure(f"{len(body) / MIB:.0f} MiB, {held}")
    assert best < HELD_SECONDS * slowness()
    assert held.total_seconds < MOST_SECONDS.get(kind, 4.0) * slowness()


@pytest.mark.attack("bodies", "up to 128 KiB, read at once or in windows, do not hold the loop either")
@pytest.mark.parametrize("kind", KINDS)
def test_no_small_body_holds_the_loop(kind: str, tried: Tried) -> None:
    path, _, make = KINDS[kind]
    tried.times = len(SMALL_SIZES)
    for size in SMALL_SIZES:
        body = make(size)
        best = 1.0
        for _ in range(TRIES):
            with callbacks_timed() as held, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                assert runner.run(read(path, body)) in (200, 400)
            best = min(best, held.longest_seconds)
        tried.figure(f"{size >> 10} KiB: {best * 1000:.1f} ms")
        assert best < HELD_SECONDS * slowness()


@pytest.mark.attack("bodies", "40,000 keys in 429 KB cost next to nothing")
async def test_keys_cost_nothing(world: World, tried: Tried) -> None:
    body = beside(b"1")[:-1] + b"".join(b',"k%d":1' % number for number in range(40_000)) + b"}"
    upstream = await world.upstream(take_unread)
    async with serving(world.folder, config([upstream.url])) as command:
        await command.ready()
        before = command.loop_cpu_seconds
        reply = await command.ask("POST", CHAT_PATH, body)
        spent = command.loop_cpu_seconds - before
        assert (reply.status, reply.error["code"]) == (400, "invalid_json")
        assert "256 keys" in reply.error["message"]
        tried.figure(f"{spent * 1000:.0f} ms of CPU")
        assert spent < 0.2


@pytest.mark.attack("bodies", "others are answered while 20 MiB of small lists are read")
async def test_others_are_answered_meanwhile(world: World, tried: Tried) -> None:
    path, status, make = KINDS["nesting 30 deep"]
    upstream = await world.upstream(take_unread)
    async with serving(world.folder, config([upstream.url], balancing={"slots": 4})) as command:
        await command.ready()
        reading = asyncio.create_task(command.ask("POST", path, make(LARGEST)))
        tried.times = 0
        while not reading.done():
            assert (await command.chat()).status == 200
            tried.times += 1
        assert (await reading).status == status
        tried.figure(f"{tried.times} calls answered meanwhile")
        assert tried.times >= 20


@pytest.mark.attack("bodies", "a key with rpm 1 and no right to the model has one body read, not one after another")
@pytest.mark.parametrize("model", ["nothing", "coder"])
async def test_who_may_do_nothing_has_nothing_read(world: World, tried: Tried, model: str) -> None:
    ring = Ring(world.folder)
    headers = bearer(ring.add("mallory", models=["llama*"], limits={"rpm": 1}))
    body = beside(b"[" + b"[]," * (6 * MIB) + b"1]").replace(b"llama3", model.encode(), 1)
    upstream = await world.upstream(take_unread)
    async with serving(world.folder, config([upstream.url], auth=ring.auth)) as command:
        await command.ready()
        assert (await command.ask("POST", CHAT_PATH, body, headers)).status == 404
        before = command.loop_cpu_seconds
        tried.times = 10
        for _ in range(tried.times):
            line = await command.open()
            await line.write(head(len(body), headers))  # the answer comes before the body
            reply = await line.reply()
            line.leave()
            assert (reply.status, reply.error["type"]) == (429, "rate_limited")
        spent = command.loop_cpu_seconds - before
        tried.figure(f"{spent / tried.times * 1000:.1f} ms of CPU each")
        assert spent < 0.3
        assert (await command.chat(headers=headers)).status == 429  # a small one, too


@pytest.mark.attack("bodies", "a caller who may use no model, or not the route, is refused by the head alone")
async def test_who_has_no_right_at_all_is_refused_by_the_head(world: World, tried: Tried) -> None:
    ring = Ring(world.folder)
    none = ring.add("none", models=["gpt-*"])
    elsewhere = ring.add("elsewhere", routes=["embeddings"])
    upstream = await world.upstream(take_unread)
    async with serving(world.folder, config([upstream.url], auth=ring.auth)) as command:
        await command.ready()
        for key, status, code in ((none, 404, "model_not_found"), (elsewhere, 403, "route_not_allowed")):
            line = await command.open()
            await line.write(head(LARGEST, bearer(key)))
            reply = await line.reply()
            line.leave()
            assert (reply.status, reply.error["code"]) == (status, code)
    tried.times = 2


def head(size: int, headers: Mapping[str, str]) -> bytes:
    """The head of a chat call that announces so many bytes."""
    lines = {"host": "localhost", "content-type": "application/json", "content-length": str(size), **headers}
    return (
        f"POST {CHAT_PATH} HTTP/1.1\r\n".encode()
        + "".join(f"{k}: {v}\r\n" for k, v in lines.items()).encode()
        + b"\r\n"
    )
