"""One line per request after its end: JSON on a pipe or file, text on a terminal. No prompts, no keys."""

import asyncio
import io
import time
from typing import Final, TextIO, cast

import msgspec

from ai_gateway.exchange import Attempt, Exchange
from ai_gateway.telemetry.output import STANDARD_OUTPUT, Lines, Output, TextLines
from ai_gateway.telemetry.unauthenticated import PAUSE_SECONDS, UnauthenticatedLines
from ai_gateway.wire.printable import printable_json, utf8
from ai_gateway.wire.timestamp import timestamp

_encode = msgspec.json.Encoder().encode

GATHER_SECONDS: Final = 0.01
# Not on a terminal: program and time are obvious there, and the console exporter prints traces.
_NOT_FOR_PEOPLE: Final = ("time", "log", "client", "caller", "trace_id", "span_id")


class Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The fields of an access line; times in milliseconds. Fields without a value are left out."""

    time: str
    log: str
    request_id: str
    trace_id: str
    span_id: str
    caller: str
    auth: str = "none"
    key_id: str | None = None
    tenant: str | None = None
    client: str
    method: str
    path: str
    status: int | None
    outcome: str
    error: str | None = None
    story: str | None = None
    model: str | None = None
    ollama_model: str | None = None
    stream: bool | None = None
    endpoint: str | None = None
    pod: str | None = None
    reason: str | None = None
    warm: bool | None = None
    attempts: int | None = None
    faults: list[str] = []
    queue_ms: float | None = None
    load_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_counted: int | None = None
    finish_reason: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0


class AccessLog:
    """Writes finished exchanges to standard output, or to other Lines.

    It gathers lines for some milliseconds, since a write costs more than a line. With `is_on` False it does nothing.
    Only some unauthenticated requests get a line, see `unauthenticated`.
    """

    def __init__(self, out: Lines | TextIO | None = None) -> None:
        given = Output(STANDARD_OUTPUT, "standard output") if out is None else out
        self._out: Lines = TextLines(given) if isinstance(given, io.TextIOBase) else cast("Lines", given)
        self._lines: list[bytes] = []
        self._unauthenticated = UnauthenticatedLines()
        self.is_on = True
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, exchange: Exchange) -> None:
        """Adds one line, which is written within GATHER_SECONDS."""
        if not self.is_on:
            return
        if self._unauthenticated.suppresses(exchange):
            if self._unauthenticated.suppressed == 1:
                self._soon().call_later(PAUSE_SECONDS, self.flush)
            return
        line = describe(exchange)
        try:
            written = _as_text(line) if self._out.is_terminal else printable_json(_encode(line))
        except UnicodeEncodeError:  # half of a surrogate pair
            line = _in_utf8(line)
            written = _as_text(line) if self._out.is_terminal else printable_json(_encode(line))
        self._lines.append(written)
        if len(self._lines) == 1:
            self._soon().call_later(GATHER_SECONDS, self._write)

    def flush(self) -> None:
        """Writes the gathered lines, and how many were suppressed."""
        if self._unauthenticated.suppressed:
            summary = self._unauthenticated.summary()
            self._lines.append(summary.story.encode() if self._out.is_terminal else _encode(summary))
        self._write()

    def _soon(self) -> asyncio.AbstractEventLoop:
        self._loop = self._loop or asyncio.get_running_loop()
        return self._loop

    def _write(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._out.write(b"\n".join([*lines, b""]))


def _in_utf8(line: Line) -> Line:
    fields = msgspec.structs.asdict(line)
    texts = {name: utf8(value) for name, value in fields.items() if isinstance(value, str)}
    return msgspec.structs.replace(line, **texts, faults=[utf8(failure) for failure in line.faults])


def describe(exchange: Exchange) -> Line:
    """The access line of a finished exchange."""
    call, usage = exchange.call, exchange.tokens.usage
    queued, loading = exchange.times.waits()
    line = Line(
        time=timestamp(time.time_ns()),
        log="access",
        request_id=exchange.ids.request_id,
        trace_id=exchange.ids.trace.trace_id,
        span_id=exchange.ids.trace.span_id,
        caller=exchange.caller.name,
        auth=exchange.caller.method,
        key_id=exchange.caller.key_id,
        tenant=exchange.caller.tenant,
        client=exchange.caller.address,
        method=exchange.method,
        path=exchange.path[:200],
        status=exchange.outcome.status,
        outcome=exchange.outcome.kind,
        error=exchange.outcome.error_code,
        story=exchange.outcome.reason,
        ollama_model=exchange.ids.model,
        queue_ms=_ms(queued),
        load_ms=_ms(loading or None),
        first_byte_ms=_between(exchange.times.leased_at, exchange.times.first_byte_at),
        total_ms=_between(exchange.times.opened_at, exchange.times.closed_at),
        tokens_counted=exchange.tokens.counted,
        finish_reason=exchange.outcome.finish_reason,
        bytes_in=exchange.body_bytes,
        bytes_out=exchange.outcome.sent_bytes,
    )
    if call is not None:
        line.model, line.stream = call.model[:200], call.stream
    if usage is not None:
        line.tokens_in, line.tokens_out = usage.input_tokens, usage.output_tokens
    if exchange.attempts:
        _describe_attempts(line, exchange.attempts)
    return line


def _describe_attempts(line: Line, attempts: list[Attempt]) -> None:
    last = attempts[-1]
    line.endpoint, line.reason, line.warm = last.endpoint, last.reason, last.is_warm
    line.pod = last.pod
    line.attempts = len(attempts)
    line.faults = [f"{tried.pod or tried.endpoint}: {tried.failure}" for tried in attempts if tried.failure is not None]


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else _ms(end - start)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else int(seconds * 10_000) / 10


def _as_text(line: Line) -> bytes:
    """A readable line; values keep JSON's escapes, so that hostile text cannot control the terminal."""
    fields = msgspec.to_builtins(line)
    first = [_encode(fields.pop(key, "-")).strip(b'"') for key in ("status", "method", "path")]
    rest = [key.encode() + b"=" + _encode(value) for key, value in fields.items() if key not in _NOT_FOR_PEOPLE]
    return printable_json(b" ".join(first) + b"  " + b" ".join(rest))
