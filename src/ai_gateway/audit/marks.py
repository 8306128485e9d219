"""What a writer says about its chain beside the entries: checkpoints in the store and in their second place, and what
it has found to be gone."""

import logging

from ai_gateway.audit.chain import Checkpoint, CheckpointKind, Link, checkpoint
from ai_gateway.audit.settings import AuditSettings
from ai_gateway.audit.store import Store, StoreLost

log = logging.getLogger("ai_gateway.audit")


class Marks:
    """Made at the end of a chain. Changed by the writer's thread alone."""

    def __init__(self, settings: AuditSettings) -> None:
        self._settings = settings
        self._is_logged = False  # that the second place takes nothing
        self.sequence = 0  # of the newest checkpoint

    def checkpoint(self, store: Store, key: bytes, link: Link) -> None:
        """In both places."""
        made = self._made("checkpoint", key, link)
        store.write_checkpoint(made)
        self.sequence = link.sequence
        self._send(made)

    def gap(self, store: Store, key: bytes, link: Link) -> None:
        """What comes next follows on entries that are gone."""
        made = self._made("lost", key, link)
        store.write_checkpoint(made)
        self._send(made)

    def elsewhere(self, key: bytes, link: Link) -> None:
        """In the second place alone: the store is not there to take it."""
        self._send(self._made("checkpoint", key, link))

    def _made(self, kind: CheckpointKind, key: bytes, link: Link) -> Checkpoint:
        return checkpoint(key, kind, (self._settings.writer, link.sequence, link.last_hash), self._settings.clock())

    def _send(self, made: Checkpoint) -> None:
        if self._settings.sink is None:
            return
        try:
            self._settings.sink(made)
            self._is_logged = False
        except Exception as error:  # a closed stream is a ValueError
            if not self._is_logged:
                log.error("checkpoints of the audit cannot be written to their second place: %s", error)
            self._is_logged = True


class Losses:
    """What was stored and is not there. `count` and the `last` reason are for metrics and health."""

    def __init__(self) -> None:
        self.count = 0
        self.last: str | None = None
        self.has_gap = False  # the next write must begin with a record of it
        self._is_missed = False

    def note(self, error: StoreLost, sequence: int, may_begin: bool) -> bool:
        """Whether it is a new one."""
        if self._is_missed:
            return False
        self._is_missed = True
        self.count += 1
        self.last = f"{error}; the newest entry that this gateway had stored there has the number {sequence}"
        then = "a new one begins, and says so" if may_begin else "no call is sent until it is back, or a new start"
        log.error("the audit has lost what was stored: %s; %s", self.last, then)
        return True

    def is_back(self) -> None:
        """It is there again, or a new one is."""
        self._is_missed = False
