"""Streams tell the truth: events as they come, ours in their heads, and an honest end."""

import asyncio
import json
from typing import Any

import pytest
from tests.flow.line import Line, error_in
from tests.flow.upstream import DONE, END, SSE_HEAD, Upstream, Visit, answer, answer_well, event, framed, whole
from tests.flow.waiting import PATIENCE_SECONDS, soon, until
from tests.flow.world import Served, World, chat

from ai_gateway.simulator.faults import Fault

STREAM = chat(stream=True)


def data_of(block: str | None) -> Any:
    """An event's JSON."""
    assert block is not None
    assert block.startswith("data: "), block
    return json.loads(block.removeprefix("data: "))


def text_of(contents: list[Any]) -> str:
    """What a stream says."""
    return "".join(content["choices"][0]["delta"].get("content") or "" for content in contents if content["choices"])


async def blocks(line: Line) -> list[str]:
    """All that comes on a stream."""
    found = []
    while (block := await line.event()) is not None:
        found.append(block)
    return found


async def test_the_first_event_comes_before_the_last_is_written(world: World) -> None:
    """Each event goes out when it comes in."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("one")))
        await go_on.wait()
        await visit.say(framed(event(" two")), framed(event("", "stop")), framed(DONE), END)

    served = await world.gateway([(await world.upstream(act)).url])
    line = await served.begin(STREAM)
    head = await line.head()
    assert head.header("content-type") == "text/event-stream"
    assert head.header("cache-control") == "no-cache"
    assert head.header("x-accel-buffering") == "no"
    assert head.header("content-encoding") is None
    first = data_of(await line.event())
    go_on.set()
    rest = await blocks(line)
    contents = [first, *map(data_of, rest[:-1])]
    assert text_of(contents) == "one two"
    assert rest[-1] == "data: [DONE]"
    assert len({content["id"] for content in contents}) == 1
    assert first["id"].startswith("chatcmpl-")
    assert first["id"] != "chatcmpl-417"
    line.leave()


@pytest.mark.parametrize("dialect", ["new", "old"])
@pytest.mark.parametrize("asks_usage", [False, True])
async def test_both_dialects_pass_with_our_id_and_the_model_asked(world: World, dialect: str, asks_usage: bool) -> None:
    """One id, unique per stream; the alias in every event; the usage event only for those who asked."""
    served = await world.gateway((await world.simulator(dialect=dialect)).urls)
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks_usage else {}
    seen = []
    for _ in range(3):
        reply = await served.chat(model="code", stream=True, max_tokens=5, **more)
        *events, done = reply.events
        assert done == "data: [DONE]"
        contents = [data_of(block) for block in events]
        assert {content["model"] for content in contents} == {"code"}
        assert len({content["id"] for content in contents}) == 1
        assert {content["object"] for content in contents} == {"chat.completion.chunk"}
        seen.append(contents[0]["id"])
        usages = [content for content in contents if content.get("usage")]
        assert len(usages) == asks_usage
        if asks_usage:
            assert usages[0] is contents[-1]
            assert usages[0]["choices"] == []
            assert usages[0]["usage"]["completion_tokens"] == 5
        assert contents[-1 - asks_usage]["choices"][0]["finish_reason"] == "length"
        assert not any("error" in content for content in contents)
    assert len(set(seen)) == 3
    record = await served.recorded(3)
    assert record.tokens.usage is not None
    assert (record.tokens.usage.output_tokens, record.outcome.finish_reason, record.outcome.kind) == (5, "length", "ok")


@pytest.mark.parametrize("dialect", ["new", "old"])
async def test_a_stream_split_at_every_byte_is_the_same(world: World, dialect: str) -> None:
    """Events do not depend on how the network cuts them."""
    simulator = await world.simulator(dialect=dialect)
    served = await world.gateway(simulator.urls)

    async def stream() -> list[Any]:
        reply = await served.chat(
            "split me", stream=True, max_tokens=12, seed=1, stream_options={"include_usage": True}
        )
        assert reply.events[-1] == "data: [DONE]"
        contents = [data_of(block) for block in reply.events[:-1]]
        for content in contents:
            content["id"] = content["created"] = 0
        return contents

    at_once = await stream()
    simulator.endpoints[0].faults.add(Fault(kind="split"))
    assert await stream() == at_once


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_line_ends_and_characters_may_be_cut_anywhere(world: World, ends: bytes, size: int) -> None:
    """LF and CRLF, comments, other fields, UTF-8 cut inside a character: the content is the same."""
    text = 'data: [DONE]\r\n\n "finish_reason":"stop" "model":"" \u2028 😀 ä {"error":{"message":"x"}}'
    plain = b": hello\n\n" + event("first") + b"event: x\nid: 3\nretry: 5\n" + event(text) + event("", "stop") + DONE
    data = plain.replace(b"\n", ends)

    async def act(visit: Visit) -> None:
        pieces = [framed(data[start : start + size]) for start in range(0, len(data), size)]
        await visit.say(SSE_HEAD, *pieces, END)

    served = await world.gateway([(await world.upstream(act)).url])
    reply = await served.chat(stream=True)
    assert b"\r" not in reply.body
    *events, done = [block for block in reply.events if not block.startswith(":")]
    assert done == "data: [DONE]"
    assert text_of([data_of(block) for block in events]) == "first" + text


async def test_content_cannot_break_the_framing(world: World) -> None:
    """A prompt that says `[DONE]`, a finish_reason or an error is repeated as content, and the stream goes on."""
    words = [
        "data: [DONE]\n\n",
        '"finish_reason":"stop"',
        '{"error":{"message":"no"}}',
        '"model":""',
        "a\r\nb",
        "\u2029",
    ]

    async def act(visit: Visit) -> None:
        pieces = [framed(event(word)) for word in words]
        await visit.say(SSE_HEAD, *pieces, framed(event("", "stop")), framed(DONE), END)

    served = await world.gateway([(await world.upstream(act)).url])
    reply = await served.chat("".join(words), stream=True)
    contents = [data_of(block) for block in reply.events[:-1]]
    assert [content["choices"][0]["delta"]["content"] for content in contents] == [*words, ""]
    assert (await served.recorded()).outcome.kind == "ok"


async def test_tool_calls_and_reasoning_pass_as_openai_has_them(world: World) -> None:
    """Deltas that the gateway does not know are relayed as they are; unknown top-level fields too.

    Only the empty text beside tool calls is null, as it is at OpenAI.
    """
    calls = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1.0}'}}]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "reasoning": "hm"}, {"content": "", "tool_calls": calls}]

    def raw(delta: dict[str, Any], finish: str | None) -> bytes:
        return event("", choices=[{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}], x_new=[1])

    async def act(visit: Visit) -> None:
        pieces = [*(raw(delta, None) for delta in deltas), raw({}, "tool_calls")]
        await visit.say(SSE_HEAD, *map(framed, pieces), framed(DONE), END)

    served = await world.gateway([(await world.upstream(act)).url])
    contents = [data_of(block) for block in (await served.chat(stream=True)).events[:-1]]
    deltas[1]["content"] = None
    assert [content["choices"][0]["delta"] for content in contents] == [*deltas, {}]
    assert all(content["x_new"] == [1] for content in contents)
    assert contents[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("kind", ["cut", "truncate", "end", "eof", "loop_guard"])
@pytest.mark.parametrize("dialect", ["new", "old"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_broken_stream_ends_in_an_error_event(world: World, kind: Any, dialect: str, path: str) -> None:
    """Reset, empty model, silent end, FIN, loop guard: an error of type backend_unavailable, no [DONE], recorded."""
    simulator = await world.simulator(dialect=dialect)
    served = await world.gateway(simulator.urls)
    simulator.endpoints[0].faults.add(Fault(kind=kind, after_tokens=3))
    body = {"model": "llama3", "prompt": "x", "messages": [{"role": "user", "content": "x"}], "stream": True}
    reply = await served.ask("POST", path, json.dumps({**body, "max_tokens": 9}).encode())
    assert reply.status == 200
    *events, last = reply.events
    error = error_in(last.removeprefix("data: "))
    assert (error["type"], error["code"]) == ("backend_unavailable", "upstream_disconnected")
    assert "data: [DONE]" not in events
    assert len(events) >= 3
    record = await served.recorded()
    assert (record.outcome.kind, record.outcome.status, record.outcome.error_code) == (
        "upstream_broke",
        502,
        "upstream_disconnected",
    )
    assert record.outcome.reason
    assert len(record.attempts) == 1


@pytest.mark.parametrize(
    "break_off",
    [
        b'data: {"error":{"message":"boom","type":"api_error"}}\n\n',
        b"data: {oops\n\n",
        b"data: [1]\n\n",
        DONE,
        event("", model=""),
    ],
)
async def test_an_event_that_is_no_chunk_ends_the_stream_in_an_error(world: World, break_off: bytes) -> None:
    """Error events, nonsense, [DONE] without a finish_reason, an empty model; what follows is not passed on."""

    async def act(visit: Visit) -> None:
        late = framed(event("late")) + framed(event("", "stop")) + framed(DONE)
        await visit.say(SSE_HEAD, framed(event("one")), framed(break_off), late, END)

    served = await world.gateway([(await world.upstream(act)).url])
    reply = await served.chat(stream=True)
    first, last = reply.events
    assert text_of([data_of(first)]) == "one"
    assert error_in(last.removeprefix("data: "))["type"] == "backend_unavailable"
    assert "boom" not in last
    assert (await served.recorded()).outcome.kind == "upstream_broke"


@pytest.mark.parametrize(
    "kind", ["empty", "only_end", "rst", "json", "no_type", "error_first", "html", "empty_model_first"]
)
async def test_a_stream_that_breaks_before_its_first_event_is_json(world: World, kind: str) -> None:
    """Nothing has gone out yet: an ordinary error with its status."""
    said = {
        "empty": (whole(b"", headers=("content-type: text/event-stream",)),),
        "only_end": (SSE_HEAD, END),
        "rst": (SSE_HEAD,),
        "json": (whole(answer()),),
        "no_type": (whole(event("x"), headers=()),),
        "error_first": (SSE_HEAD, framed(b'data: {"error":{"message":"x"}}\n\n'), END),
        "html": (whole(b"<html>", headers=("content-type: text/html",)),),
        "empty_model_first": (SSE_HEAD, framed(event("", model="")), END),
    }[kind]

    async def act(visit: Visit) -> None:
        await visit.say(*said)
        if kind == "rst":
            visit.reset()

    served = await world.gateway([(await world.upstream(act)).url])
    reply = await served.chat(stream=True)
    assert (reply.status, reply.error["type"]) == (502, "backend_unavailable")
    assert (await served.recorded()).outcome.kind == "upstream_broke"


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_a_connection_that_ends_behind_done_is_no_failure(world: World, end: str) -> None:
    """A finish_reason and [DONE] were seen: the answer is whole, whatever becomes of the connection."""

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("one")), framed(event("", "stop")), framed(DONE))
        await done_is_read.wait()
        if end == "fin":
            visit.hang_up()
        else:
            visit.reset()

    done_is_read = asyncio.Event()
    served = await world.gateway([(await world.upstream(act)).url])
    line = await served.begin(STREAM)
    await line.head()
    while await line.event() != "data: [DONE]":
        pass
    done_is_read.set()
    assert await blocks(line) == []
    line.leave()
    assert (await served.recorded()).outcome.kind == "ok"


async def test_a_waiting_client_hears_comments_and_an_early_200(world: World) -> None:
    """After `timeouts.heartbeat` of silence: status 200 and comments, then the events as usual."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await go_on.wait()
        await visit.say(SSE_HEAD, framed(event("one")), framed(event("", "stop")), framed(DONE), END)

    served = await world.gateway([(await world.upstream(act)).url], timeouts={"heartbeat": "30ms"})
    line = await served.begin(STREAM)
    assert (await line.head()).status == 200
    for _ in range(3):
        comment = await line.event()
        assert comment is not None
        assert comment.startswith(":")
        assert "\n" not in comment
    go_on.set()
    events = [block for block in await blocks(line) if not block.startswith(":")]
    assert text_of([data_of(events[0])]) == "one"
    assert events[-1] == "data: [DONE]"
    line.leave()
    assert (await served.recorded()).outcome.kind == "ok"


