"""The gateway's own log and the access log: one line each, with any text in it."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import msgspec
import pytest
from tests.flow.waiting import until
from tests.telemetry.calls import refused, served

from ai_gateway.config.log import Log
from ai_gateway.exchange import CURRENT, Attempt, Caller, Exchange, Ids, Outcome, Times, Upstream
from ai_gateway.telemetry.access_log import AccessLog, describe
from ai_gateway.telemetry.logs import (
    PAUSE_SECONDS,
    JsonFormatter,
    RepeatFilter,
    TextFormatter,
    set_levels,
)
from ai_gateway.wire.address import Address
from ai_gateway.wire.call import read_call
from ai_gateway.wire.operations import CHAT
from ai_gateway.wire.trace_context import Trace
from ai_gateway.wire.usage import Usage

NO_TRACE = {"trace_id": "0" * 32, "span_id": "0" * 16, "caller": "anonymous"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HOSTILE = 'x\r\n{"log":"access"}\x1b[31m\u2028\u0085"\\'


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("ai_gateway.config", logging.WARNING, __file__, 1, message, (), None)
    made.__dict__.update(extra)
    return made


def finished(path: str = "/v1/chat/completions") -> Exchange:
    """A streamed chat that went well at the second try."""
    exchange = Exchange(Ids("req-1"), Times(10.0), "POST", path)
    exchange.caller = Caller("anonymous", "10.0.0.7")
    exchange.call = read_call(CHAT, b'{"model":"coder","stream":true,"messages":[{"role":"user","content":"SECRET"}]}')
    exchange.ids.model = "codellama:13b"
    first, second = Upstream(Address("a", 1)), Upstream(Address("b", 1))
    exchange.attempts = [Attempt(first, "only", False, failure="reset"), Attempt(second, "warm", True, status=200)]
    times = exchange.times
    times.queued_at, times.leased_at, times.first_byte_at, times.closed_at = 10.1, 10.35, 11.35, 12.0
    exchange.outcome.status, exchange.outcome.finish_reason, exchange.tokens.usage = 200, "stop", Usage(12, 2)
    exchange.body_bytes, exchange.outcome.sent_bytes = 100, 2000
    return exchange


def written(out: io.StringIO, *exchanges: Exchange) -> str:
    """What the access log writes of these."""
    log = AccessLog(out)
    for exchange in exchanges:
        log(exchange)
    log.flush()
    return out.getvalue()


async def test_of_unauthenticated_requests_some_have_a_line_and_the_rest_are_counted() -> None:
    out = io.StringIO()
    unauthenticated = [refused("unauthorized", 401, opened_at=10.0 + number / 100) for number in range(100)]
    written_lines = [json.loads(line) for line in written(out, *unauthenticated, served()).splitlines()]
    assert [line.get("status") for line in written_lines] == [401] * 20 + [200, None]
    assert written_lines[-1]["held_back"] == 80
    assert written_lines[-1].keys() == {"time", "log", "held_back", "story"}
    assert all(MOMENT.fullmatch(line["time"]) for line in written_lines)


def test_a_record_tells_its_moment_as_all_lines_do() -> None:
    """In UTC, wherever the gateway runs, and to the millisecond."""
    made = record("x")
    made.created = 1_700_000_000.25
    assert json.loads(JsonFormatter().format(made))["time"] == "2023-11-14T22:13:20.250Z"


@pytest.mark.parametrize(
    ("code", "status"),
    [("origin_refused", 403), ("host_refused", 403), ("cors_refused", 400), ("auth_unavailable", 503)],
)
async def test_each_refusal_without_authentication_is_limited(code: str, status: int) -> None:
    """Authenticated callers have a line for each request, however it ended."""
    unauthenticated = [refused(code, status, opened_at=10.0) for _ in range(30)]
    assert written(io.StringIO(), *unauthenticated).count(f'"error":"{code}"') == 20
    known = [refused("model_not_allowed", 403, opened_at=10.0) for _ in range(30)]
    assert written(io.StringIO(), *known).count('"status":403') == 30


async def test_a_minute_later_unauthenticated_requests_have_lines_again() -> None:
    unauthenticated = [refused("unauthorized", 401, opened_at=at) for at in [10.0] * 21 + [70.0]]
    assert written(io.StringIO(), *unauthenticated).count('"status":401') == 21


class Terminal(io.StringIO):
    """A place where a person reads."""

    def isatty(self) -> bool:
        return True


def test_a_record_with_any_text_is_one_line_of_json() -> None:
    """A client cannot write a second line into the log."""
    line = JsonFormatter().format(record(HOSTILE))
    assert len(line.splitlines()) == 1 or "\n" not in line
    fields = json.loads(line)
    assert (fields["level"], fields["log"], fields["message"]) == ("warning", "config", HOSTILE)
    assert "\x1b" not in line
    assert "\r" not in line


def test_a_record_of_an_error_has_its_trace() -> None:
    """In both forms."""
    try:
        raise ValueError("broken")
    except ValueError:
        made = record("it failed", exc_info=sys.exc_info())
    assert "ValueError: broken" in json.loads(JsonFormatter().format(made))["trace"]
    assert "ValueError: broken" in TextFormatter().format(made)


def test_on_a_terminal_control_characters_are_shown_and_never_sent() -> None:
    """And ordinary words are left as they are."""
    line = TextFormatter().format(record(HOSTILE))
    assert "\x1b" not in line
    assert "\n" not in line
    assert TextFormatter().format(record("Grüezi")).endswith("warning Grüezi")


async def test_an_access_line_has_all_fields_once() -> None:
    """Times in milliseconds, the last attempt's endpoint, the tokens."""
    (line,) = written(io.StringIO(), finished()).splitlines()
    fields = json.loads(line)
    assert MOMENT.fullmatch(fields.pop("time"))
    assert fields == {
        "log": "access", "request_id": "req-1", **NO_TRACE,
        "client": "10.0.0.7", "method": "POST", "path": "/v1/chat/completions",
        "status": 200, "outcome": "ok", "model": "coder", "ollama_model": "codellama:13b", "stream": True,
        "endpoint": "b:1", "reason": "warm", "warm": True, "attempts": 2, "faults": ["a:1: reset"],
        "queue_ms": 250.0,
        "first_byte_ms": 1000.0, "total_ms": 2000.0, "tokens_in": 12, "tokens_out": 2, "finish_reason": "stop",
        "bytes_in": 100, "bytes_out": 2000,
    }  # fmt: skip


