"""One request, one trace: the tree of each kind of call, down to the attempt, as a collector gets it."""

import asyncio
import json
import time
from typing import Any

import pytest
from tests.flow.upstream import DONE, END, SSE_HEAD, Gate, Visit, answer_well, event, framed, whole
from tests.flow.waiting import until
from tests.flow.world import CHAT, World, chat
from tests.tracing.receiver import CLIENT, ERROR, SERVER, Span
from tests.tracing.traced import Traced

from ai_gateway.telemetry.spans import LEAST_WAIT_SECONDS
from ai_gateway.version import __version__

USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
CLOCK_NS = 1_000_000  # by which the two clocks of a machine may go apart during a test
NOTHING_LOADED = whole(b'{"models":[]}')
LOADED = whole(b'{"models":[{"name":"llama3:latest","model":"llama3:latest"}]}')


async def streams(visit: Visit) -> None:
    """Two words, and what they cost."""
    usage = event("", choices=[], usage=USAGE)
    await visit.say(SSE_HEAD, framed(event("one")), framed(event(" two")))
    await visit.say(framed(event("", "stop")), framed(usage), framed(DONE), END)


def only(span: Span) -> Span:
    """Its one child."""
    (child,) = span.children
    return child


async def test_a_stream_leaves_three_spans_with_all_attributes(world: World, traced: Traced) -> None:
    """SERVER, GenAI and HTTP, with the names of the conventions; the GenAI span lasts until the last byte."""
    upstream = await world.upstream(streams, state={"/api/ps": LOADED})
    served = await traced.gateway(world, [upstream.url])
    await until(lambda: served.endpoint(upstream.address).resident)
    reply = await served.ask("POST", CHAT, chat(stream=True, temperature=0.5, stop=["x"]))
    (server,) = await traced.requests()
    call, attempt = only(server), only(only(server))
    assert (server.name, server.kind, server.status, server.parent_id) == (f"POST {CHAT}", SERVER, 0, "")
    assert (call.name, call.kind, call.status) == ("chat llama3:latest", CLIENT, 0)
    assert (attempt.name, attempt.kind, attempt.status) == ("POST", CLIENT, 0)
    assert server.trace_id == reply.header("x-trace-id")
    assert server.attributes | {
        "http.request.method": "POST", "http.route": CHAT, "url.path": CHAT, "url.scheme": "http",
        "http.response.status_code": 200, "client.address": "127.0.0.1", "network.protocol.version": "1.1",
        "aigw.request.id": reply.header("x-request-id"), "aigw.caller": "anonymous", "aigw.outcome": "ok",
    } == server.attributes  # fmt: skip
    first_id = json.loads(reply.events[0].removeprefix("data: "))["id"]
    assert call.attributes | {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "ollama", "gen_ai.request.model": "llama3:latest",
        "gen_ai.request.stream": True, "gen_ai.request.temperature": 0.5, "gen_ai.request.stop_sequences": ["x"],
        "gen_ai.response.model": "llama3:latest", "gen_ai.response.id": first_id, "aigw.model.requested": "llama3",
        "gen_ai.response.finish_reasons": ["stop"], "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 3,
        "server.address": "127.0.0.1", "server.port": upstream.port,
    } == call.attributes  # fmt: skip
    assert attempt.attributes | {
        "http.request.method": "POST", "url.full": upstream.url + CHAT, "server.address": "127.0.0.1",
        "server.port": upstream.port, "http.response.status_code": 200, "aigw.pick.warm": True,
    } == attempt.attributes  # fmt: skip
    assert "http.request.resend_count" not in attempt.attributes
    assert call.event_names == ["aigw.picked", "aigw.first_chunk"]
    assert server.start_ns <= call.start_ns <= attempt.start_ns <= attempt.end_ns <= call.end_ns <= server.end_ns
    assert (server.resource["service.name"], server.resource["service.version"]) == ("ai-gateway-ollama", __version__)
    assert server.resource["service.instance.id"]


