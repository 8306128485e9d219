"""Between the request path and the audit: each request's one entry, and what must be durable before it goes on."""

import asyncio
import hmac
import logging
import sys
from collections.abc import Callable, Generator, Mapping
from typing import Final

from ai_gateway.accounting.open_audit import OpenAudit, open_audit
from ai_gateway.audit.recorder import record
from ai_gateway.audit.store import StoreUnavailable
from ai_gateway.config.audit import AuditSection
from ai_gateway.errors import AuditUnavailable
from ai_gateway.exchange import Exchange
from ai_gateway.telemetry.content import KeptContent
from ai_gateway.wire.call import Call

log = logging.getLogger("ai_gateway.audit")

HOLD_SECONDS: Final = 10.0  # that an answer waits for its entry; then its client is cut off
INTENT_SECONDS: Final = 5.0


class Audit:
    """The audit as the request path sees it. Off until `begin`, which a config with `store: none` leaves it."""

    def __init__(
        self, clock: Callable[[], float], environment: Mapping[str, str], write_line: Callable[[bytes], None]
    ) -> None:
        self._clock = clock
        self._environment = environment
        self._intents = 0
        self._is_begun = False
        self._is_too_lax = False
        self.opened = OpenAudit()
        self.holds = False  # something waits for entries: the mode is blocking or strict
        self._write_line = write_line  # to standard output

    async def begin(self, section: AuditSection) -> None:
        """Opens the audit that a config asks for."""
        self.holds = section.store != "none" and section.mode != "best_effort"
        self._is_begun = True
        self.opened = open_audit(section, self._environment, self._write_line)
        await self.opened.tried()

    async def end(self) -> None:
        """Writes what is queued, and closes the audit."""
        await self.opened.close()

    def on_first_config(self, section: AuditSection) -> None:
        """A first config that came after the start: where it promises more than what has begun keeps, no call is sent
        until the start that it asks for."""
        if self._is_begun and section != self.opened.section and section.mode != "best_effort":
            self.holds = self._is_too_lax = True

    def warn_of_several(self, gateways: int) -> None:
        """Says so where each of several gateways would tell of its own calls alone."""
        if self.opened.section.store == "sqlite" and gateways > 1:
            log.warning(
                "each of %d gateways has an audit of its own; audit.store postgresql keeps one of all", gateways
            )

    def __call__(self, exchange: Exchange) -> None:
        """Takes a finished exchange (see recording's Reader)."""
        writer = self.opened.writer
        if writer is not None and not exchange.outcome.is_audited:
            exchange.outcome.is_audited = True
            writer.enqueue(record(exchange, "end", exchange.times.closed_at or self._clock()))

    def capture(self, call: Call, exchange: Exchange) -> Generator[int, None, None]:
        """Keeps what the level asks for of a call, before its fields go; step by step, since a call may be large."""
        section, writer = self.opened.section, self.opened.writer
        if section.level != "metadata":
            content = KeptContent if section.level == "full" else CapturedRequest
            exchange.kept.evidence = content(call, self.opened.most_kept)
        if section.hash_prompts and writer is not None and writer.key is not None:
            digest = hmac.new(writer.key, b"prompt", "sha256")
            for piece in call.prompt():
                digest.update(piece)
                yield 0
            exchange.kept.prompt_hash = digest.hexdigest()

    async def write_intent(self, exchange: Exchange) -> None:
        """Before a call is sent: in strict mode an intent, durable; in blocking mode an audit that can be written.

        Raises AuditUnavailable.
        """
        writer = self.opened.writer
        if writer is None or self._is_too_lax:
            raise _unavailable()
        if self.opened.section.mode != "strict":
            if writer.failure is not None:
                raise _unavailable()
            return
        self._intents += 1
        exchange.ids.intent = f"{self.opened.name}#{self._intents}"
        try:
            async with asyncio.timeout(INTENT_SECONDS):
                await writer.durable(record(exchange, "intent", self._clock()))
        except (StoreUnavailable, TimeoutError):
            raise _unavailable() from None

    async def write_end(self, exchange: Exchange) -> bool:
        """Before the last byte of an answer: whether it may go, since its entry is durable.

        What no endpoint was asked for goes without that while the audit fails: the client should know why.
        """
        writer = self.opened.writer
        if writer is None or exchange.outcome.is_audited:
            return True
        exchange.outcome.is_audited = True
        entry = record(exchange, "end", self._clock())
        if writer.failure is not None and not exchange.attempts:
            writer.enqueue(entry)
            return True
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await writer.durable(entry)
        except (StoreUnavailable, TimeoutError):
            return not exchange.attempts
        return True


class CapturedRequest(KeptContent):
    """What was asked alone: the answer passes unheard."""

    def wrap_feed(self, feed: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        return feed

    def answer(self, body: bytes, part: str = "message") -> None:
        pass


def _unavailable() -> AuditUnavailable:
    return AuditUnavailable("The audit cannot be written now, and no call is sent without it; try again later.")


def print_line(line: bytes) -> None:
    """Writes a line to standard output, and waits for it."""
    sys.stdout.write(line.decode())
    sys.stdout.flush()
