"""A bounded queue of entries on disk, for the time in which a store is away.

A record is its length and CRC-32 (4 bytes each, big-endian), the entry's hash (32 bytes) and its canonical JSON.
Records stand in segments, files that are removed when all of them has been taken. What has been taken from a segment
that is still there is taken again after a restart: whoever takes must know what it has already.
"""

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ai_gateway.audit.chain import canonical
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.store import StoreLost, StoreUnavailable

log = logging.getLogger("ai_gateway.audit")

SEGMENT_BYTES: Final = 4 << 20
_HEAD: Final = struct.Struct(">II")
_HASH_BYTES: Final = 32
_decode: Final = msgspec.json.Decoder(AuditEntry).decode


class SpoolFull(StoreUnavailable):
    """It holds as much as it may."""


class Taken(NamedTuple):
    """The next entries with their hashes, and the place behind them."""

    entries: list[AuditEntry]
    hashes: list[bytes]
    end: int


class Spool:
    """The segments in `folder`, `max_bytes` together. For one thread of one process: a lock keeps others away."""

    def __init__(self, folder: Path, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._sizes: dict[int, int] = {}  # of the segments by their numbers, oldest first
        self._taken = 0  # bytes of the oldest one
        self._lock: int | None = None
        self._last: int | None = None  # the newest segment, open for writing
        self._is_unreadable = False  # and has been said to be

    @property
    def is_empty(self) -> bool:
        """Whether everything has been taken."""
        return not self._sizes

    @property
    def is_open(self) -> bool:
        """Whether entries can be put in."""
        return self._lock is not None

    @property
    def bytes_held(self) -> int:
        """What is still to be taken."""
        return sum(self._sizes.values()) - self._taken

    def check(self) -> None:
        """Whether what waits is there. Raises StoreLost."""
        if self._lock is not None:
            reason = self._missing()
            if reason is not None:
                raise StoreLost(reason)

    def begin_anew(self) -> None:
        """Goes on with what is there."""
        self.close()

    def open(self) -> None:
        """Finds what an earlier process left. Raises StoreUnavailable, StoreLost as `look`."""
        self.check()
        self.close()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            numbers = sorted(int(file.stem) for file in self._folder.glob("*.spool") if file.stem.isdecimal())
            self._sizes = {number: self._path(number).stat().st_size for number in numbers}
        except BlockingIOError:
            self.close()
            raise StoreUnavailable(f"another gateway uses the spool in {self._folder}") from None
        except OSError as error:
            self.close()
            raise StoreUnavailable(f"the spool in {self._folder}: {error.strerror}") from error
        for number in [number for number, size in self._sizes.items() if not size]:
            self._remove(number)

    def append(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes], may_exceed: bool = False) -> None:
        """Puts entries at the end, all or none; they are on the disk on return. Raises SpoolFull, StoreUnavailable."""
        records = b"".join(map(_record, entries, hashes))
        if self.bytes_held + len(records) > self._max_bytes and not may_exceed:
            raise SpoolFull("the spool is full")
        try:
            self._put(records)
        except OSError as error:
            self._close_last()
            raise StoreUnavailable(f"the spool in {self._folder}: {error.strerror}") from error
        self.check()

    def peek(self, most: int) -> Taken:
        """The next entries, of one segment; none where there are no more. `take` ends them. Raises StoreUnavailable."""
        while self._sizes:
            number = next(iter(self._sizes))
            found = _read(self._content(number), most)
            if found.entries:
                return Taken(found.entries, found.hashes, self._taken + found.end)
            left = self._sizes[number] - self._taken
            log.error("%d bytes of the spool are left out: a record in it is damaged, or was written by half", left)
            self._remove(number)
        return Taken([], [], 0)

    def take(self, taken: Taken) -> None:
        """They are in good hands."""
        number = next(iter(self._sizes))
        self._taken = taken.end
        if self._taken >= self._sizes[number]:
            self._remove(number)

    def close(self) -> None:
        """What it holds stays."""
        self._close_last()
        self._sizes, self._taken = {}, 0
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _missing(self) -> str | None:
        """What became of the folder, its lock or a segment; None where all of it is there."""
        assert self._lock is not None
        lock = self._folder / "lock"
        try:
            there, held = os.stat(lock), os.fstat(self._lock)
            if (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino):
                return f"the spool in {self._folder} was replaced while it was used"
            for number, size in self._sizes.items():
                if os.stat(self._path(number)).st_size < size:
                    return f"the spool in {self._folder} was cut while it was used"
            if self._last is not None and self._sizes and not os.fstat(self._last).st_nlink:
                return f"a file of the spool in {self._folder} was replaced while it was used"
        except (FileNotFoundError, NotADirectoryError):
            return f"the spool in {self._folder}, or a file of it, was deleted or moved while it was used"
        except OSError as error:
            raise StoreUnavailable(f"the spool in {self._folder}: {error.strerror}") from error
        return None

    def _content(self, number: int) -> bytes:
        """What is still to be taken of a segment."""
        try:
            with self._path(number).open("rb") as file:
                file.seek(self._taken)
                content = file.read(self._sizes[number] - self._taken)
        except OSError as error:
            if not self._is_unreadable:
                log.error("the spool in %s cannot be read, entries wait in it: %s", self._folder, error.strerror)
            self._is_unreadable = True
            raise StoreUnavailable(f"the spool in {self._folder}: {error.strerror}") from error
        self._is_unreadable = False
        return content

    def _put(self, records: bytes) -> None:
        if self._lock is None:
            raise StoreUnavailable("the spool is not open")
        number = next(reversed(self._sizes), None)
        if self._last is None or number is None or self._sizes[number] >= self._segment_bytes:
            self._close_last()
            number = 1 if number is None else number + 1
            self._last = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        size = self._sizes.get(number, 0)
        try:
            _write_all(self._last, records)
            os.fdatasync(self._last)
        except OSError:
            with suppress(OSError):  # what was half written must not stand between whole ones
                os.ftruncate(self._last, size)
            raise
        self._sizes[number] = size + len(records)

    def _remove(self, number: int) -> None:
        if number == next(reversed(self._sizes)):
            self._close_last()
        with suppress(OSError):
            self._path(number).unlink()
        del self._sizes[number]
        self._taken = 0

    def _close_last(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            with suppress(OSError):  # all of it is on the disk already
                os.close(last)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012}.spool"


def _record(entry: AuditEntry, digest: bytes) -> bytes:
    content = digest + canonical(entry)
    return _HEAD.pack(len(content), zlib.crc32(content)) + content


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _read(content: bytes, most: int) -> Taken:
    """Whole records up to the first that is not. An entry that a newer gateway put in may have no meaning here."""
    entries: list[AuditEntry] = []
    hashes: list[bytes] = []
    end = 0
    while len(entries) < most:
        found = _record_at(content, end)
        if found is None:
            break
        end += _HEAD.size + len(found)
        try:
            entries.append(_decode(found[_HASH_BYTES:]))
        except msgspec.MsgspecError as error:
            log.error("an entry of the spool cannot be read, and is left out: %s", error)
            continue
        hashes.append(found[:_HASH_BYTES])
    return Taken(entries, hashes, end)


def _record_at(content: bytes, start: int) -> bytes | None:
    body = start + _HEAD.size
    if body > len(content):
        return None
    length, checksum = _HEAD.unpack_from(content, start)
    found = content[body : body + length]
    is_whole = length > _HASH_BYTES and len(found) == length and zlib.crc32(found) == checksum
    return found if is_whole else None