async def test_a_call_lasts_until_its_last_byte_and_an_attempt_until_its_head(world: World, traced: Traced) -> None:
    """Moments are those of this machine's calendar, so that they can be compared with what others say."""
    gate = Gate()
    served = await traced.gateway(world, [(await world.upstream(gate.act)).url])
    before = time.time_ns()
    line = await served.begin(chat(stream=True))
    await line.head()
    await line.event()
    held_at = time.time_ns()
    gate.opened.set()
    await line.rest()
    (server,) = await traced.requests()
    call, attempt = only(server), only(only(server))
    assert before - CLOCK_NS <= server.start_ns <= call.start_ns <= attempt.start_ns <= attempt.end_ns
    assert attempt.end_ns <= held_at + CLOCK_NS
    assert held_at - CLOCK_NS <= call.end_ns <= server.end_ns <= time.time_ns() + CLOCK_NS
    (first_chunk,) = (at for name, at, _ in call.events if name == "aigw.first_chunk")
    assert attempt.end_ns <= first_chunk <= held_at + CLOCK_NS


async def test_the_phases_show_where_the_time_went(world: World, traced: Traced) -> None:
    """They follow each other: together they are about as long as the call; a resident model has no load."""
    upstream = await world.upstream(streams, state={"/api/ps": LOADED})
    served = await traced.gateway(world, [upstream.url])
    await until(lambda: served.endpoint(upstream.address).resident)
    await served.ask("POST", CHAT, chat(stream=True))
    ((call,),) = ([span.children for span in await traced.requests()],)
    said = call[0].attributes
    phases = {key.removeprefix("aigw.phase."): value for key, value in said.items() if key.startswith("aigw.phase.")}
    assert set(phases) == {"body", "queue", "prefill", "decode"}
    seconds = (call[0].end_ns - call[0].start_ns) / 1e9
    assert sum(phases.values()) - phases["body"] == pytest.approx(seconds, abs=0.1)
    assert said["gen_ai.response.time_to_first_chunk"] == pytest.approx(phases["queue"] + phases["prefill"], abs=0.1)


async def test_loading_and_prefill_are_one_phase_if_the_model_was_not_resident(world: World, traced: Traced) -> None:
    """/v1 of Ollama does not tell them apart. With the policy `warm` the gateway loads the model first."""
    upstream = await world.upstream(streams, state={"/api/ps": NOTHING_LOADED})
    served = await traced.gateway(world, [upstream.url], balancing={"policy": "least_in_flight"})
    await served.ask("POST", CHAT, chat(stream=True))
    (server,) = await traced.requests()
    said = only(server).attributes
    assert "aigw.phase.load_and_prefill" in said
    assert "aigw.phase.prefill" not in said


async def test_the_wait_for_a_load_is_a_phase_before_the_prefill(world: World, traced: Traced) -> None:
    """The load belongs to no trace, since many calls may wait for one; who waited for it says how long."""
    simulator = await world.simulator(load_seconds=0.1)
    served = await traced.gateway(world, simulator.urls)
    await served.ask("POST", CHAT, chat(stream=True))
    (server,) = await traced.requests()
    call = only(server)
    assert call.attributes["aigw.phase.load"] > 0.05
    assert "aigw.phase.prefill" in call.attributes
    assert only(call).attributes["aigw.pick.warm"] is True


@pytest.mark.parametrize(
    ("path", "body", "name", "written"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "hi"}], "seed": 3}, "chat llama3:latest", 5),
        ("/v1/completions", {"prompt": "hi", "top_p": 0.5}, "text_completion llama3:latest", 5),
        ("/v1/embeddings", {"input": "hi", "encoding_format": "float"}, "embeddings nomic-embed-text:latest", None),
    ],
)
async def test_each_operation_has_its_span(
    world: World, traced: Traced, path: str, body: dict[str, Any], name: str, written: int | None
) -> None:
    """With what was asked, what it cost, and the id that the client got; embeddings have neither words nor id."""
    served = await traced.gateway(world, (await world.simulator()).urls)
    model = "embed" if "embeddings" in path else "llama3"
    limit = {} if "embeddings" in path else {"max_tokens": 5}
    reply = await served.ask("POST", path, json.dumps({"model": model, **limit, **body}).encode())
    assert reply.status == 200
    (server,) = await traced.requests()
    call, attempt = only(server), only(only(server))
    said = call.attributes
    assert (server.name, call.name, attempt.attributes["http.response.status_code"]) == (f"POST {path}", name, 200)
    assert f"{said['gen_ai.operation.name']} {said['gen_ai.request.model']}" == name
    assert said["gen_ai.usage.input_tokens"] == reply.json["usage"]["prompt_tokens"]
    assert said.get("gen_ai.usage.output_tokens") == written
    assert said.get("gen_ai.response.id") == reply.json.get("id")
    reason = ["length"] if written else None
    assert said.get("gen_ai.response.finish_reasons") == reason
    asked = {"gen_ai.request.seed": 3, "gen_ai.request.top_p": 0.5, "gen_ai.request.encoding_formats": ["float"]}
    assert sum(said.get(key) == value for key, value in asked.items()) == 1
    assert "gen_ai.request.stream" not in said
    assert "gen_ai.response.time_to_first_chunk" not in said


