"""The second place of checkpoints: standard output, or a file that `audit verify` reads."""

import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.wire.printable import printable_json
from ai_gateway.wire.timestamp import timestamp

log = logging.getLogger("ai_gateway.audit")

Say = Callable[[bytes], None]


def second_place(place: str, say: Say) -> Callable[[Checkpoint], None] | None:
    """Takes each checkpoint as a line; `say` writes one to standard output. None where there is no such place."""
    if place == "none":
        return None
    if place == "stdout":
        return lambda made: say(_line(made))
    return CheckpointFile(Path(place))


class CheckpointFile:
    """Appends to a file. One that was moved is made anew, as programs do that rotate logs; if it was deleted, replaced
    or cut, the log says so: what was written there is in the store alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: int | None = None  # open as long as it is there, so that its deletion shows
        self._size = 0

    def __call__(self, made: Checkpoint) -> None:
        """Raises OSError."""
        if self._held is not None:
            self._check(self._held)
        if self._held is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO is not waited for
            self._held = os.open(self._path, flags, 0o600)
        line = _line(made)
        written = os.write(self._held, line)
        if written < len(line):
            raise OSError(f"{self._path} took a part of a line")
        os.fdatasync(self._held) if stat.S_ISREG(os.fstat(self._held).st_mode) else None
        self._size = os.fstat(self._held).st_size

    def _check(self, held: int) -> None:
        found = os.fstat(held)
        try:
            is_here = os.path.samestat(found, self._path.stat())
        except OSError:
            is_here = False
        if not found.st_nlink:
            log.error("the audit's checkpoints in %s were deleted; those before now are in the store alone", self._path)
        elif is_here and found.st_size < self._size:
            log.error("the audit's checkpoints in %s were cut; those before now are in the store alone", self._path)
        if not is_here:
            os.close(held)
            self._held = None


def _line(made: Checkpoint) -> bytes:
    fields = {"time": timestamp(made.at_ns), "log": "audit", "audit_checkpoint": msgspec.to_builtins(made)}
    return printable_json(json.dumps(fields).encode()) + b"\n"
