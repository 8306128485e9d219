"""Between the request path and the audit: each request's one entry, and what must be durable before it goes on."""

import asyncio
import hmac
import logging
import secrets
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from ai_gateway.audit.checkpoint_file import second_place
from ai_gateway.audit.recorder import record
from ai_gateway.audit.settings import AuditSettings, Redact
from ai_gateway.audit.store import Archive, StoreUnavailable
from ai_gateway.audit.stores import Collector, key_of, restored, store_pair
from ai_gateway.audit.writer import Writer
from ai_gateway.config.audit import AuditSection
from ai_gateway.edge.asgi import ASGIApp, Message, Receive, Scope, Send, exchange_of
from ai_gateway.errors import AuditUnavailable
from ai_gateway.exchange import CUT, Exchange
from ai_gateway.telemetry import names
from ai_gateway.telemetry.content import KeptContent
from ai_gateway.telemetry.sample import Sample
from ai_gateway.wire.call import Call

log = logging.getLogger("ai_gateway.audit")

HOLD_SECONDS: Final = 10.0  # that an answer waits for its entry; then its client is cut off
INTENT_SECONDS: Final = 5.0
OPEN_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.002
FLUSH_SECONDS: Final = 5.0

T = TypeVar("T")


class Audit:
    """The audit as the request path sees it. Off until `begin`, which a config with `store: none` leaves it."""

    def __init__(
        self, clock: Callable[[], float], environment: Mapping[str, str], write_line: Callable[[bytes], None]
    ) -> None:
        self._clock = clock
        self._environment = environment
        self._writer: Writer | None = None
        self._intents = 0
        self.name = ""  # NAME/BOOT in the entries
        self.audit = AuditSection(store="none")
        self._archive: Archive | None = None
        self._is_open = False
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="audit-reader")
        self._bytes_waiting: Callable[[], int] | None = None
        self.holds = False  # something waits for entries: the mode is blocking or strict
        self._most_kept = 0  # bytes of a prompt or answer
        self._is_begun = False
        self._is_too_lax = False
        self._write_line = write_line  # to standard output

    @property
    def is_on(self) -> bool:
        """Whether entries are kept at all."""
        return self._writer is not None

    async def begin(self, audit: AuditSection) -> None:
        """Opens the audit, in a thread of its own; a store that takes long to open is not waited for."""
        self.audit = audit
        self._is_begun = True
        if audit.store == "none":
            return
        store, self._archive, self._bytes_waiting = store_pair(audit, self._environment, _collector)
        self.name = f"{socket.gethostname()}/{secrets.token_hex(4)}"
        settings = AuditSettings(
            writer=self.name,
            key=partial(key_of, audit, self._environment),
            keep_seconds=audit.keep,
            max_bytes=audit.max_size,
            redact=self._redact(audit),
            sink=second_place(audit.checkpoints, self._write_line),
            signs_of_life=audit.mode == "strict" or audit.store == "postgresql",
            begins_anew=audit.mode == "best_effort",
            restore_key=restored(audit, self._environment),
        )
        self._writer = Writer(store, settings, asyncio.get_running_loop())
        self.holds = audit.mode != "best_effort"
        self._writer.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                while not self._writer.is_tried.is_set():  # noqa: ASYNC110 - a thread to wait in would cost memory
                    await asyncio.sleep(LOOK_SECONDS)

    def on_first_config(self, audit: AuditSection) -> None:
        """A first config that came after the start: where it promises more than what has begun keeps, no call is sent
        until the start that it asks for."""
        if self._is_begun and audit != self.audit and audit.mode != "best_effort":
            self.holds = self._is_too_lax = True

    def _redact(self, audit: AuditSection) -> Redact | None:
        """Loaded where content is kept at all."""
        if audit.level == "metadata":
            return None
        from ai_gateway.audit.redaction import OVERLAP, redaction

        self._most_kept = audit.max_content + OVERLAP  # cut when redacted
        return redaction(audit.redact, audit.max_content)

    def warn_of_several(self, gateways: int) -> None:
        """Says so where each of several gateways would tell of its own calls alone."""
        if self.audit.store == "sqlite" and gateways > 1:
            log.warning(
                "each of %d gateways has an audit of its own; audit.store postgresql keeps one of all", gateways
            )

    @property
    def can_be_queried(self) -> bool:
        """Whether what is kept can be read here."""
        return self._archive is not None

    async def query(self, question: Callable[[Archive], T]) -> T:
        """The answer of what is kept, from a thread of its own: neither requests nor the writer wait for it.

        Raises StoreUnavailable; what failed is opened anew with the next question.
        """
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._answer, question)

    def _answer(self, question: Callable[[Archive], T]) -> T:
        assert self._archive is not None, "who asks has looked whether there is one"
        try:
            if not self._is_open:
                self._archive.open()
                self._is_open = True
            return question(self._archive)
        except StoreUnavailable:
            self._is_open = False
            raise

    async def end(self) -> None:
        """Writes what is queued, and closes the audit."""
        if self._writer is not None:
            await asyncio.to_thread(self._writer.stop, FLUSH_SECONDS)
        if self._archive is not None:
            await asyncio.to_thread(self._archive.interrupt)
            await asyncio.get_running_loop().run_in_executor(self._reading, self._archive.close)
        self._reading.shutdown(wait=False)

    def __call__(self, exchange: Exchange) -> None:
        """Takes a finished exchange (see recording's Reader)."""
        if self._writer is not None and not exchange.outcome.is_audited:
            exchange.outcome.is_audited = True
            self._writer.enqueue(record(exchange, "end", exchange.times.closed_at or self._clock()))

    def capture(self, call: Call, exchange: Exchange) -> Generator[int, None, None]:
        """Keeps what the level asks for of a call, before its fields go; step by step, since a call may be large."""
        if self.audit.level != "metadata":
            content = KeptContent if self.audit.level == "full" else CapturedRequest
            exchange.kept.evidence = content(call, self._most_kept)
        if self.audit.hash_prompts and self._writer is not None and self._writer.key is not None:
            digest = hmac.new(self._writer.key, b"prompt", "sha256")
            for piece in call.prompt():
                digest.update(piece)
                yield 0
            exchange.kept.prompt_hash = digest.hexdigest()

    async def write_intent(self, exchange: Exchange) -> None:
        """Before a call is sent: in strict mode an intent, durable; in blocking mode an audit that can be written.

        Raises AuditUnavailable.
        """
        writer = self._writer
        if writer is None or self._is_too_lax:
            raise _unavailable()
        if self.audit.mode != "strict":
            if writer.failure is not None:
                raise _unavailable()
            return
        self._intents += 1
        exchange.ids.intent = f"{self.name}#{self._intents}"
        try:
            async with asyncio.timeout(INTENT_SECONDS):
                await writer.durable(record(exchange, "intent", self._clock()))
        except (StoreUnavailable, TimeoutError):
            raise _unavailable() from None

    async def write_end(self, exchange: Exchange) -> bool:
        """Before the last byte of an answer: whether it may go, since its entry is durable.

        What no endpoint was asked for goes without that while the audit fails: the client should know why.
        """
        writer = self._writer
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

    def status(self) -> dict[str, Any]:
        """For health: where entries go, and what stands in the way."""
        writer = self._writer
        return {
            "store": self.audit.store,
            "mode": self.audit.mode,
            "writer": self.name or None,
            "queued": 0 if writer is None else writer.queued,
            "complaint": None if writer is None else writer.failure,
            "loss": None if writer is None else writer.losses.last,
        }

    def unready_reason(self) -> str | None:
        """Why the gateway is not ready: what must be audited cannot be, or never will by a gateway of this version."""
        if self._writer is None or self._writer.failure is None or not (self.holds or self._writer.is_outdated):
            return None
        return f"the audit cannot be written: {self._writer.failure}"

    def samples(self) -> Iterator[Sample]:
        """What is measured of it."""
        writer = self._writer
        if writer is None:
            return
        for result in ("stored", "dropped", "failed"):
            yield Sample(names.AUDIT_ENTRIES, writer.results[result], (result,))
        yield Sample(names.AUDIT_QUEUED, writer.queued)
        yield Sample(names.AUDIT_LAG, writer.lag_seconds())
        yield Sample(names.AUDIT_FAILING, writer.failure is not None)
        yield Sample(names.AUDIT_LOSSES, writer.losses.count)
        if self._bytes_waiting is not None:
            yield Sample(names.AUDIT_SPOOL, self._bytes_waiting())


class AuditGate:
    """Holds back the last byte of every answer until its entry is durable, where the mode asks for that."""

    def __init__(self, app: ASGIApp, auditing: Audit) -> None:
        self._app = app
        self._auditing = auditing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, self._held(scope, send) if self._auditing.holds else send)

    def _held(self, scope: Scope, send: Send) -> Send:
        async def held(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if is_last and not await self._auditing.write_end(exchange_of(scope)):
                scope["extensions"][CUT]()
                return
            await send(message)

        return held


class CapturedRequest(KeptContent):
    """What was asked alone: the answer passes unheard."""

    def wrap_feed(self, feed: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        return feed

    def answer(self, body: bytes, part: str = "message") -> None:
        pass


def _unavailable() -> AuditUnavailable:
    return AuditUnavailable("The audit cannot be written now, and no call is sent without it; try again later.")


def _collector(environment: Mapping[str, str]) -> Collector:
    """The SDK is imported here, and only where entries go there."""
    from ai_gateway.telemetry.audit_export import AuditExport

    export = AuditExport(environment)
    return Collector(export, export.close)


def print_line(line: bytes) -> None:
    """Writes a line to standard output, and waits for it."""
    sys.stdout.write(line.decode())
    sys.stdout.flush()
