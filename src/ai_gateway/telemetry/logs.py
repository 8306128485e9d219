"""Set-up of the gateway's own log: lines on standard error, JSON unless that is a terminal."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Final, get_args

import msgspec

from ai_gateway.config.log import Log, LogName
from ai_gateway.exchange import CURRENT
from ai_gateway.failure_log import FailureLog
from ai_gateway.telemetry.output import STANDARD_OUTPUT, Output, Outputs
from ai_gateway.wire.printable import printable, printable_json, printable_lines, utf8
from ai_gateway.wire.timestamp import timestamp

PAUSE_SECONDS: Final = 60.0
STANDARD_ERROR: Final = 2
MAX_REPEATS: Final = 20  # records with the same message in PAUSE_SECONDS; a record per request would come by thousands
MOST_KINDS: Final = 1000
_encode = msgspec.json.Encoder().encode


class JsonFormatter(logging.Formatter):
    """One JSON object per record, with the ids of its request; the encoding escapes hostile text."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        fields: dict[str, Any] = {
            "time": timestamp(round(record.created * 1e6) * 1000),
            "level": record.levelname.lower(),
            "log": record.name.removeprefix("ai_gateway."),
            "message": utf8(record.getMessage()),
        }
        exchange = CURRENT.get()
        if exchange is not None:
            fields["request_id"] = exchange.ids.request_id
            fields["trace_id"], fields["span_id"] = exchange.ids.trace.trace_id, exchange.ids.trace.span_id
        if record.exc_info:
            fields["trace"] = utf8(self.formatException(record.exc_info))
        return printable_json(_encode(fields)).decode()


class TextFormatter(logging.Formatter):
    """A readable line for a terminal, with escapes for control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        message = printable(record.getMessage())
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {message}"
        return f"{line}\n{printable_lines(self.formatException(record.exc_info))}" if record.exc_info else line


class RepeatCount:
    """How many records with the same message have come since a moment."""

    __slots__ = ("count", "record", "since", "suppressed")

    def __init__(self, record: logging.LogRecord, since: float) -> None:
        self.record = record  # the last suppressed one
        self.since = since
        self.count = 0
        self.suppressed = 0


class RepeatFilter(logging.Filter):
    """Passes the first records with the same message, and counts the rest until PAUSE_SECONDS are over. One record of
    OpenTelemetry's own is enough: a collector may be away for long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], RepeatCount] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        key, now = (record.name, record.levelno, str(record.msg)), self._clock()
        repeats = self._kinds.get(key)
        if repeats is None or now - repeats.since >= PAUSE_SECONDS:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            repeats = self._kinds[key] = RepeatCount(record, now)
        repeats.count += 1
        if repeats.count <= (1 if record.name.startswith("opentelemetry") else MAX_REPEATS):
            return True
        repeats.suppressed += 1
        repeats.record = record
        return False

    def due(self) -> Iterator[logging.LogRecord]:
        """A record with the count for each message with suppressed records whose time is over."""
        now = self._clock()
        for key, repeats in list(self._kinds.items()):
            if now - repeats.since < PAUSE_SECONDS:
                continue
            del self._kinds[key]
            if repeats.suppressed:
                last = repeats.record
                summary = (
                    f"{repeats.suppressed} more like this within {PAUSE_SECONDS:.0f} s; the last: {last.getMessage()}"
                )
                yield logging.LogRecord(last.name, last.levelno, last.pathname, last.lineno, summary, (), None)

    def seconds(self) -> float | None:
        """The seconds until the first of them is due; None if nothing was suppressed."""
        times = [repeats.since for repeats in self._kinds.values() if repeats.suppressed]
        return max(0.0, min(times) + PAUSE_SECONDS - self._clock()) if times else None


class LinesHandler(logging.Handler):
    """Writes records to Lines. Once the output has `later`, it also writes the counts of suppressed records in time."""

    def __init__(self, out: Output, repeat_filter: RepeatFilter) -> None:
        super().__init__()
        self.out = out
        self._repeat_filter = repeat_filter
        self._is_timed = False
        self._failures = FailureLog(logging.getLogger("ai_gateway.output"))
        self.setFormatter(TextFormatter() if out.is_terminal else JsonFormatter())

    def handle(self, record: logging.LogRecord) -> bool:
        """See logging.Handler."""
        with self.lock or nullcontext():
            for due in self._repeat_filter.due():
                self.emit(due)
            is_passed = self._repeat_filter.filter(record)
            if is_passed:
                self.emit(record)
            elif not self._is_timed and self.out.later is not None:
                self._is_timed = True
                self.out.later((self._repeat_filter.seconds() or 0.0) + 0.01, self._emit_due)
        return is_passed

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            self.out.write(f"{self.format(record)}\n".encode())
        except Exception as failure:
            if self._failures.is_new(failure):
                self.handleError(record)

    def _emit_due(self) -> None:
        with self.lock or nullcontext():
            self._is_timed = False
            for due in self._repeat_filter.due():
                self.emit(due)
            seconds = self._repeat_filter.seconds()
            if seconds is not None and self.out.later is not None:
                self._is_timed = True
                self.out.later(seconds + 0.01, self._emit_due)


def set_levels(settings: Log) -> None:
    """Sets the level of the gateway's own log, and of some of its parts."""
    logging.getLogger("ai_gateway").setLevel(settings.level.upper())
    for name in get_args(LogName):
        level = settings.levels.get(name)
        logging.getLogger(f"ai_gateway.{name}").setLevel(logging.NOTSET if level is None else level.upper())


def set_up_logs(level: int = logging.INFO) -> Outputs:
    """Sends the gateway's records to standard error, and those of libraries from warnings up. Returns both outputs:
    access lines go to standard output."""
    out = Output(STANDARD_ERROR, "standard error")
    root = logging.getLogger()
    root.handlers[:] = [LinesHandler(out, RepeatFilter(time.monotonic))]
    root.setLevel(logging.WARNING)
    logging.getLogger("ai_gateway").setLevel(level)
    return Outputs(Output(STANDARD_OUTPUT, "standard output"), out)
