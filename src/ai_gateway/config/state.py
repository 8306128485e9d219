"""The config in force: new content is checked whole, then swapped in; what is wrong is kept and shown, never used.

Content is understood in a thread, and what is made of it as well; the event loop only puts it in force, in steps that
are short. One content after the other, in the order in which they were offered.
"""

import asyncio
import gc
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from ai_gateway.config.beside import beside
from ai_gateway.config.files import Awaited
from ai_gateway.config.loading import ConfigError, parse_whole
from ai_gateway.config.protection import missing_protection, missing_sections
from ai_gateway.config.reason import ConfigReason, failure_reason
from ai_gateway.config.types import Config, restart_required
from ai_gateway.failure_log import FailureLog

log = logging.getLogger("ai_gateway.config")

FIRST_SECONDS: Final = 5.0  # that the start waits for a source, such as an API server or a mount
UNDERSTANDING_SECONDS: Final = 60.0  # for a content that has come, and is about to be understood
LOOK_SECONDS: Final = 0.01
OWN_FAILURE: Final = "config: the gateway itself failed"
MOST_REMEMBERED: Final = 1000  # contents that were refused, so that each is in the log once


def _as_it_is(config: Config) -> Any:
    return config


class _Understood(NamedTuple):
    """A content: its config with what was made of it, or what is wrong with it."""

    digest: str
    config: Config | None
    made: Any
    reasons: list[ConfigReason]
    awaited: Awaited = Awaited()  # files that it was refused for


