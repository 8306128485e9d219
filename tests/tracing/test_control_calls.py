"""Calls beside a request go through httpx: OpenTelemetry's own instrumentation makes their spans, below the request."""

import json

import pytest
from tests.flow.upstream import NAMES_ALONE, Upstream, answer_well, whole
from tests.flow.waiting import until
from tests.flow.world import Served, World
from tests.tracing.receiver import ERROR
from tests.tracing.traced import Traced

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=x", "baggage": "user=7"}
DETAILS = json.dumps({"model_info": {}, "capabilities": ["completion"]}).encode()


async def serving(world: World, traced: Traced, answer: bytes = whole(DETAILS)) -> tuple[Served, Upstream]:
    """A gateway over one endpoint that answers so when it is asked for details."""
    upstream = await world.upstream(answer_well, state={"/api/show": answer, "/api/tags": NAMES_ALONE})
    return await traced.gateway(world, [upstream.url]), upstream


def headers_of(upstream: Upstream, *, show: bool = True) -> list[dict[str, str]]:
    """The headers of requests for details, or of polls."""
    return [visit.headers for visit in upstream.looks if (visit.path == "/api/show") is show]


async def test_ollama_gets_the_context_of_the_control_calls_span(world: World, traced: Traced) -> None:
    """In the caller's trace, below the request's span; state and baggage pass as with a call."""
    served, upstream = await serving(world, traced)
    assert (await served.ask("GET", "/v1/models/llama3", headers=CALLER)).status == 200
    (server,) = await traced.requests()
    (control,) = server.children
    assert (server.trace_id, server.parent_id, control.state) == (TRACE, PARENT, "vendor=x")
    (sent,) = headers_of(upstream)
    assert sent["traceparent"] == f"00-{TRACE}-{control.span_id}-01"
    assert (sent["tracestate"], sent["baggage"]) == ("vendor=x", "user=7")
    assert control.attributes["http.response.status_code"] == 200
    assert control.scope != server.scope


async def test_a_request_that_is_not_sampled_has_none(world: World, traced: Traced) -> None:
    """Parents decide for what is below them."""
    served, _ = await serving(world, traced)
    off = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    assert (await served.ask("GET", "/v1/models/llama3", headers=off)).status == 200
    traced.close()
    assert traced.receiver.spans == []
    traced.exporting.clear()


async def test_polls_leave_no_spans_and_carry_no_context(world: World, traced: Traced) -> None:
    """They belong to no request, also those that a failed call brings forward."""
    served, upstream = await serving(world, traced)
    assert (await served.chat()).status == 200
    seen = upstream.asked.count("/api/ps")
    await until(lambda: upstream.asked.count("/api/ps") > seen + 2)
    await traced.requests()
    assert not [headers for headers in headers_of(upstream, show=False) if "traceparent" in headers]


async def test_one_that_fails_is_an_error_below_a_request_that_went_well(world: World, traced: Traced) -> None:
    """The model is shown without its details."""
    served, _ = await serving(world, traced, whole(b"{}", "500 Internal Server Error"))
    assert (await served.ask("GET", "/v1/models/llama3")).status == 200
    (server,) = await traced.requests()
    (control,) = server.children
    assert (server.status, control.status, control.attributes["error.type"]) == (0, ERROR, "500")


async def test_cached_details_are_not_requested_again(world: World, traced: Traced) -> None:
    """No span where there was no call."""
    served, _ = await serving(world, traced)
    for _ in range(3):
        await served.get("/v1/models/llama3")
    servers = await traced.requests(3)
    assert [len(server.children) for server in servers] == [1, 0, 0]


@pytest.mark.parametrize("stray", ["\u00e9=1", "a", "a=1;p", "=", "a=%ff,b=2"])
async def test_odd_baggage_is_passed_on_without_a_warning(world: World, traced: Traced, stray: str) -> None:
    """The gateway does not read it."""
    served, upstream = await serving(world, traced)
    assert (await served.ask("GET", "/v1/models/llama3", headers={"baggage": stray})).status == 200
    await traced.requests()
    assert headers_of(upstream)[0].get("baggage") == (stray if stray.isascii() else None)
