"""W3C trace context and baggage: read, passed on with each attempt, and never twice."""

import asyncio
import os
import re

import pytest
from tests.flow.upstream import DONE, END, SSE_HEAD, Upstream, Visit, answer_well, event, framed
from tests.flow.world import CHAT, World, chat
from tests.tracing.traced import Traced

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=x", "baggage": "user=7"}


async def asked(world: World, traced: Traced, headers: dict[str, str]) -> tuple[Upstream, str | None]:
    """The endpoint that got one call with these headers, and the trace id that the client got."""
    upstream = await world.upstream(answer_well)
    served = await traced.gateway(world, [upstream.url])
    reply = await served.ask("POST", CHAT, chat(), headers)
    assert reply.status == 200
    return upstream, reply.header("x-trace-id")


async def test_a_callers_trace_goes_on_below_the_gateways_spans(world: World, traced: Traced) -> None:
    """The SERVER span hangs on the caller's; the endpoint gets the attempt's span, in the same trace."""
    upstream, trace_id = await asked(world, traced, CALLER)
    (server,) = await traced.requests()
    attempt = server.children[0].children[0]
    assert (server.trace_id, server.parent_id, server.state) == (TRACE, PARENT, "vendor=x")
    assert trace_id == TRACE
    (visit,) = upstream.visits
    assert visit.headers["traceparent"] == f"00-{TRACE}-{attempt.span_id}-01"
    assert (visit.headers["tracestate"], visit.headers["baggage"]) == ("vendor=x", "user=7")


@pytest.mark.parametrize("parent", ["", "00-0-0-01", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01"])
async def test_an_invalid_context_starts_a_new_trace(world: World, traced: Traced, parent: str) -> None:
    upstream, trace_id = await asked(world, traced, {"traceparent": parent, "tracestate": "vendor=x"})
    (server,) = await traced.requests()
    assert (server.trace_id, server.parent_id) == (trace_id, "")
    assert server.trace_id not in (TRACE, "0" * 32)
    assert "tracestate" not in upstream.visits[0].headers


@pytest.mark.parametrize(
    ("propagators", "context", "baggage"),
    [
        ("tracecontext,baggage", True, True),
        ("tracecontext", True, False),
        ("baggage", False, True),
        ("none", False, False),
    ],
)
async def test_what_is_passed_on_is_what_the_variable_names(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch, propagators: str, context: bool, baggage: bool
) -> None:
    """Baggage may be confidential to the services before the gateway."""
    monkeypatch.setenv("OTEL_PROPAGATORS", propagators)
    upstream, trace_id = await asked(world, traced, CALLER)
    headers = upstream.visits[0].headers
    assert ("traceparent" in headers, "baggage" in headers) == (context, baggage)
    assert (trace_id == TRACE) is context


@pytest.mark.parametrize(
    ("sampler", "argument", "flag", "is_recorded"),
    [
        (None, None, None, True),
        (None, None, "01", True),
        (None, None, "00", False),
        ("always_on", None, "00", True),
        ("always_off", None, "01", False),
        ("traceidratio", "0", "01", False),
        ("traceidratio", "1", "00", True),
        ("parentbased_traceidratio", "0", None, False),
        ("parentbased_traceidratio", "0", "01", True),
    ],
)
async def test_samplers_decide_for_all_spans_of_a_request(
    world: World,
    traced: Traced,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str | None,
    argument: str | None,
    flag: str | None,
    is_recorded: bool,
) -> None:
    """The default follows the caller; each request is recorded where the operator says so. Contexts always pass."""
    if sampler is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    if argument is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flag}"} if flag else {}
    upstream, _ = await asked(world, traced, headers)
    sent = upstream.visits[0].headers["traceparent"]
    traced.close()
    assert len(traced.receiver.spans) == (3 if is_recorded else 0)
    if is_recorded:
        assert sent.endswith("-01")
    elif flag:
        assert sent == headers["traceparent"], "a span that is not exported has no children"
    traced.exporting.clear()


async def test_a_hundred_streams_at_a_time_keep_their_trees_apart(world: World, traced: Traced) -> None:
    """Each attempt's span is the one that its own endpoint got."""
    received: dict[str, str] = {}
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        match = re.fullmatch(r"00-(\w{32})-(\w{16})-01", visit.headers["traceparent"])
        assert match is not None
        received[match[1]] = match[2]
        if len(received) == 100:
            go_on.set()
        await visit.say(SSE_HEAD, framed(event("one")))
        await go_on.wait()
        await visit.say(framed(event("", "stop")), framed(DONE), END)

    upstreams = [await world.upstream(act) for _ in range(4)]
    urls = [upstream.url for upstream in upstreams]
    served = await traced.gateway(world, urls, balancing={"slots": 100})
    replies = await asyncio.gather(*(served.ask("POST", CHAT, chat(stream=True)) for _ in range(100)))
    servers = await traced.requests(100)
    assert {reply.header("x-trace-id") for reply in replies} == {server.trace_id for server in servers} == set(received)
    for server in servers:
        (call,) = server.children
        (attempt,) = call.children
        assert {server.trace_id, call.trace_id, attempt.trace_id} == {server.trace_id}
        assert attempt.span_id == received[server.trace_id]


async def test_configured_headers_are_on_the_span_and_secrets_never(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern may name all of them."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", ".*")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE", "content-type")
    await asked(world, traced, {"authorization": "Bearer SECRET", "x-team": "a" * 5000, "cookie": "SECRET"})
    (server,) = await traced.requests()
    assert server.attributes["http.request.header.authorization"] == ["[REDACTED]"]
    assert server.attributes["http.request.header.x-team"] == ["a" * 1024]
    assert server.attributes["http.response.header.content-type"] == ["application/json"]
    assert b"SECRET" not in b"".join(traced.receiver.bodies)


async def test_limits_and_resource_are_the_environments(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is where the spans go."""
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "4")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=gw-1,service.name=other")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=seven")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/taken/as/is")
    await asked(world, traced, {})
    (server,) = await traced.requests()
    call = server.children[0]
    assert all(len(span.attributes) <= 4 for span in (server, call, *call.children))
    assert all(len(value) <= 5 for value in server.attributes.values() if isinstance(value, str))
    assert len(call.events) == 1
    assert list(call.attributes.values()) == ["chat", "ollam", "llama", "llama"], "what is required stays"
    assert (server.resource["service.name"], server.resource["k8s.pod.name"]) == ("mine", "gw-1")
    assert traced.receiver.heads[0]["x-tenant"] == "seven"
    assert set(traced.receiver.paths) == {"/taken/as/is"}


@pytest.mark.parametrize(
    ("ending", "path"), [("", "/v1/traces"), ("/", "/v1/traces"), ("/up/here", "/up/here/v1/traces")]
)
async def test_a_common_endpoint_gets_the_signals_path(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch, ending: str, path: str
) -> None:
    """As the specification says; an endpoint of the signal's own is taken as it is."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traced.receiver.url + ending)
    await asked(world, traced, {})
    await traced.requests()
    assert set(traced.receiver.paths) == {path}
