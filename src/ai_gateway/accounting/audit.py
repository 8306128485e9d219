"""The audit on the request path: the one entry of each request, and what must be durable before the call goes on."""

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

HOLD_SECONDS: Final = 10.0  # how long an answer waits for its entry; then the gateway cuts the connection
INTENT_SECONDS: Final = 5.0


class Audit:
    """The audit as the request path sees it. It is off until `begin`, and stays off with `store: none`."""

    def __init__(
        self, clock: Callable[[], float], environment: Mapping[str, str], write_line: Callable[[bytes], None]
    ) -> None:
        self._clock = clock
        self._environment = environment
        self._intents = 0
        self._is_begun = False
        self._is_too_lax = False
        self.opened = OpenAudit()
        self.holds = False  # answers wait for their entries: the mode is blocking or strict
        self._write_line = write_line  # to standard output

    async def begin(self, section: AuditSection) -> None:
        """Opens the audit of this config."""
        self.holds = section.store != "none" and section.mode != "best_effort"
        self._is_begun = True
        self.opened = open_audit(section, self._environment, self._write_line)
        await self.opened.tried()

    async def end(self) -> None:
        """Writes what is queued, and closes the audit."""
        await self.opened.close()

    def on_first_config(self, section: AuditSection) -> None:
        """Takes a first config that came after the start. If its audit promises more than the one that has begun, the
        gateway sends no call until a restart."""
        if self._is_begun and section != self.opened.section and section.mode != "best_effort":
            self.holds = self._is_too_lax = True

    def warn_of_several(self, gateways: int) -> None:
        """Warns if several gateways each audit only their own calls."""
        if self.opened.section.store == "sqlite" and gateways > 1:
            log.warning(
                "each of %d gateways keeps its own audit; for one common audit, set audit.store to postgresql", gateways
            )

    def __call__(self, exchange: Exchange) -> None:
        """Enqueues the entry of a finished exchange (see ExchangeMiddleware)."""
        writer = self.opened.writer
        if writer is not None and not exchange.outcome.is_audited:
            exchange.outcome.is_audited = True
            writer.enqueue(record(exchange, "end", exchange.times.closed_at or self._clock()))

    def capture(self, call: Call, exchange: Exchange) -> Generator[int, None, None]:
        """Keeps what the level needs of a call, before its fields go; in steps, since a call may be large."""
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
        """Runs before a call is sent. Strict mode makes an intent durable; blocking mode checks that the audit works.

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
        """Runs before the last byte of an answer: makes its entry durable. False if the answer may not end.

        While the audit fails, an answer without attempts may end all the same: it tells the client why.
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
    """Keeps only the request: it ignores the answer."""

    def wrap_feed(self, feed: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        return feed

    def answer(self, body: bytes, part: str = "message") -> None:
        pass


def _unavailable() -> AuditUnavailable:
    return AuditUnavailable("The gateway cannot write its audit now, and sends no call without it; try again later.")


def print_line(line: bytes) -> None:
    """Writes a line to standard output, and waits for it."""
    sys.stdout.write(line.decode())
    sys.stdout.flush()