async def test_a_quiet_stream_gets_comments_between_its_events(world: World) -> None:
    """Also after the first token, and never inside an event."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        first = event("one")
        await visit.say(SSE_HEAD, framed(first + b"data: {"))
        await go_on.wait()
        await visit.say(framed(event(" two")[len(b"data: {") :]), framed(event("", "stop") + DONE), END)

    served = await world.gateway([(await world.upstream(act)).url], timeouts={"heartbeat": "30ms"})
    line = await served.begin(STREAM)
    await line.head()
    first = await line.event()
    while (first or "").startswith(":"):  # on a busy machine it is quiet before the first one, too
        first = await line.event()
    assert text_of([data_of(first)]) == "one"
    assert (await line.event() or "").startswith(":")
    go_on.set()
    events = [block for block in await blocks(line) if not block.startswith(":")]
    assert text_of([data_of(events[0])]) == " two"
    line.leave()


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("refused", 400, "upstream_rejected"), ("busy", 503, "upstream_busy"), ("reset", 502, "upstream_disconnected")],
)
async def test_refusals_after_the_early_200_are_events(world: World, kind: str, status: int, code: str) -> None:
    """The status that it would have been stands in the record, the code in the event; no [DONE]."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await go_on.wait()
        if kind == "refused":
            await visit.say(whole(b'{"error":"this is not right"}', "400 Bad Request"))
        elif kind == "busy":
            await visit.say(whole(b'{"error":"server busy"}', "503 Service Unavailable"))
        else:
            visit.reset()

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url], timeouts={"heartbeat": "30ms"})
    line = await served.begin(STREAM)
    assert (await line.head()).status == 200
    await line.event()
    go_on.set()
    *_, last = await blocks(line)
    error = error_in(last.removeprefix("data: "))
    assert error["code"] == code
    assert error["type"] == ("invalid_request" if status == 400 else "backend_unavailable")
    record = await served.recorded()
    assert (record.outcome.status, record.outcome.error_code) == (status, code)
    line.leave()


