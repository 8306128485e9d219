"""Spans of one exchange: names, kinds, parents, times and status, for every course of an exchange."""

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.trace import SpanKind, StatusCode
from tests.telemetry.calls import attempt, refused, served

from ai_gateway.exchange import Exchange, Heads, Ids, OutcomeKind, Times
from ai_gateway.telemetry import names
from ai_gateway.telemetry.settings import HeaderPatterns, read_settings
from ai_gateway.telemetry.span_attributes import MAX_TEXT
from ai_gateway.telemetry.spans import Spans
from ai_gateway.wire.trace_context import Parent, Trace

CALLER = Parent("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", True, b"", b"vendor=x,other=y")
BELOW = Trace(CALLER.trace_id, "b7ad6b7169203331", CALLER, is_recorded=True)


def made(exchange: Exchange, headers: HeaderPatterns | None = None, **limits: int) -> list[ReadableSpan]:
    """The spans of an exchange; each attempt gets the id that the request path would have given it."""
    for number, tried in enumerate(exchange.attempts):
        tried.span_id = tried.span_id or f"{number + 1:016x}"
    spans = Spans(Resource({}), SpanLimits(**limits), headers or HeaderPatterns())(exchange)
    encode_spans(spans).SerializeToString()
    return spans


def ids(span: ReadableSpan) -> tuple[int, int | None]:
    """Its own and its parent's."""
    assert span.context is not None
    return span.context.span_id, span.parent.span_id if span.parent is not None else None


