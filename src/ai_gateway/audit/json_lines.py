"""Entries as lines of JSON, to a file or to standard output, for a collector; the gateway cannot read them back.

A line is an entry with its hash: `{"entry": {...}, "hash": "..."}`. Checkpoints are lines, too.

A file that was moved is made anew, and one that was cut is written on: programs that rotate logs do both, and the
parts together have the chain. A file that was deleted is lost.
"""

import logging
import os
import select
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from ai_gateway.audit.chain import Checkpoint, canonical
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.store import StoreLost, StoreUnavailable, WriteOnlyStore

log = logging.getLogger("ai_gateway.audit")

WAIT_SECONDS: Final = 5.0  # for the reader of standard output; then the audit cannot be written
_encode = msgspec.json.Encoder().encode


class JsonLinesStore(WriteOnlyStore):
    """Appends to the file at `path`, made anew where it was moved away, or to standard output for None.

    `is_synced`: each write is on the disk.
    """

    def __init__(self, path: Path | None, is_synced: bool) -> None:
        self._path = path
        self._is_synced = is_synced
        self._file: int | None = None
        self._is_stream = path is None
        self._size = 0  # of the file, when it was last written to
        self._is_torn = False  # standard output has a part of a line
        self._is_missed = False

    def open(self) -> None:
        """Makes the file, readable by its owner alone."""
        if self._is_missed:
            raise StoreLost(f"{self._path} was deleted while it was used")
        self.close()
        try:
            if self._path is None:
                self._file = os.dup(sys.__stdout__.fileno()) if sys.__stdout__ is not None else None
            else:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
                self._is_stream = not stat.S_ISREG(os.fstat(self._file).st_mode)  # a FIFO, a device
                if not self._is_stream:
                    _end_last_line(self._file)
                self._size = os.fstat(self._file).st_size
        except OSError as error:
            raise StoreUnavailable(str(error)) from error

    def check(self) -> None:
        """Moves on where the file was moved, so that a rotation that removes it soon is not taken for a loss."""
        if self._was_moved():
            self.open()

    def begin_anew(self) -> None:
        """A new file."""
        self.close()
        self._is_missed = False

    def write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """One write for all."""
        pairs = zip(entries, hashes, strict=True)
        self._append(b"".join(_line(canonical(entry), digest) for entry, digest in pairs))

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """A line of its own."""
        self._append(b'{"checkpoint":' + _encode(checkpoint) + b"}\n")

    def close(self) -> None:
        """Closes the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _append(self, lines: bytes) -> None:
        """All of it or nothing: what is left of a line after a failure would break the next one."""
        if self._was_moved():
            self.open()
        if self._file is None:
            raise StoreUnavailable("the audit's file is not open")
        if self._is_stream:
            self._say(lines)
            return
        size = os.fstat(self._file).st_size
        if size < self._size:
            log.warning("%s was cut while it was used; a program that rotates logs should rename it", self._path)
        try:
            _write_all(self._file, lines)
            if self._is_synced:
                os.fdatasync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, size)
            raise StoreUnavailable(str(error)) from error
        self._size = size + len(lines)
        self._was_moved()  # by now: lines in a file that was deleted are not stored

    def _say(self, lines: bytes) -> None:
        """To standard output or a FIFO, which may be full, and may be set not to wait."""
        assert self._file is not None
        message = b"\n" + lines if self._is_torn else lines
        left = message
        try:
            while left:
                if not select.select((), (self._file,), (), WAIT_SECONDS)[1]:
                    raise StoreUnavailable(f"{self._path or 'standard output'} takes nothing more")
                with suppress(BlockingIOError):
                    left = left[os.write(self._file, left[: select.PIPE_BUF]) :]
        except OSError as error:
            raise StoreUnavailable(str(error)) from error
        finally:
            self._is_torn = len(left) not in (0, len(message)) or (self._is_torn and len(left) == len(message))

    def _was_moved(self) -> bool:
        """As programs do that rotate logs. Raises StoreLost where it is nowhere any more."""
        if self._path is None or self._file is None:
            return False
        held = os.fstat(self._file)
        if not held.st_nlink:
            self._is_missed = True
            raise StoreLost(f"{self._path} was deleted while it was used")
        try:
            return not os.path.samestat(held, self._path.stat())
        except OSError:
            return True


def _write_all(file: int, lines: bytes) -> None:
    left = memoryview(lines)
    while left:
        left = left[os.write(file, left) :]


def _end_last_line(file: int) -> None:
    """A gateway that was killed may have left half a line."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        os.write(file, b"\n")


def _line(entry: bytes, digest: bytes) -> bytes:
    return b'{"entry":%b,"hash":"%b"}\n' % (entry, digest.hex().encode())