async def test_the_early_200_does_not_stand_in_the_way_of_a_retry(world: World) -> None:
    """Comments are no first byte: a reset after them is tried on the other endpoint."""
    go_on = asyncio.Event()

    async def break_off(visit: Visit) -> None:
        await go_on.wait()
        visit.reset()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("saved")), framed(event("", "stop")), framed(DONE), END)

    first, second = await world.upstream(break_off), await world.upstream(act, models=())
    served = await world.gateway([first.url, second.url], timeouts={"heartbeat": "30ms"})
    line = await served.begin(STREAM)
    await line.head()
    await line.event()
    second.models = ("llama3:latest",)
    await until(lambda: served.endpoint(second.address).holds("llama3:latest"))
    go_on.set()
    events = [block for block in await blocks(line) if not block.startswith(":")]
    assert text_of([data_of(events[0])]) == "saved"
    assert events[-1] == "data: [DONE]"
    line.leave()
    record = await served.recorded()
    assert (record.outcome.kind, len(record.attempts)) == ("ok", 2)


async def test_a_call_that_waits_for_its_second_attempt_hears_that_it_waits_for_a_slot(world: World) -> None:
    """The first attempt is over, and so is what it waited for."""
    first, second = await world.upstream(Visit.gone), await world.upstream(answer_well)
    served = await world.gateway([first.url, second.url], timeouts={"heartbeat": "30ms"})
    busy = served.endpoint(second.address)
    busy.take_slot("llama3:latest")
    line = await served.begin(STREAM)
    await line.head()
    assert await line.event() == ": waiting for the first token"
    first.visits[0].reset()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (comment := await line.event()) != ": waiting for a free slot, number 1 in the queue":
            assert comment is not None
    busy.give_slot_back("llama3:latest")
    served.gateway.fleet.bind_waiting()
    events = [block for block in await blocks(line) if not block.startswith(":")]
    assert events[-1] == "data: [DONE]"
    line.leave()


