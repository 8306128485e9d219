"""Every operation of the table through a whole gateway: answered, streamed, refused, cut; each leaves its records."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from tests.flow.line import Reply
from tests.flow.scraping import of, scraped
from tests.flow.test_audit import written
from tests.flow.upstream import Visit
from tests.flow.world import Served, World

from ai_gateway.catalog.permissions import check_route
from ai_gateway.config.access import ROUTES
from ai_gateway.errors import NotAllowed
from ai_gateway.exchange import Caller, Exchange
from ai_gateway.simulator.faults import INFERENCE_PATHS, Fault
from ai_gateway.telemetry import names
from ai_gateway.telemetry.settings import HeaderPatterns
from ai_gateway.telemetry.spans import Spans
from ai_gateway.wire.operations import OPERATIONS, Operation
from ai_gateway.wire.trace_context import Parent

ROWS = pytest.mark.parametrize("row", OPERATIONS.values(), ids=OPERATIONS)
STREAMED = [row for row in OPERATIONS.values() if row.stream is not None]
HELD = ("llama3:latest", "codellama:13b", "nomic-embed-text:latest")
OVERFLOW = "the input length exceeds the context length"

Transport = TypeVar("Transport")


class SpansOfAll:
    """Tracing that makes the spans of every request and keeps them."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self._make = Spans(Resource({}), SpanLimits(), HeaderPatterns())

    @property
    def counts(self) -> Mapping[str, int]:
        return {}

    def is_sampled(self, trace_id: str, parent: Parent | None, method: str, path: str) -> bool:
        return True

    def __call__(self, exchange: Exchange) -> None:
        self.spans += self._make(exchange)

    def wrap(self, transport: Transport) -> Transport:
        return transport


class Recorded:
    """A gateway that traces all and audits all, and what it says of one call."""

    def __init__(self, world: World, row: Operation) -> None:
        self._world = world
        self._row = row
        self._tracing = world.tracing = SpansOfAll()

    async def check(self, served: Served, status: int, code: str = "") -> Mapping[str, Any]:
        """Each kind of record tells of the one call, with its operation, model and end; returns the span's attributes.

        A call that was refused before its model was known has no GenAI span, and no metrics of that kind.
        """
        row = self._row
        exchange = await served.recorded()
        assert (exchange.route, exchange.outcome.status, exchange.outcome.error_code or "") == (row.path, status, code)
        (entry,) = await written(self._world, 1)
        assert (entry.route, entry.status, entry.error_code or "") == (row.path, status, code)
        samples = await scraped(served)
        ((labels, count),) = ((at, n) for at, n in of(samples, "requests_total").items() if f'route="{row.path}"' in at)
        assert (f'status="{status}"' in labels, f'code="{code}"' in labels, count) == (True, True, 1)
        calls = of(samples, f"{names.SERVER_DURATION}_count")
        found = [span for span in self._tracing.spans if span.name == f"{row.convention} {exchange.ids.model}"]
        if exchange.ids.model is None:
            assert (found, calls) == ([], {})
            return {}
        ((labels, count),) = calls.items()
        assert (f'gen_ai_operation_name="{row.convention}"' in labels, count) == (True, 1)
        assert entry.model_served == exchange.ids.model
        (span,) = found
        attributes = dict(span.attributes or {})
        assert attributes[names.OPERATION] == row.convention
        assert attributes.get(names.ERROR_TYPE, "") == code
        return attributes


def changed(row: Operation, **fields: Any) -> bytes:
    """The row's example with other fields; None takes one out."""
    asked = {**json.loads(row.example.request), **fields}
    return json.dumps({key: value for key, value in asked.items() if value is not None}).encode()


async def ask(served: Served, row: Operation, **fields: Any) -> Reply:
    return await served.ask("POST", row.path, changed(row, **fields))


@ROWS
async def test_a_whole_answer_is_given_and_recorded(world: World, row: Operation) -> None:
    """With the asked model, an id where the row has a prefix, and usage as Ollama counted it."""
    recorded = Recorded(world, row)
    served = await world.gateway((await world.simulator()).urls)
    reply = await ask(served, row)
    assert reply.status == 200, reply.body
    assert reply.json["model"] == json.loads(row.example.request)[row.model_field]
    assert reply.json.get("id", "").startswith(row.id_prefix)
    assert ("id" in reply.json) == bool(row.id_prefix)
    said = await recorded.check(served, 200)
    usage = reply.json["usage"]
    assert said[names.INPUT_TOKENS] == usage["prompt_tokens"]
    assert said.get(names.OUTPUT_TOKENS) == (usage["completion_tokens"] if row.writes_tokens else None)
    assert said.get(names.RESPONSE_ID) == reply.json.get("id")
    (entry,) = await written(world, 1)
    assert (entry.outcome, entry.tokens_in) == ("ok", usage["prompt_tokens"])


