"""Set-up of the gateway's own log: lines on standard error, JSON unless that is a terminal."""

import logging
import sys
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


class JsonLines(logging.Formatter):
    """One JSON object per record; hostile text is escaped by the encoding itself."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "log": record.name.removeprefix("ai_gateway."),
            "message": record.getMessage(),
        }
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


def set_up_logs(level: int = logging.INFO) -> None:
    """Sends the gateway's records to standard error; other libraries' only from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Words() if sys.stderr.isatty() else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ai_gateway").setLevel(level)