async def test_a_departing_gateway_ends_streams_with_server_shutdown(world: World) -> None:
    """When the patience is over: an error event, no [DONE], and the record says shutdown."""

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("one")))
        await visit.gone()

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url])
    line = await served.begin(STREAM)
    await line.head()
    await line.event()
    served.shutdown.request()
    (last,) = await blocks(line)
    error = error_in(last.removeprefix("data: "))
    assert (error["type"], error["code"]) == ("backend_unavailable", "server_shutdown")
    record = await served.recorded()
    assert (record.outcome.kind, record.outcome.status) == ("shutdown", 503)
    assert record.times.first_byte_at is not None
    line.leave()


async def test_a_draining_gateway_finishes_what_runs_and_is_not_ready(world: World) -> None:
    """/readyz says draining at once, a stream under way comes to its end."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("one")))
        await go_on.wait()
        await visit.say(framed(event("", "stop")), framed(DONE), END)

    upstream = await world.upstream(act)
    content = json.dumps({"models": {"llama3": {}}, "discovery": {"static": [upstream.url]}})
    served: Served = await world.gateway_with(content, grace_seconds=10.0, drain_seconds=0.3)
    line = await served.begin(STREAM)
    await line.head()
    await line.event()
    served.shutdown.request()
    await served.readiness(503)
    assert (await served.probe("/readyz")).json["reason"] == "draining"
    assert (await served.ask("GET", "/v1/models")).header("connection") == "close"
    go_on.set()
    assert (await blocks(line))[-1] == "data: [DONE]"
    line.leave()


async def test_an_event_without_end_is_not_buffered_for_ever(world: World) -> None:
    """A line longer than any event ends the stream in an error."""

    async def act(visit: Visit) -> None:
        piece = framed(b"x" * (1 << 20))
        await visit.say(SSE_HEAD, framed(event("one") + b"data: "))
        while not visit.writer.is_closing():
            await visit.say(piece)

    upstream: Upstream = await world.upstream(act)
    served = await world.gateway([upstream.url])
    reply = await soon(served.chat(stream=True))
    assert error_in(reply.events[-1].removeprefix("data: "))["type"] == "backend_unavailable"


async def test_an_endpoint_that_never_ends_the_body_behind_done_costs_no_slot(world: World) -> None:
    """`[DONE]` is the end: the client's stream is over soon and whole, and the slot is free."""

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("Hi")), framed(event("", "stop")), framed(DONE))
        await visit.gone()

    served = await world.gateway([(await world.upstream(act)).url])
    reply = await (await served.begin(chat(stream=True))).reply()
    assert reply.events[-1] == "data: [DONE]"
    assert (await served.recorded()).outcome.kind == "ok"
    await until(lambda: served.is_idle)


async def test_a_body_that_ends_with_an_ordinary_event_is_noticed_at_once(world: World) -> None:
    """Ollama's loop guard: the last event and the end of the body in one packet, no finish_reason, no `[DONE]`."""
    first_seen = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("Hi")))
        await first_seen.wait()
        await visit.say(framed(event(" there")) + END)

    served = await world.gateway([(await world.upstream(act)).url])
    line = await served.begin(chat(stream=True))
    await line.head()
    assert "Hi" in (await line.event() or "")
    first_seen.set()
    assert " there" in (await line.event() or "")
    last_event = (await line.event() or "").removeprefix("data: ")
    assert error_in(last_event)["code"] == "upstream_disconnected"
    assert (await served.recorded()).outcome.kind == "upstream_broke"
