"""All readers get a finished exchange, even if one of them fails."""

import logging
import time
from typing import Any

from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.config.types import Config
from ai_gateway.edge.asgi import Receive, Scope, Send
from ai_gateway.edge.exchange_middleware import ExchangeMiddleware, OpenExchange, Reader
from ai_gateway.exchange import Exchange
from ai_gateway.telemetry.settings import TelemetrySettings


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """An app."""
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def ask(recording: ExchangeMiddleware) -> list[Any]:
    """What a client gets of one request."""
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await recording({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)
    return said


def recording(*readers: Reader) -> ExchangeMiddleware:
    return ExchangeMiddleware(
        answer, readers, OpenExchange(time.monotonic, CurrentConfig(Config()), [], TelemetrySettings())
    )


async def test_a_failure_of_one_reader_harms_neither_the_request_nor_the_others(
    recording_failures: list[logging.LogRecord],
) -> None:
    """The log has each kind once: it would come with every request."""
    seen: list[Exchange] = []

    def broken(exchange: Exchange) -> None:
        raise (ValueError if exchange.method == "GET" else KeyError)("broken")

    app = recording(broken, seen.append)
    for _ in range(3):
        assert (await ask(app))[0]["status"] == 200
    assert len(seen) == 3
    assert all(exchange.times.closed_at is not None for exchange in seen)
    assert [type(record.exc_info and record.exc_info[1]) for record in recording_failures] == [ValueError]
    recording_failures.clear()


async def test_failures_of_different_readers_are_logged_each(recording_failures: list[logging.LogRecord]) -> None:
    def broken(exchange: Exchange) -> None:
        raise ValueError("broken")

    await ask(recording(broken, broken))
    assert len(recording_failures) == 2
    recording_failures.clear()