@pytest.mark.parametrize("row", STREAMED, ids=lambda row: row.name)
async def test_a_stream_is_given_and_recorded(world: World, row: Operation) -> None:
    """Event by event, each with the gateway's id and the asked model."""
    recorded = Recorded(world, row)
    served = await world.gateway((await world.simulator()).urls)
    reply = await ask(served, row, stream=True)
    *events, done = (event.removeprefix("data: ") for event in reply.events)
    assert (reply.status, done) == (200, "[DONE]")
    heads = {(event["id"], event["model"]) for event in map(json.loads, events)}
    ((answer_id, model),) = heads
    assert model == json.loads(row.example.request)[row.model_field]
    said = await recorded.check(served, 200)
    assert said[names.RESPONSE_ID] == answer_id
    assert answer_id.startswith(row.id_prefix)
    assert said[names.REQUEST_STREAM] is True
    assert said[names.OUTPUT_TOKENS] > 0


@pytest.mark.parametrize("row", [row for row in OPERATIONS.values() if row.stream is None], ids=lambda row: row.name)
async def test_what_cannot_stream_is_refused_as_a_stream(world: World, row: Operation) -> None:
    recorded = Recorded(world, row)
    served = await world.gateway((await world.simulator()).urls)
    reply = await ask(served, row, stream=True)
    assert (reply.status, reply.error["param"]) == (400, "stream")
    await recorded.check(served, 400, "invalid_value")


@ROWS
async def test_a_call_without_a_text_is_refused_and_recorded(world: World, row: Operation) -> None:
    """Before any endpoint is asked."""
    recorded = Recorded(world, row)
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    reply = await ask(served, row, **{row.text_field: None})
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, row.text_field, "missing_value")
    assert row.path not in simulator.endpoints[0].ledger.by_path
    await recorded.check(served, 400, "missing_value")


@ROWS
async def test_ollamas_refusal_names_the_operations_own_field(world: World, row: Operation) -> None:
    """Of a text that is too long; the simulator's faults know the path, too."""
    assert row.path in INFERENCE_PATHS
    recorded = Recorded(world, row)
    simulator = await world.simulator()
    simulator.endpoints[0].faults.add(Fault(kind="status", status=400, message=OVERFLOW, path=row.path))
    served = await world.gateway(simulator.urls)
    reply = await ask(served, row)
    assert (reply.status, reply.error["param"]) == (400, row.text_field)
    await recorded.check(served, 400, "context_length_exceeded")


@ROWS
async def test_a_whole_answer_that_is_cut_is_a_502_and_recorded(world: World, row: Operation) -> None:
    """The endpoint dies in the middle of its body."""
    recorded = Recorded(world, row)

    async def dies(visit: Visit) -> None:
        answer = row.example.answer
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
        await visit.say(head, answer[: len(answer) // 2])
        visit.reset()

    served = await world.gateway([(await world.upstream(dies, models=HELD)).url])
    reply = await ask(served, row)
    assert (reply.status, reply.error["code"]) == (502, "upstream_disconnected")
    await recorded.check(served, 502, "upstream_disconnected")


@pytest.mark.parametrize("row", STREAMED, ids=lambda row: row.name)
async def test_a_stream_that_is_cut_ends_in_an_error_event_and_is_recorded(world: World, row: Operation) -> None:
    """Without `[DONE]`; what was passed on is counted."""
    recorded = Recorded(world, row)
    simulator = await world.simulator()
    simulator.endpoints[0].faults.add(Fault(kind="cut", after_tokens=2))
    served = await world.gateway(simulator.urls)
    reply = await ask(served, row, stream=True)
    *events, last = (json.loads(event.removeprefix("data: ")) for event in reply.events)
    assert (reply.status, last["error"]["code"]) == (200, "upstream_disconnected")
    assert {event["model"] for event in events} == {json.loads(row.example.request)[row.model_field]}
    await recorded.check(served, 502, "upstream_disconnected")
    assert served.last.tokens.written


@ROWS
def test_a_keys_routes_know_the_operation_by_its_name(row: Operation) -> None:
    """A key that names others may not use it."""
    assert row.name in ROUTES
    check_route(Caller(routes=(row.name,)), row.path)
    with pytest.raises(NotAllowed):
        check_route(Caller(routes=tuple(name for name in ROUTES if name != row.name)), row.path)


@ROWS
async def test_what_is_not_there_names_what_is(world: World, row: Operation) -> None:
    """The text of a 404, and that of `GET /`; another method of the path is a 405."""
    served = await world.gateway((await world.simulator()).urls)
    assert row.path in (await served.ask("GET", "/nowhere")).error["message"]
    assert row.path.removeprefix("/v1/") in (await served.ask("GET", "/")).body.decode()
    assert (await served.ask("GET", row.path)).status == 405
