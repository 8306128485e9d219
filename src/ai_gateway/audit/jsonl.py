"""Entries as lines of JSON, in a file or on standard output, for whoever collects them. Nobody can ask it anything."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ai_gateway.audit.chain import Checkpoint, canonical
from ai_gateway.audit.entry import Entry
from ai_gateway.audit.store import Page, Query, StoreUnavailable, StoreUnreadable

STDOUT = 1


class JsonLinesStore:
    """The file at `path`, made anew where it was moved away; None is standard output.

    A line is an entry with its hash, or a checkpoint under the key `checkpoint`. `is_synced`: each write is on the
    disk, not only with the system.
    """

    def __init__(self, path: Path | None, is_synced: bool) -> None:
        self._path = path
        self._is_synced = is_synced
        self._descriptor: int | None = None
        self._is_torn = False  # the last line has no end

    def open(self) -> None:
        """Makes the file where it is missing, readable by its owner alone."""
        self.close()
        if self._path is None:
            self._descriptor = STDOUT
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._is_torn = _is_torn(self._descriptor)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error.strerror}") from error

    def write(self, entries: Sequence[Entry], hashes: Sequence[bytes]) -> None:
        """All lines or none, as far as a file allows that; a pipe may have got some of them."""
        self._put([_line(entry, digest) for entry, digest in zip(entries, hashes, strict=True)])

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """A line."""
        self._put([b'{"checkpoint":' + canonical(checkpoint) + b"}"])

    def heartbeat(self, writer: str) -> None:
        """Nobody could read it."""

    def lost_intents(self, writer: str) -> Sequence[Entry]:
        """None: nobody knows which are open."""
        return ()

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """Lines belong to whoever collects them, and so does their end."""
        return 0

    def close(self) -> None:
        """Standard output stays open."""
        if self._descriptor is not None and self._descriptor != STDOUT:
            os.close(self._descriptor)
        self._descriptor = None

    def _put(self, lines: Sequence[bytes]) -> None:
        if self._was_moved():
            self.open()
        if self._descriptor is None:
            raise StoreUnavailable("the audit's file is not open")
        content = b"\n".join([*lines, b""])
        try:
            _write_all(self._descriptor, b"\n" + content if self._is_torn else content)
            self._is_torn = False
            if self._is_synced and self._path is not None:
                os.fdatasync(self._descriptor)
        except OSError as error:
            self._is_torn = _is_torn(self._descriptor)
            raise StoreUnavailable(f"{self._path or 'standard output'}: {error.strerror}") from error

    def _was_moved(self) -> bool:
        if self._path is None or self._descriptor is None:
            return False
        held = os.fstat(self._descriptor)
        try:
            there = self._path.stat()
        except OSError:
            return True
        return (held.st_dev, held.st_ino) != (there.st_dev, there.st_ino)


class Unreadable:
    """The reading side of a store that only writes; `place` says where its entries are."""

    def __init__(self, place: str) -> None:
        self._place = place

    def open(self) -> None:
        """There is nothing to open."""

    def page(self, query: Query) -> Page:
        """Raises StoreUnreadable, as all here."""
        raise self._refusal()

    def usage_of_day(self, day: str) -> Mapping[tuple[str, str | None, str], int]:
        """None is known: budgets of a day begin anew with each start."""
        return {}

    def chain(self) -> Iterator[tuple[Entry, bytes]]:
        """Raises StoreUnreadable."""
        raise self._refusal()

    def checkpoints(self) -> Sequence[Checkpoint]:
        """Raises StoreUnreadable."""
        raise self._refusal()

    def close(self) -> None:
        """There is nothing to close."""

    def _refusal(self) -> StoreUnreadable:
        return StoreUnreadable(f"the audit is written to {self._place} and cannot be read here")


def _line(entry: Entry, digest: bytes) -> bytes:
    return canonical(entry)[:-1] + b',"hash":"%s"}' % digest.hex().encode()


def _is_torn(descriptor: int) -> bool:
    """Whether the last line has no end; of what cannot be read nobody knows."""
    try:
        size = os.fstat(descriptor).st_size
        return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    except OSError:
        return True


def _write_all(descriptor: int, content: bytes) -> None:
    """Takes back what it has written of it where it cannot write all."""
    view, written = memoryview(content), 0
    try:
        while view:
            count = os.write(descriptor, view)
            view, written = view[count:], written + count
    except OSError:
        with suppress(OSError):
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and written:
                os.ftruncate(descriptor, found.st_size - written)
        raise
