"""The config in force: new content is checked whole, then swapped in; what is wrong is kept and shown, never used."""

import hashlib
import logging
import time
from collections.abc import Callable

from ai_gateway.config.complaint import Complaint
from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.types import Config, restart_required

log = logging.getLogger("ai_gateway.config")


class Live:
    """The last good config and the last complaints. Changed by `offer` and `lack` alone.

    `config` is None until a valid one came. `apply` is called with each new good config. `source` says where the
    content comes from, for people.
    """

    def __init__(self, source: str, apply: Callable[[Config], None]) -> None:
        self.source = source
        self._apply = apply
        self._content: bytes | None = None
        self._refused: set[str] = set()  # digests of what was logged already
        self._started: Config | None = None
        self._restart: Callable[[], None] | None = None
        self._decided: frozenset[str] = frozenset()
        self.is_settled = False  # there is content, or it is known that there is none
        self.config: Config | None = None
        self.complaints: list[Complaint] = []
        self.digest: str | None = None  # sha256 of the content in force, shortened
        self.loaded_at: float | None = None  # Unix seconds
        self.trouble: str | None = None  # why newer content could not be seen; set by whoever follows the source
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

    def offer(self, content: bytes) -> list[Complaint]:
        """Applies content if it is new and valid; returns what is wrong with it otherwise."""
        self.is_settled = True
        if content == self._content:
            return self.complaints
        self._content = content
        digest = digest_of(content)
        try:
            config = parse(content)
        except ConfigError as error:
            self.total_refused += 1
            self._refuse(error.complaints, digest)
        else:
            self._accept(config, digest)
        return self.complaints

    def lack(self, complaint: str, is_passing: bool = False) -> None:
        """There is no content now, for a reason; one that passes may be gone in a moment."""
        self.is_settled = self.is_settled or not is_passing
        self._content = None
        complaints = [Complaint("", complaint)]
        if complaints != self.complaints:
            self._refuse(complaints, "")

    def _refuse(self, complaints: list[Complaint], digest: str) -> None:
        self.complaints = complaints
        if digest and digest in self._refused:
            return  # the same mistake made again, or seen again: once in the log is enough
        self._refused.add(digest)
        kept = "the last good one stays in force" if self.config else "nothing is served until it is mended"
        for complaint in complaints:
            log.error("config refused, %s: %s", kept, complaint)

    def _accept(self, config: Config, digest: str) -> None:
        self.complaints = []
        self._started = self._started or config
        is_first = self.config is None
        self.config = config
        self.digest = digest
        self.loaded_at = time.time()
        self._apply(config)
        log.info("config %s: %d models, %s", "loaded" if is_first else "reloaded", len(config.models), self.digest)
        for path in self.restart_required:
            log.warning("config: the change of %s takes effect with a restart", path)
        if is_first and self._restart is not None and self.restart_required:
            log.warning("config: the first one came after the start: leaving, to be started anew with it")
            self._restart()


def digest_of(content: bytes) -> str:
    """What names a content in logs, health and Events: the beginning of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]
