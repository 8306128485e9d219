"""One line per request after its end: JSON on a pipe or file, words on a terminal. No prompts, no keys."""

import sys
from typing import Any, TextIO

import msgspec

from ai_gateway.exchange import Exchange

_encode = msgspec.json.Encoder().encode


class AccessLog:
    """Writes finished exchanges to a text stream, standard output by default."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._is_terminal = self._out.isatty()

    def __call__(self, exchange: Exchange) -> None:
        """Writes one line; a reader of the log that is gone must not end the gateway."""
        fields = describe(exchange)
        line = _words(fields) if self._is_terminal else _encode(fields).decode()
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except OSError:
            return


def describe(exchange: Exchange) -> dict[str, Any]:
    """The fields of an access line; times in milliseconds. What did not happen is left out."""
    call, usage = exchange.call, exchange.usage
    last = exchange.attempts[-1] if exchange.attempts else None
    fields = {
        "log": "access",
        "request_id": exchange.request_id,
        "client": exchange.caller.address,
        "method": exchange.method,
        "path": exchange.path[:200],
        "status": exchange.status,
        "outcome": exchange.outcome,
        "error": exchange.error_code,
        "story": exchange.story,
        "model": call.model[:200] if call else None,
        "ollama_model": exchange.model,
        "stream": call.stream if call else None,
        "endpoint": last.endpoint if last else None,
        "reason": last.reason if last else None,
        "warm": last.is_warm if last else None,
        "attempts": len(exchange.attempts) or None,
        "queue_ms": _between(exchange.queued_at, exchange.leased_at),
        "first_byte_ms": _between(exchange.leased_at, exchange.first_byte_at),
        "total_ms": _between(exchange.opened_at, exchange.closed_at),
        "tokens_in": usage.input_tokens if usage else None,
        "tokens_out": usage.output_tokens if usage else None,
        "finish_reason": exchange.finish_reason,
        "bytes_in": exchange.body_bytes,
        "bytes_out": exchange.sent_bytes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round((end - start) * 1000, 1)


def _words(fields: dict[str, Any]) -> str:
    shown = [str(fields.get(key, "-")) for key in ("status", "method", "path")]
    rest = [
        f"{key}={_encode(value).decode() if isinstance(value, str) else value}"
        for key, value in fields.items()
        if key not in ("log", "status", "method", "path", "client")
    ]
    return " ".join(_encode(word).decode().strip('"') for word in shown) + "  " + " ".join(rest)
