"""The config in force. It checks new content as a whole, then swaps it in; it shows refused content, but never uses it.

A thread evaluates the content and prepares what is made of it. The event loop only puts the result in force, in short
steps. Contents take their turns in the order of their submission.
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

from ai_gateway.config.files import FileSnapshot
from ai_gateway.config.loading import ConfigError, parse_whole
from ai_gateway.config.protection import missing_protection, missing_sections
from ai_gateway.config.reason import ConfigReason, failure_reason
from ai_gateway.config.threads import run_in_thread
from ai_gateway.config.types import Config, restart_required
from ai_gateway.failure_log import FailureLog

log = logging.getLogger("ai_gateway.config")

FIRST_SECONDS: Final = 5.0  # startup waits this long for a source, such as an API server or a mount
EVALUATION_SECONDS: Final = 60.0  # startup waits this long for the evaluation of content that has come
CHECK_SECONDS: Final = 0.01
OWN_FAILURE: Final = "config: unexpected failure of the gateway itself, please report it"
MOST_REMEMBERED: Final = 1000  # refused contents, so that the log has each one once


def _unprepared(config: Config) -> Any:
    return config


def _stay() -> None:
    """The default restart: none."""


class Startup(NamedTuple):
    """What the command decides about the config.

    Content without the sections in `required` is refused. Flags override the keys in `flag_keys`, so that a change of
    those needs no restart. `restart` is called for a first config that comes after the start and needs another one.
    """

    required: Collection[str] = ()
    flag_keys: Collection[str] = ()
    restart: Callable[[], None] = _stay


_PLAIN: Final = Startup()


class _Evaluated(NamedTuple):
    """One content: its config with what `prepare` made of it, or the reasons to refuse it."""

    digest: str
    config: Config | None
    made: Any
    reasons: list[ConfigReason]
    snapshot: FileSnapshot = FileSnapshot()  # of the files that may be the cause


class ConfigState:
    """The last good config, and the reasons to refuse newer content.

    Only `submit`, `config_missing` and `fail` change it. `config` is None until a valid one comes. For each new good
    config it calls `prepare` in a thread, then `apply` in the loop with the result. `apply` yields between its steps,
    so that other tasks can run. `source` tells people where the content comes from.
    """

    def __init__(
        self,
        source: str,
        apply: Callable[[Any], Iterable[None] | None],
        prepare: Callable[[Config], Any] = _unprepared,
        startup: Startup = _PLAIN,
    ) -> None:
        self.source = source
        self._apply = apply
        self._prepare = prepare
        self._startup = startup
        self._snapshot = FileSnapshot()
        self._lock = asyncio.Lock()
        self._failures = FailureLog(log)
        self._content: bytes | None = None
        self._refused: set[str] = set()  # digests of contents that are in the log already
        self._started: Config | None = None
        self._has_started = False
        self.has_outcome = False  # there is content, or certainly none
        self.config: Config | None = None
        self.reasons: list[ConfigReason] = []
        self.refused_digest: str | None = None  # of the content that `reasons` are about
        self.digest: str | None = None  # beginning of the SHA-256 of the content in force
        self.loaded_at: float | None = None  # Unix seconds
        self.unseen_reason: str | None = None  # why it cannot see newer content; the follower of the source sets it
        self.total_refused = 0  # contents without a valid config

    @property
    def restart_required(self) -> list[str]:
        """Keys that have changed since startup and need a restart."""
        if self._started is None or self.config is None:
            return []
        return [key for key in restart_required(self._started, self.config) if key not in self._startup.flag_keys]

    def mark_started(self) -> None:
        """The gateway starts with the config in force, if any. A first config that comes later may need a restart."""
        self._started = self.config or Config()
        self._has_started = True

    async def wait_for_outcome(self) -> None:
        """Returns once it is known whether there is a config, or after FIRST_SECONDS.

        Content that has come is evaluated first.
        """
        began = time.monotonic()
        while not self.has_outcome:
            patience = EVALUATION_SECONDS if self._lock.locked() else FIRST_SECONDS
            if time.monotonic() - began > patience:
                return
            await asyncio.sleep(CHECK_SECONDS)

    async def submit(self, content: bytes) -> list[ConfigReason]:
        """Applies content if it is new and valid; returns the reasons to refuse it."""
        async with self._lock:
            if content != self._content or await self._files_changed():
                evaluated = await run_in_thread(partial(self._evaluate, content), "config")
                is_new, self._content, self._snapshot = content != self._content, content, evaluated.snapshot
                await self._put_in_force(evaluated, is_new)
            self.has_outcome = True
            return self.reasons

    async def check_again(self) -> None:
        """Evaluates refused content again if a file that it names changed. Each check of a source calls it."""
        if self._content is not None and await self._files_changed():
            await self.submit(self._content)

    async def _files_changed(self) -> bool:
        return bool(self._snapshot.files) and await run_in_thread(lambda: self._snapshot.has_changed, "config")

    def forget(self) -> None:
        """The next content counts as new, even if it is the same: files that it names may have changed."""
        self._content = None

    def config_missing(self, reason: str, is_passing: bool = False) -> None:
        """There is no content now, for this reason; a passing one may soon be over."""
        self.has_outcome = self.has_outcome or not is_passing
        self._content = None
        reasons = [ConfigReason("", reason)]
        if reasons != self.reasons:
            self._refuse(reasons, "")

    def fail(self, failure: Exception) -> None:
        """An unexpected failure of the gateway: it becomes a reason, and the log has its traceback once."""
        self._failures.note(failure, OWN_FAILURE)
        self.config_missing(failure_reason(failure))

    def _evaluate(self, content: bytes) -> _Evaluated:
        """Runs in a thread."""
        digest = digest_of(content)
        try:
            config = self._checked(content)
            made = self._prepare(config)
            gc.collect(0)  # thousands of new objects: otherwise the collector scans them during the loop's steps
            return _Evaluated(digest, config, made, [])
        except ConfigError as error:
            return _Evaluated(digest, None, None, error.reasons, error.snapshot)
        except Exception as failure:  # it must neither end the gateway nor go unnoticed
            self._failures.note(failure, OWN_FAILURE)
            return _Evaluated(digest, None, None, [ConfigReason("", failure_reason(failure))])

    def _checked(self, content: bytes) -> Config:
        """Raises ConfigError, also for sections that must not be left out."""
        new = parse_whole(content)
        missing = list(missing_sections(self._startup.required, new))
        missing += missing_protection(self.config, new) if self.config is not None else ()
        if missing:
            raise ConfigError(missing)
        return new.config

    async def _put_in_force(self, evaluated: _Evaluated, is_new: bool) -> None:
        config, digest, reasons = evaluated.config, evaluated.digest, evaluated.reasons
        if config is not None:
            try:
                for _ in self._apply(evaluated.made) or ():
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
        self.reasons, self.refused_digest = reasons, digest or None
        digest = digest and digest_of(f"{digest} {reasons}".encode())
        if digest and digest in self._refused:
            return  # the same mistake again: the log has it already
        if len(self._refused) >= MOST_REMEMBERED:
            self._refused.clear()
        self._refused.add(digest)
        kept = "the last good one stays in force" if self.config else "the gateway serves no models until you fix it"
        for reason in reasons:
            log.error("config refused, %s: %s", kept, reason)

    def _accept(self, config: Config, digest: str) -> None:
        self.reasons, self.refused_digest = [], None
        self._started = self._started or msgspec.structs.replace(config, models={})  # models need no restart
        is_first = self.config is None
        self.config = config
        self.digest = digest
        self.loaded_at = time.time()
        log.info("config %s: %d models, %s", "loaded" if is_first else "reloaded", len(config.models), self.digest)
        for path in self.restart_required:
            log.warning("config: %s has changed; restart the gateway to apply it", path)
        if is_first and self._has_started and self.restart_required:
            log.warning("config: the first config came after startup and needs a restart; the gateway exits for it")
            self._startup.restart()


def digest_of(content: bytes) -> str:
    """The name of a content in logs, health and Events: the beginning of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]