async def test_a_wait_for_a_slot_is_an_event_and_a_phase(world: World, traced: Traced) -> None:
    gate = Gate()
    upstream = await world.upstream(gate.act)
    served = await traced.gateway(world, [upstream.url])
    first = await served.begin(chat(stream=True))
    await first.head()
    second = await served.begin(chat())
    await until(lambda: served.waiting == 1)
    await asyncio.sleep(2 * LEAST_WAIT_SECONDS)  # no event tells of a shorter wait
    gate.opened.set()
    await second.reply()
    _, server = await traced.requests(2)
    call = only(server)
    assert call.event_names[0] == "aigw.queued"
    assert call.events[0][2]["aigw.phase.queue"] == call.attributes["aigw.phase.queue"] > 0


async def test_a_retry_shows_both_attempts_and_why(world: World, traced: Traced) -> None:
    """The first one's error, the second one's number; the call itself went well."""

    async def resets(visit: Visit) -> None:
        visit.reset()

    frail = await world.upstream(resets, state={"/api/ps": LOADED})
    sound = await world.upstream(answer_well, state={"/api/ps": NOTHING_LOADED})
    served = await traced.gateway(world, [frail.url, sound.url])
    await until(lambda: served.endpoint(frail.address).resident)
    assert (await served.chat()).status == 200
    (server,) = await traced.requests()
    call = only(server)
    first, second = sorted(call.children, key=lambda span: span.start_ns)
    assert (first.status, first.attributes["error.type"]) == (ERROR, "upstream_disconnected")
    assert "http.response.status_code" not in first.attributes
    assert (second.status, second.attributes["http.request.resend_count"]) == (0, 1)
    assert call.status == server.status == 0
    assert [name for name in call.event_names if name != "aigw.queued"] == [  # a busy machine may wait, too
        *("aigw.picked", "aigw.retry", "aigw.picked", "aigw.first_chunk")
    ]
    (retry,) = (said for name, _, said in call.events if name == "aigw.retry")
    assert retry == {"server.address": frail.address, "error.type": "upstream_disconnected"}


async def test_a_stream_that_is_cut_is_truncated_in_its_trace(world: World, traced: Traced) -> None:
    """The client got 200 and an error event: the span says both."""

    async def cuts(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("half")))
        visit.reset()

    served = await traced.gateway(world, [(await world.upstream(cuts)).url])
    assert (await served.ask("POST", CHAT, chat(stream=True))).status == 200
    (server,) = await traced.requests()
    call = only(server)
    assert (server.status, server.attributes["http.response.status_code"]) == (ERROR, 200)
    assert server.attributes["error.type"] == call.attributes["error.type"] == "upstream_disconnected"
    assert server.attributes["aigw.outcome"] == "upstream_broke"
    assert call.status == ERROR
    assert call.event_names[-1] == "aigw.truncated"


async def test_content_is_in_no_span_unless_turned_on(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the standard variable it is."""
    served = await traced.gateway(world, [(await world.upstream(answer_well)).url])
    await served.chat("SECRET")
    await traced.requests()
    assert b"SECRET" not in b"".join(traced.receiver.bodies)
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    served = await traced.gateway(world, [(await world.upstream(answer_well)).url])
    await served.chat("SECRET")
    said = only((await traced.requests(2))[-1]).attributes
    assert "SECRET" in said["gen_ai.input.messages"]
    assert "hello" in said["gen_ai.output.messages"]


async def test_calls_beside_a_request_have_spans_below_it_that_look_the_same(world: World, traced: Traced) -> None:
    """GET /v1/models/{model} asks an endpoint for details, through httpx; polls leave no spans."""
    simulator = await world.simulator()
    served = await traced.gateway(world, simulator.urls)
    assert (await served.ask("GET", "/v1/models/llama3")).status == 200
    await served.chat()
    shown, called = await traced.requests(2)
    assert shown.name == "GET /v1/models/{model}"
    control, attempt = only(shown), only(only(called))
    assert (control.name, control.kind) == (attempt.name, attempt.kind) == ("POST", CLIENT)
    assert control.attributes["url.full"] == f"{simulator.urls[0]}/api/show"
    assert set(control.attributes) - set(attempt.attributes) == set()
