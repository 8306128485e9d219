"""Counts finished requests: one lookup for each request, then plain additions.

A stream that went well touches 13 numbers and costs 2.9 us of CPU, 3.7 us with exemplars. The Prometheus client's
own metrics take 23 us for the same, 9.5 us where each label set is kept, 20 us so with exemplars (Python 3.11).
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from ai_gateway.exchange import Caller, Exchange
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import OTHER, Counter, Histogram, Mark, counters, histograms
from ai_gateway.telemetry.span_attributes import METHODS, error_type
from ai_gateway.wire.operations import Operation

MOST_ROWS: Final = 4000  # cached between requests; beyond it the cache is cleared
_COUNTERS: Final = (names.REQUESTS, names.CALLER_TOKENS, names.PICKS, names.RETRIES)
_HISTOGRAMS: Final = (
    *(names.HTTP_DURATION, names.SERVER_DURATION, names.CLIENT_DURATION, names.FIRST_TOKEN, names.PER_TOKEN),
    *(names.TOKEN_USAGE, names.QUEUE_WAIT, names.LOAD_WAIT, names.LOAD_AND_PREFILL),
)
# Ends of calls that waited for a slot and got none; a call that is refused at once has not waited.
_WAITED_IN_VAIN: Final = frozenset(
    ("queue_timeout", "model_loading", "load_failed", "client_left", "server_shutdown", "shutdown")
)


def caller_label(caller: Caller) -> str:
    """A caller as a label: the name of its key, or its tenant in the config.

    A caller with only a token and no tenant counts as `other`: names from outside would make endless series.
    """
    return caller.label or ("anonymous" if (caller.method, caller.name) == ("none", "anonymous") else OTHER)


class _CallRow(msgspec.Struct):
    """The numbers of calls with the same operation, model, caller and end."""

    model: str
    writes_tokens: bool
    server: Histogram
    client: Histogram
    first_token: Histogram
    per_token: Histogram
    tokens: tuple[Histogram, Histogram]  # of input and output
    caller_tokens: tuple[Counter, Counter]
    queue_wait: Histogram
    load_wait: Histogram
    load: Histogram
    retries: Counter
    picks: dict[str, Counter] = {}  # by reason


class _Row(msgspec.Struct):
    """The numbers of requests of one kind."""

    requests: Counter
    http: Histogram
    call: _CallRow | None


class RequestMetrics:
    """Counts finished exchanges. Changed by each; `samples` has the numbers.

    `exemplars` is OTEL_METRICS_EXEMPLAR_FILTER's value.
    """

    def __init__(self, exemplars: str = "trace_based") -> None:
        self._marks_all = exemplars == "always_on"
        self._marks_recorded = exemplars == "trace_based"
        self._rows: dict[tuple[object, ...], _Row] = {}
        self._counters = {name: counters() for name in _COUNTERS}
        self._histograms = {name: histograms(names.BUCKETS[name]) for name in _HISTOGRAMS}

    def __call__(self, exchange: Exchange) -> None:
        """Counts a finished exchange."""
        closed_at = exchange.times.closed_at
        assert closed_at is not None, "an exchange is counted when it is closed"
        error = error_type(exchange) or ""
        row = self._row(exchange, error)
        seconds = closed_at - exchange.times.opened_at
        mark = None
        if self._marks_all or (self._marks_recorded and exchange.ids.trace.is_recorded):
            trace = exchange.ids.trace
            mark = Mark(trace.trace_id, trace.span_id, exchange.times.started_ns / 1e9 + seconds)
        row.requests.value += 1
        row.http.observe(seconds, mark)
        call = row.call
        if call is None:
            return
        call.server.observe(seconds, mark)
        if exchange.times.queued_at is not None:
            _count_wait(exchange, call, error, mark)
        if exchange.attempts:
            self._count_attempts(exchange, call, mark)
        if exchange.tokens.usage is not None:
            _count_tokens(exchange, call, mark)

    def samples(self) -> Iterator[Sample]:
        """All numbers now, without empty histograms, which have about twenty lines each."""
        for name, counted in self._counters.items():
            yield from (Sample(name, counter.value, labels) for labels, counter in counted.items())
        for name, kept in self._histograms.items():
            for labels, histogram in kept.items():
                read = histogram.read()
                if read.count:
                    yield Sample(name, read, labels)

    def _count_attempts(self, exchange: Exchange, row: _CallRow, mark: Mark | None) -> None:
        for tried in exchange.attempts:
            pick = row.picks.get(tried.reason)
            if pick is None:
                pick = row.picks[tried.reason] = self._counters[names.PICKS].at(row.model, tried.reason)
            pick.value += 1
        row.retries.value += len(exchange.attempts) - 1
        last = exchange.attempts[-1]
        assert exchange.times.closed_at is not None
        row.client.observe(exchange.times.closed_at - last.started_at, mark)
        first_byte_at = exchange.times.first_byte_at
        is_stream = exchange.call is not None and exchange.call.stream
        # The head of a whole answer comes with its end: its first byte says nothing about the first token.
        if first_byte_at is None or (row.writes_tokens and not is_stream):
            return
        if not last.is_warm:
            row.load.observe(first_byte_at - last.started_at, mark)
        if is_stream and exchange.outcome.kind == "ok":
            row.first_token.observe(first_byte_at - exchange.times.opened_at, mark)
            usage = exchange.tokens.usage
            if usage is not None and usage.output_tokens > 1:
                row.per_token.observe((exchange.times.closed_at - first_byte_at) / (usage.output_tokens - 1), mark)

    def _row(self, exchange: Exchange, error: str) -> _Row:
        """The numbers that belong to an exchange."""
        method = exchange.method if exchange.method in METHODS else "_OTHER"
        caller = caller_label(exchange.caller)
        call = exchange.call
        key = (
            *(exchange.route, method, exchange.scheme, call and call.operation, exchange.ids.model_label, caller),
            *(exchange.outcome.status, exchange.outcome.sent_status, exchange.outcome.error_type, error),
        )
        row = self._rows.get(key)
        if row is not None:
            return row
        if len(self._rows) >= MOST_ROWS:
            self._rows.clear()
        route, model = exchange.route or "", exchange.ids.model_label or ""
        asked = (route, model, caller, _text(exchange.outcome.status), exchange.outcome.error_type or "", error)
        http = (method, exchange.scheme, route, _text(exchange.outcome.sent_status), error)
        row = self._rows[key] = _Row(
            self._counters[names.REQUESTS].at(*asked),
            self._histograms[names.HTTP_DURATION].at(*http),
            None if call is None or not model else self._call_row(call.operation, model, caller, error),
        )
        return row

    def _call_row(self, operation: Operation, model: str, caller: str, error: str) -> _CallRow:
        kept, counted = self._histograms, self._counters
        call = (operation.convention, names.PROVIDER, model)
        return _CallRow(
            model=model,
            writes_tokens=operation.writes_tokens,
            server=kept[names.SERVER_DURATION].at(*call, error),
            client=kept[names.CLIENT_DURATION].at(*call, error),
            first_token=kept[names.FIRST_TOKEN].at(*call),
            per_token=kept[names.PER_TOKEN].at(*call),
            tokens=(kept[names.TOKEN_USAGE].at(*call, "input"), kept[names.TOKEN_USAGE].at(*call, "output")),
            caller_tokens=(
                counted[names.CALLER_TOKENS].at(caller, model, "input"),
                counted[names.CALLER_TOKENS].at(caller, model, "output"),
            ),
            queue_wait=kept[names.QUEUE_WAIT].at(model),
            load_wait=kept[names.LOAD_WAIT].at(model),
            load=kept[names.LOAD_AND_PREFILL].at(model),
            retries=counted[names.RETRIES].at(model),
        )


def _count_wait(exchange: Exchange, row: _CallRow, error: str, mark: Mark | None) -> None:
    """Counts the first wait of a call; the wait of a second attempt belongs to the retry."""
    if not exchange.attempts and error not in _WAITED_IN_VAIN:
        return
    queued, loading = exchange.times.waits(exchange.times.closed_at)
    if queued is not None:
        row.queue_wait.observe(queued, mark)
    if loading:
        row.load_wait.observe(loading, mark)


def _count_tokens(exchange: Exchange, row: _CallRow, mark: Mark | None) -> None:
    """Counts tokens, also of a call that broke off: they were computed. Skips invalid counts of Ollama's."""
    assert exchange.tokens.usage is not None
    read, written = exchange.tokens.usage.input_tokens, exchange.tokens.usage.output_tokens
    if read >= 0:
        row.tokens[0].observe(read, mark)
        row.caller_tokens[0].value += read
    if written >= 0 and row.writes_tokens:
        row.tokens[1].observe(written, mark)
        row.caller_tokens[1].value += written


def _text(status: int | None) -> str:
    return "" if status is None else str(status)
