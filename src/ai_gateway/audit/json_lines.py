"""Entries as lines of JSON, to a file or to standard output, for whoever collects them; nobody can ask for them here.

A line is an entry with its hash: `{"entry": {...}, "hash": "..."}`. Checkpoints are lines, too.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ai_gateway.audit.chain import Checkpoint, canonical
from ai_gateway.audit.entry import Entry
from ai_gateway.audit.store import StoreUnavailable

_encode = msgspec.json.Encoder().encode


class JsonLinesStore:
    """Appends to the file at `path`, made anew where it was moved away, or to standard output for None.

    `is_synced`: each write is on the disk.
    """

    def __init__(self, path: Path | None, is_synced: bool) -> None:
        self._path = path
        self._is_synced = is_synced
        self._file: int | None = None

    def open(self) -> None:
        """Makes the file, readable by its owner alone."""
        self.close()
        try:
            if self._path is None:
                self._file = os.dup(sys.__stdout__.fileno()) if sys.__stdout__ is not None else None
            else:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
                _end_last_line(self._file)
        except OSError as error:
            raise StoreUnavailable(str(error)) from error

    def write(self, entries: Sequence[Entry], hashes: Sequence[bytes]) -> None:
        """One write for all."""
        pairs = zip(entries, hashes, strict=True)
        self._append(b"".join(_line(canonical(entry), digest) for entry, digest in pairs))

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """A line of its own."""
        self._append(b'{"checkpoint":' + _encode(checkpoint) + b"}\n")

    def heartbeat(self, writer: str) -> None:
        """Nobody could read it."""

    def lost_intents(self, writer: str) -> Sequence[Entry]:
        """There are none: `strict` does not go with this store."""
        return ()

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """Whoever collects the lines removes them."""
        return 0

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
        size = None if self._path is None else os.fstat(self._file).st_size
        try:
            while lines:
                lines = lines[os.write(self._file, lines) :]
            if self._is_synced and size is not None:
                os.fdatasync(self._file)
        except OSError as error:
            if size is not None:
                with suppress(OSError):
                    os.ftruncate(self._file, size)
            raise StoreUnavailable(str(error)) from error

    def _was_moved(self) -> bool:
        """As programs do that rotate logs."""
        if self._path is None or self._file is None:
            return False
        held = os.fstat(self._file)
        try:
            there = self._path.stat()
        except OSError:
            return True
        return (held.st_dev, held.st_ino) != (there.st_dev, there.st_ino)


def _end_last_line(file: int) -> None:
    """A gateway that was killed may have left half a line."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        os.write(file, b"\n")


def _line(entry: bytes, digest: bytes) -> bytes:
    return b'{"entry":%b,"hash":"%b"}\n' % (entry, digest.hex().encode())
