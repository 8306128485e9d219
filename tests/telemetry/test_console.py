"""Traces for a person: a tree on a terminal, one JSON line per span elsewhere."""

import io
import json
import os

import pytest

from ai_gateway.exchange import Attempt, Caller, Exchange, Ids, Times, Upstream
from ai_gateway.telemetry.console import console_exporter
from ai_gateway.telemetry.settings import HeaderPatterns
from ai_gateway.telemetry.spans import Spans
from ai_gateway.wire.address import Address
from ai_gateway.wire.call import read_call
from ai_gateway.wire.operations import CHAT
from ai_gateway.wire.trace_context import Trace


class Terminal(io.StringIO):
    """A place where a person reads."""

    def isatty(self) -> bool:
        return True


def spans(
    caller: str = "anonymous", started_ns: int = 10**18, model: str = "llama3:latest", span_id: str = "b" * 16
) -> list:  # type: ignore[type-arg]  # the SDK's
    """Those of one call."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits

    exchange = Exchange(Ids("req-1"), Times(10.0), "POST", "/v1/chat/completions")
    exchange.times.started_ns, exchange.route, exchange.ids.model = started_ns, exchange.path, model
    exchange.ids.trace = Trace("a" * 32, span_id, None, True)
    exchange.caller = Caller(caller)
    exchange.call = read_call(CHAT, b'{"model":"llama3","messages":[{"role":"user","content":"SECRET"}]}')
    exchange.attempts = [
        Attempt(Upstream(Address("10.0.0.1")), "only", True, os.urandom(8).hex(), 10.1, 10.4, 10.5, 200)
    ]
    exchange.times.called_at, exchange.times.queued_at, exchange.times.leased_at = 10.0, 10.0, 10.1
    exchange.times.first_byte_at, exchange.times.closed_at = 10.4, 10.5
    exchange.outcome.status = exchange.outcome.sent_status = 200
    return Spans(Resource.create({}), SpanLimits(), HeaderPatterns())(exchange)


def test_a_terminal_gets_a_tree_with_bars() -> None:
    """Children below their parents, each with its time."""
    out = Terminal()
    console_exporter(out).export(spans())
    lines = out.getvalue().splitlines()
    assert lines[0] == f"trace {'a' * 32}"
    names = [line.strip().split("  ")[0] for line in lines if " ms  |" in line]
    assert names == ["POST /v1/chat/completions", "chat llama3:latest", "POST"]
    assert any("aigw.phase.prefill=0.3" in line for line in lines)


@pytest.mark.parametrize("odd", ["x\x1b[31m\r\ny", "\u202e\u2028", "\x9b1;31m", "\0"])
def test_no_control_character_reaches_a_terminal(odd: str) -> None:
    """Neither by a value nor by a name: models that are discovered have those that an endpoint gives them."""
    out = Terminal()
    console_exporter(out).export(spans(caller=odd, model=odd))
    assert all(line.isprintable() for line in out.getvalue().split("\n"))
    assert odd not in out.getvalue()


def test_parts_of_a_trace_that_come_apart_are_shown_all_the_same() -> None:
    """A batch may end between a request and its calls."""
    out = Terminal()
    exporter = console_exporter(out)
    server, call, attempt = spans()
    exporter.export([call, attempt])
    exporter.export([server])
    assert out.getvalue().count(f"trace {'a' * 32}") == 2
    names = [line.strip().split("  ")[0] for line in out.getvalue().splitlines() if " ms  |" in line]
    assert names == ["chat llama3:latest", "POST", "POST /v1/chat/completions"]


def test_many_requests_of_one_trace_stand_in_one_tree() -> None:
    """Each with its own below it, and in reasonable time."""
    out = Terminal()
    many = [span for _ in range(170) for span in spans(span_id=os.urandom(8).hex())]
    console_exporter(out).export(many)
    assert sum(" ms  |" in line for line in out.getvalue().splitlines()) == len(many)


def test_a_pipe_gets_a_line_of_json_for_each_span() -> None:
    out = io.StringIO()
    console_exporter(out).export(spans())
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["name"] for line in lines] == ["POST /v1/chat/completions", "chat llama3:latest", "POST"]


def test_durations_stay_right_when_the_system_clock_jumps() -> None:
    """Moments are those of the loop's clock, put on the calendar once, at the beginning."""
    for started_ns in (10**18, 1):
        server, call, attempt = spans(started_ns=started_ns)
        assert server.end_time - server.start_time == pytest.approx(0.5e9, abs=10)
        assert attempt.start_time - server.start_time == pytest.approx(0.1e9, abs=10)
        assert call.end_time == server.end_time
