"""Set-up of the gateway's own log: lines on standard error, JSON unless that is a terminal."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec

from ai_gateway.config.types import Log, LogName
from ai_gateway.exchange import CURRENT

PAUSE_SECONDS: Final = 60.0
_encode = msgspec.json.Encoder().encode


class JsonLines(logging.Formatter):
    """One JSON object per record, with the ids of the request that it is about; hostile text is escaped by encoding."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "log": record.name.removeprefix("ai_gateway."),
            "message": record.getMessage(),
        }
        exchange = CURRENT.get()
        if exchange is not None:
            fields["request_id"] = exchange.request_id
            fields["trace_id"], fields["span_id"] = exchange.trace.trace_id, exchange.trace.span_id
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return _encode(fields).decode()


class Words(logging.Formatter):
    """A readable line for a terminal; control characters are shown, never sent."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        message = record.getMessage().encode("unicode_escape").decode() if _is_hostile(record) else record.getMessage()
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _is_hostile(record: logging.LogRecord) -> bool:
    return not record.getMessage().isprintable()


class Sparing(logging.Filter):
    """Lets each complaint of OpenTelemetry's through once a minute: whoever collects may be away for long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        if not record.name.startswith("opentelemetry"):
            return True
        key, now = (record.name, str(record.msg)), self._clock()
        if now - self._told.get(key, -PAUSE_SECONDS) < PAUSE_SECONDS:
            return False
        self._told[key] = now
        return True


def set_levels(settings: Log) -> None:
    """Sets the least level of the gateway's own log, and others for some of its parts."""
    logging.getLogger("ai_gateway").setLevel(settings.level.upper())
    for name in get_args(LogName):
        level = settings.levels.get(name)
        logging.getLogger(f"ai_gateway.{name}").setLevel(logging.NOTSET if level is None else level.upper())


def set_up_logs(level: int = logging.INFO) -> None:
    """Sends the gateway's records to standard error; other libraries' only from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Sparing(time.monotonic))
    handler.setFormatter(Words() if sys.stderr.isatty() else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ai_gateway").setLevel(level)