def test_the_wait_for_a_load_is_a_field_of_its_own() -> None:
    exchange = finished()
    exchange.times.load_wait_seconds = 0.125
    line = describe(exchange)
    assert (line.queue_ms, line.load_ms) == (125.0, 125.0)


async def test_lines_go_out_by_themselves() -> None:
    """Those of some milliseconds in one write, in their order."""
    out = io.StringIO()
    log = AccessLog(out)
    log(finished("/1"))
    log(finished("/2"))
    assert out.getvalue() == ""
    await until(out.getvalue)
    assert [json.loads(line)["path"] for line in out.getvalue().splitlines()] == ["/1", "/2"]
    log(finished("/3"))
    await until(lambda: len(out.getvalue().splitlines()) == 3)


async def test_prompts_go_to_no_log() -> None:
    """In neither form."""
    assert "SECRET" not in written(io.StringIO(), finished())
    assert "SECRET" not in written(Terminal(), finished())


def test_fields_without_a_value_are_left_out() -> None:
    """A refused request has no model, endpoint or tokens."""
    exchange = Exchange(Ids("req-2"), Times(1.0), "GET", "/")
    exchange.outcome = Outcome(kind="refused", status=404, error_code="not_found", reason="why")
    fields = msgspec.to_builtins(describe(exchange))
    del fields["time"]
    assert fields == {
        "log": "access", "request_id": "req-2", **NO_TRACE, "client": "", "method": "GET", "path": "/", "status": 404,
        "outcome": "refused", "error": "not_found", "story": "why",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
async def test_an_access_line_is_one_line_for_any_request(kind: type[io.StringIO]) -> None:
    """A path, a model or a reason may hold any text; long ones are cut."""
    exchange = finished("/" + HOSTILE + "x" * 10_000)
    exchange.outcome.reason = HOSTILE
    exchange.call = read_call(
        CHAT, json.dumps({"model": HOSTILE + "m" * 300, "messages": [{"role": "user", "content": ""}]}).encode()
    )
    text = written(kind(), exchange)
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "\r" not in text
    assert len(text) < 3000


async def test_on_a_terminal_an_access_line_is_readable() -> None:
    """The most important fields come first."""
    text = written(Terminal(), finished())
    assert text.startswith('200 POST /v1/chat/completions  request_id="req-1" outcome="ok"')


async def test_a_reader_of_the_log_that_is_gone_does_not_end_the_gateway() -> None:
    """A broken pipe is not the caller's affair."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    written(Gone(), finished())


async def test_the_access_line_names_the_trace_and_the_caller() -> None:
    """So that a line leads to its trace, and a trace to its line."""
    exchange = finished()
    exchange.ids.trace = Trace("a" * 32, "b" * 16)
    fields = json.loads(written(io.StringIO(), exchange))
    assert (fields["trace_id"], fields["span_id"], fields["caller"]) == ("a" * 32, "b" * 16, "anonymous")


async def test_a_person_at_a_terminal_reads_no_ids_of_traces() -> None:
    exchange = finished()
    exchange.ids.trace = Trace("a" * 32, "b" * 16)
    assert "a" * 32 not in written(Terminal(), exchange)


async def test_an_access_log_that_is_off_writes_nothing_until_it_is_on_again() -> None:
    out = io.StringIO()
    log = AccessLog(out)
    log.is_on = False
    log(finished())
    log.flush()
    assert out.getvalue().strip() == ""


def test_a_record_about_a_request_carries_its_ids() -> None:
    exchange = finished()
    exchange.ids.trace = Trace("a" * 32, "b" * 16)
    token = CURRENT.set(exchange)
    try:
        fields = json.loads(JsonFormatter().format(record("odd")))
    finally:
        CURRENT.reset(token)
    assert (fields["request_id"], fields["trace_id"], fields["span_id"]) == ("req-1", "a" * 32, "b" * 16)
    assert "trace_id" not in json.loads(JsonFormatter().format(record("odd")))


@pytest.fixture
def levels() -> Iterator[None]:
    """Puts the levels back."""
    names = ("ai_gateway", "ai_gateway.discovery", "ai_gateway.config")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("levels")
def test_levels_of_the_log_and_of_a_part_change_at_run_time() -> None:
    """And a part that is no longer named goes with the whole again."""
    set_levels(Log(level="warning", levels={"discovery": "debug"}))
    assert not logging.getLogger("ai_gateway.config").isEnabledFor(logging.INFO)
    assert logging.getLogger("ai_gateway.discovery").isEnabledFor(logging.DEBUG)
    set_levels(Log())
    assert logging.getLogger("ai_gateway.config").isEnabledFor(logging.INFO)
    assert not logging.getLogger("ai_gateway.discovery").isEnabledFor(logging.DEBUG)


def test_a_missing_collector_is_logged_once_a_minute() -> None:
    """The gateway's own records, and other messages, always pass."""
    now = [0.0]
    repeat_filter = RepeatFilter(lambda: now[0])
    away = record("Exporter failed")
    away.name = "opentelemetry.exporter"
    assert [
        repeat_filter.filter(away),
        repeat_filter.filter(away),
        repeat_filter.filter(record("Exporter failed")),
    ] == [
        True,
        False,
        True,
    ]
    now[0] += PAUSE_SECONDS
    assert repeat_filter.filter(away)


@pytest.mark.parametrize("char", ["\x7f", "\x9b", "\u202e", "\u2066", "\u200b", "\u061c", "\ufeff", "\ud800", "\x1b"])
async def test_no_line_controls_a_terminal(char: str) -> None:
    """In the log and in access lines, as words and as JSON."""
    exchange = finished(f"/v1/models/{char}")
    exchange.outcome.reason = exchange.client_name = char
    texts = [written(kind(), exchange) for kind in (io.StringIO, Terminal)]
    texts += [kind().format(record(f"it said {char}")) for kind in (JsonFormatter, TextFormatter)]
    for text in texts:
        assert text.rstrip("\n").isprintable()
        assert text.encode()


async def test_half_of_a_surrogate_pair_costs_no_line() -> None:
    lines = written(io.StringIO(), finished("/\udc80"), finished("/other")).splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/\\udc80", "/other"]
