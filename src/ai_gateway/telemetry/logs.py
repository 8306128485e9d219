"""Set-up of the gateway's own log: lines on standard error, JSON unless that is a terminal."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Final, get_args

import msgspec

from ai_gateway.config.types import Log, LogName
from ai_gateway.exchange import CURRENT
from ai_gateway.telemetry.output import STANDARD_OUTPUT, Output, Outputs
from ai_gateway.wire.printable import printable, printable_json, printable_lines, utf8
from ai_gateway.wire.timestamp import timestamp

PAUSE_SECONDS: Final = 60.0
STANDARD_ERROR: Final = 2
MOST_ALIKE: Final = 20  # records with the same words in PAUSE_SECONDS: what comes with each request comes by thousands
MOST_KINDS: Final = 1000
_encode = msgspec.json.Encoder().encode


class JsonLines(logging.Formatter):
    """One JSON object per record, with the ids of the request that it is about; hostile text is escaped by encoding."""

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


class Words(logging.Formatter):
    """A readable line for a terminal; control characters are shown, never sent."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        message = printable(record.getMessage())
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {message}"
        return f"{line}\n{printable_lines(self.formatException(record.exc_info))}" if record.exc_info else line


class Alike:
    """How many records with the same words have come since one moment."""

    __slots__ = ("count", "held", "record", "since")

    def __init__(self, record: logging.LogRecord, since: float) -> None:
        self.record = record  # the last one that was held back
        self.since = since
        self.count = 0
        self.held = 0


class Sparing(logging.Filter):
    """Lets the first records with the same words through, and counts the rest until PAUSE_SECONDS are over: whoever
    sends nonsense sends it often. Of OpenTelemetry's own complaints one is enough: a collector may be away for long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], Alike] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        key, now = (record.name, record.levelno, str(record.msg)), self._clock()
        alike = self._kinds.get(key)
        if alike is None or now - alike.since >= PAUSE_SECONDS:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            alike = self._kinds[key] = Alike(record, now)
        alike.count += 1
        if alike.count <= (1 if record.name.startswith("opentelemetry") else MOST_ALIKE):
            return True
        alike.held += 1
        alike.record = record
        return False

    def due(self) -> Iterator[logging.LogRecord]:
        """One record for each kind of which some were held back, and whose time is over."""
        now = self._clock()
        for key, alike in list(self._kinds.items()):
            if now - alike.since < PAUSE_SECONDS:
                continue
            del self._kinds[key]
            if alike.held:
                last = alike.record
                told = f"{alike.held} more like this within {PAUSE_SECONDS:.0f} s; the last: {last.getMessage()}"
                yield logging.LogRecord(last.name, last.levelno, last.pathname, last.lineno, told, (), None)

    def seconds(self) -> float | None:
        """Until the first of them is due; None where nothing was held back."""
        times = [alike.since for alike in self._kinds.values() if alike.held]
        return max(0.0, min(times) + PAUSE_SECONDS - self._clock()) if times else None


class LinesHandler(logging.Handler):
    """Hands records to a place for lines. `later`, once there is one, tells of what was held back when it is time."""

    def __init__(self, out: Output, sparing: Sparing) -> None:
        super().__init__()
        self.out = out
        self._sparing = sparing
        self._is_timed = False
        self.setFormatter(Words() if out.is_terminal else JsonLines())

    def handle(self, record: logging.LogRecord) -> bool:
        """See logging.Handler."""
        with self.lock or nullcontext():
            for due in self._sparing.due():
                self.emit(due)
            is_told = self._sparing.filter(record)
            if is_told:
                self.emit(record)
            elif not self._is_timed and self.out.later is not None:
                self._is_timed = True
                self.out.later((self._sparing.seconds() or 0.0) + 0.01, self._tell)
        return is_told

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            self.out.write(f"{self.format(record)}\n".encode())
        except Exception:
            self.handleError(record)

    def _tell(self) -> None:
        with self.lock or nullcontext():
            self._is_timed = False
            for due in self._sparing.due():
                self.emit(due)
            seconds = self._sparing.seconds()
            if seconds is not None and self.out.later is not None:
                self._is_timed = True
                self.out.later(seconds + 0.01, self._tell)


def set_levels(settings: Log) -> None:
    """Sets the least level of the gateway's own log, and others for some of its parts."""
    logging.getLogger("ai_gateway").setLevel(settings.level.upper())
    for name in get_args(LogName):
        level = settings.levels.get(name)
        logging.getLogger(f"ai_gateway.{name}").setLevel(logging.NOTSET if level is None else level.upper())


def set_up_logs(level: int = logging.INFO) -> Outputs:
    """Sends the gateway's records to standard error, other libraries' only from warnings up. Both outputs are returned:
    access lines go to the other one."""
    out = Output(STANDARD_ERROR, "standard error")
    root = logging.getLogger()
    root.handlers[:] = [LinesHandler(out, Sparing(time.monotonic))]
    root.setLevel(logging.WARNING)
    logging.getLogger("ai_gateway").setLevel(level)
    return Outputs(Output(STANDARD_OUTPUT, "standard output"), out)