class ConfigState:
    """The last good config and the last complaints. Changed by `offer`, `lack` and `fail` alone.

    `config` is None until a valid one came. With each new good config `prepare` is called in a thread, then `apply` in
    the loop with what that returned; what `apply` yields are its steps, between which others may go on. `source` says
    where the content comes from, for people. Content without the sections `required` is refused.
    """

    def __init__(
        self,
        source: str,
        apply: Callable[[Any], Iterable[None] | None],
        prepare: Callable[[Config], Any] = _as_it_is,
        required: Collection[str] = (),
    ) -> None:
        self.source = source
        self._apply = apply
        self._prepare = prepare
        self._required = required
        self._awaited = Awaited()
        self._turn = asyncio.Lock()
        self._failures = FailureLog(log)
        self._content: bytes | None = None
        self._refused: set[str] = set()  # digests of what was logged already
        self._started: Config | None = None
        self._restart: Callable[[], None] | None = None
        self._decided: frozenset[str] = frozenset()
        self.is_settled = False  # there is content, or it is known that there is none
        self.config: Config | None = None
        self.reasons: list[ConfigReason] = []
        self.digest: str | None = None  # sha256 of the content in force, shortened
        self.loaded_at: float | None = None  # Unix seconds
        self.unseen_reason: str | None = None  # why newer content could not be seen; set by whoever follows the source
        self.total_refused = 0  # contents that were no valid config

    @property
    def restart_required(self) -> list[str]:
        """Paths that were changed since the start and wait for a restart."""
        if self._started is None or self.config is None:
            return []
        return [key for key in restart_required(self._started, self.config) if key not in self._decided]

    def bind(self, restart: Callable[[], None], decided: frozenset[str] = frozenset()) -> None:
        """What is in force now was bound and opened; a first config that comes later may need another start.

        `decided` are the keys that flags stand above, so that a change of them is none.
        """
        self._started = self.config or Config()
        self._restart = restart
        self._decided = decided

    async def settled(self) -> None:
        """Returns once it is known whether there is a config, or when the patience with its source is over; what has
        come is understood first."""
        began = time.monotonic()
        while not self.is_settled:
            patience = UNDERSTANDING_SECONDS if self._turn.locked() else FIRST_SECONDS
            if time.monotonic() - began > patience:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def submit(self, content: bytes) -> list[ConfigReason]:
        """Applies content if it is new and valid; returns what is wrong with it otherwise."""
        async with self._turn:
            if content != self._content or await self._is_mended():
                understood = await beside(partial(self._understand, content), "config")
                is_new, self._content, self._awaited = content != self._content, content, understood.awaited
                await self._settle(understood, is_new)
            self.is_settled = True
            return self.reasons

    async def check_again(self) -> None:
        """Checks refused content anew where a file that it names has come or changed; part of each look at a source."""
        if self._content is not None and await self._is_mended():
            await self.submit(self._content)

    async def _is_mended(self) -> bool:
        return bool(self._awaited.files) and await beside(lambda: self._awaited.has_changed, "config")

    def forget(self) -> None:
        """The next content that is offered is looked at, even if it is the same: what it names may have changed."""
        self._content = None

    def config_missing(self, reason: str, is_passing: bool = False) -> None:
        """There is no content now, for a reason; one that passes may be gone in a moment."""
        self.is_settled = self.is_settled or not is_passing
        self._content = None
        reasons = [ConfigReason("", reason)]
        if reasons != self.reasons:
            self._refuse(reasons, "")

    def fail(self, failure: Exception) -> None:
        """Something that should never go wrong has: it is a complaint like others, and in the log once with its
        place."""
        self._failures.note(failure, OWN_FAILURE)
        self.config_missing(failure_reason(failure))

    def _understand(self, content: bytes) -> _Understood:
        """In a thread."""
        digest = digest_of(content)
        try:
            config = self._checked(content)
            made = self._prepare(config)
            gc.collect(0)  # thousands of new objects: else the collector looks at them in the midst of the loop's steps
            return _Understood(digest, config, made, [])
        except ConfigError as error:
            return _Understood(digest, None, None, error.reasons, error.awaited)
        except Exception as failure:  # what is made of a config must not end the gateway, nor go unseen
            self._failures.note(failure, OWN_FAILURE)
            return _Understood(digest, None, None, [ConfigReason("", failure_reason(failure))])

    def _checked(self, content: bytes) -> Config:
        """Raises ConfigError, also for what may not be left out."""
        new = parse_whole(content)
        missing = list(missing_sections(self._required, new))
        missing += missing_protection(self.config, new) if self.config is not None else ()
        if missing:
            raise ConfigError(missing)
        return new.config

    async def _settle(self, understood: _Understood, is_new: bool) -> None:
        config, digest, reasons = understood.config, understood.digest, understood.reasons
        if config is not None:
            try:
                for _ in self._apply(understood.made) or ():
                    await asyncio.sleep(0)
            except Exception as failure:  # as above
                self._failures.note(failure, OWN_FAILURE)
                reasons = [ConfigReason("", failure_reason(failure))]
            else:
                self._accept(config, digest)
                return
        self.total_refused += is_new
        self._refuse(reasons, digest)

    def _refuse(self, reasons: list[ConfigReason], digest: str) -> None:
        self.reasons = reasons
        digest = digest and digest_of(f"{digest} {reasons}".encode())
        if digest and digest in self._refused:
            return  # the same mistake made again, or seen again: once in the log is enough
        if len(self._refused) >= MOST_REMEMBERED:
            self._refused.clear()
        self._refused.add(digest)
        kept = "the last good one stays in force" if self.config else "nothing is served until it is mended"
        for reason in reasons:
            log.error("config refused, %s: %s", kept, reason)

    def _accept(self, config: Config, digest: str) -> None:
        self.reasons = []
        self._started = self._started or msgspec.structs.replace(config, models={})  # which need no restart
        is_first = self.config is None
        self.config = config
        self.digest = digest
        self.loaded_at = time.time()
        log.info("config %s: %d models, %s", "loaded" if is_first else "reloaded", len(config.models), self.digest)
        for path in self.restart_required:
            log.warning("config: the change of %s takes effect with a restart", path)
        if is_first and self._restart is not None and self.restart_required:
            log.warning("config: the first one came after the start: leaving, to be started anew with it")
            self._restart()


def digest_of(content: bytes) -> str:
    """What names a content in logs, health and Events: the beginning of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]