def said(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes."""
    return dict(span.attributes or {})


def test_a_tree_hangs_on_the_caller_with_its_state() -> None:
    """SERVER on the caller, the call on the SERVER, attempts on the call; the state is the caller's everywhere."""
    server, call, *attempts = made(served(trace=BELOW, attempts=[attempt(10.1), attempt(10.5)]))
    assert ids(server) == (int(BELOW.span_id, 16), int(CALLER.span_id, 16))
    assert server.parent is not None
    assert server.parent.is_remote
    assert ids(call)[1] == ids(server)[0]
    assert [ids(tried) for tried in attempts] == [(1, ids(call)[0]), (2, ids(call)[0])]
    assert [span.kind for span in (server, call, *attempts)] == [SpanKind.SERVER, *[SpanKind.CLIENT] * 3]
    for span in (server, call, *attempts):
        assert span.context is not None
        assert span.context.trace_state.to_header() == "vendor=x,other=y"
        assert span.context.trace_flags.sampled


def test_durations_are_those_of_the_loops_clock() -> None:
    """With any system time at the request's start."""
    for started_ns in (0, 1_700_000_000_000_000_000, 2**62):
        server, call, tried = made(served(started_ns=started_ns))
        assert server.start_time == started_ns
        assert server.end_time is not None
        assert call.end_time == server.end_time == pytest.approx(started_ns + 4 * 10**9, abs=1000)
        assert tried.start_time == pytest.approx(started_ns + 5 * 10**8, abs=1000)


@pytest.mark.parametrize(
    ("status", "outcome", "expected"),
    [
        (200, "ok", StatusCode.UNSET),
        (404, "refused", StatusCode.UNSET),
        (499, "client_left", StatusCode.UNSET),
        (500, "failed", StatusCode.ERROR),
        (503, "refused", StatusCode.ERROR),
        (504, "timeout", StatusCode.ERROR),
        (None, "client_left", StatusCode.UNSET),
        (None, "shutdown", StatusCode.ERROR),
        (200, "shutdown", StatusCode.ERROR),
        (200, "failed", StatusCode.ERROR),
    ],
)
def test_only_what_is_not_the_clients_is_an_error(status: int | None, outcome: str, expected: StatusCode) -> None:
    """Also after a 200 went out; it says why for a person."""
    server = made(refused(status=status or 0, kind=outcome, reason="why"))[0]
    assert server.status.status_code is expected
    assert server.status.description == ("why" if expected is StatusCode.ERROR else None)


def test_an_answer_with_embeddings_has_no_id() -> None:
    """A client gets none, so the span has none."""
    assert names.RESPONSE_ID not in said(made(served("embeddings"))[1])
    assert said(made(served("completions", answer_id="7"))[1])[names.RESPONSE_ID] == "cmpl-7"


def test_an_invalid_method_is_not_in_the_span_name() -> None:
    """The conventions: `_OTHER`, and HTTP in the span's name."""
    server = made(_odd("BREW"))[0]
    assert server.name == "HTTP"
    assert (said(server)[names.METHOD], said(server)[names.METHOD_ORIGINAL]) == ("_OTHER", "BREW")


def _odd(method: str) -> Exchange:
    exchange = Exchange(Ids("r"), Times(1.0), method, "/")
    exchange.ids.trace, exchange.times.closed_at = BELOW, 2.0
    return exchange


def test_a_long_reason_is_cut() -> None:
    """An error event of Ollama's may have megabytes."""
    failed = attempt(10.1)
    failed.status, failed.failure = 500, "x" * 10_000
    spans = made(refused("upstream_disconnected", 502, reason="x" * 10_000, attempts=[failed]))
    assert [len(span.status.description or "") for span in spans] == [MAX_TEXT] * 3


def test_beyond_a_limit_the_last_ones_go(caplog: pytest.LogCaptureFixture) -> None:
    """What is required comes first and stays; what went is counted, and no line of log is written for it."""
    spans = made(served(trace=BELOW), max_span_attributes=3, max_events=1, max_attribute_length=2)
    assert list(said(spans[0])) == [names.METHOD, names.URL_PATH, names.URL_SCHEME]
    assert list(said(spans[1])) == [names.OPERATION, names.PROVIDER_NAME, names.REQUEST_MODEL]
    assert said(spans[1])[names.OPERATION] == "ch"
    assert [event.name for event in spans[1].events] == [names.EVENT_QUEUED]
    assert all(span.dropped_attributes > 0 for span in spans)
    assert caplog.records == []


def test_the_wait_for_a_load_is_a_phase_of_its_own() -> None:
    """Of half a second 0.4 s passed until the model was loaded; a call that found it loaded has no such phase."""
    span = made(served(load_wait_seconds=0.4))[1]
    expected = {names.PHASE_LOAD: 0.4, names.PHASE_QUEUE: 0.1}
    assert {name: said(span)[name] for name in expected} == expected
    assert dict(span.events[0].attributes or {}) == expected
    assert names.PHASE_LOAD not in said(made(served())[1])


def test_a_limit_of_nothing_leaves_the_spans() -> None:
    for span in made(served(), max_attributes=0, max_span_attributes=0, max_events=0, max_event_attributes=0):
        assert (said(span), list(span.events)) == ({}, [])


def test_headers_stand_there_by_name_and_secrets_as_redacted() -> None:
    """Of both ways; a doubled one with each of its values."""
    patterns = read_settings(
        {
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": "X-Some, set-cookie",
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": "x-team-.*",
        }
    ).headers
    asked = [
        (b"Authorization", b"KEY"),
        (b"x-team-key", b"KEY"),
        (b"x-two", b"1"),
        (b"x-two", b"2"),
        (b"x-api-key", b"K"),
    ]
    answered = [(b"x-some", b"1"), (b"set-cookie", b"KEY"), (b"x-other", b"1")]
    heads = Heads("1.1", b"", None, asked)
    heads.answered = answered
    server = said(made(served(heads=heads), patterns)[0])
    assert {key: value for key, value in server.items() if ".header." in key} == {
        "http.request.header.authorization": ["[REDACTED]"],
        "http.request.header.x-team-key": ["[REDACTED]"],
        "http.request.header.x-api-key": ["[REDACTED]"],
        "http.request.header.x-two": ["1", "2"],
        "http.response.header.x-some": ["1"],
        "http.response.header.set-cookie": ["[REDACTED]"],
    }


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_peer_has_an_attribute_behind_a_proxy(is_recorded: bool) -> None:
    heads = Heads("1.1", b"", ("10.0.0.9", 55), [])
    server = said(made(served(heads=heads if is_recorded else None))[0])
    assert server.get(names.PEER_ADDRESS) == ("10.0.0.9" if is_recorded else None)


MOMENTS = some.none() | some.floats(10.0, 20.0)
STATUSES = some.none() | some.integers(200, 599)


@given(
    stamps=some.fixed_dictionaries(
        dict.fromkeys(("authenticated_at", "called_at", "queued_at", "leased_at", "first_byte_at"), MOMENTS)
    ),
    outcome=some.sampled_from(get_args(OutcomeKind)),
    status=STATUSES,
    code=some.none() | some.text(max_size=9),
    tries=some.lists(some.tuples(some.floats(10.0, 20.0), MOMENTS, MOMENTS, STATUSES), max_size=2),
)
@settings(max_examples=150, deadline=None)
def test_any_stamped_exchange_makes_a_tree(
    stamps: dict[str, Any],
    outcome: str,
    status: int | None,
    code: str | None,
    tries: list[tuple[float, float | None, float | None, int | None]],
) -> None:
    """Each span ends no earlier than it begins, has its parent, and can be encoded; an error has a type."""
    attempts = [attempt(tried[0]) for tried in tries]
    for made_of, (_, answered_at, ended_at, answered) in zip(attempts, tries, strict=True):
        made_of.answered_at, made_of.ended_at, made_of.status = answered_at, ended_at, answered
    more: dict[str, Any] = {
        "kind": outcome,
        "status": status,
        "error_code": code,
        "attempts": attempts,
        "closed_at": 20.0,
    }
    spans = made(served(**stamps, **more))
    known = {ids(span)[0] for span in spans}
    assert len(known) == len(spans) == 2 + len(tries)
    assert ids(spans[0])[1] is None
    assert all(ids(span)[1] in known for span in spans[1:])
    for span in spans:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
        if span.status.status_code is StatusCode.ERROR and outcome != "ok":
            assert names.ERROR_TYPE in said(span)
