"""Who else has an SQLite store: a lock that all gateways share, and how long each has been silent."""

import fcntl
import os
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ai_gateway.audit.store import SILENT_SECONDS

# Between two looks, which come every 20 s: more, and nobody could be heard meanwhile. The rest of SILENT_SECONDS is
# long enough for a sign of life behind an outage that all of them had.
PAUSE_SECONDS: Final = 45.0
_LOCK: Final = struct.Struct("hhqqi0q")  # struct flock: type, whence, start, length, pid


class WriterLock:
    """A shared lock on the file at `path`; it goes with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def enter(self) -> None:
        """Does nothing where it was entered already: whoever left for a moment would seem dead. Raises OSError."""
        if self._file is None:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 1, 0))
            self._file = file

    def stay(self) -> None:
        """Enters anew where somebody took the file away: whoever comes now would not know of this one."""
        if self._file is None:
            return
        try:
            there, held = os.stat(self._path), os.fstat(self._file)
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino):
            with suppress(OSError):  # with its folder, which the store misses, too
                file = self._file
                self._file = None
                self.enter()
                os.close(file)
                return
            self._file = file

    def is_alone(self) -> bool:
        """Whether no other gateway has entered. Asks only: a lock that is tried would be in the way of others."""
        if self._file is None:
            return False
        wanted = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        found: int = _LOCK.unpack(fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, wanted))[0]
        return found == fcntl.F_UNLCK

    def leave(self) -> None:
        """Gives the lock up."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


class SilenceTracker:
    """How long each writer's sign of life has been the same, on the monotonic clock of whoever looks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._looked = 0.0
        self._heard: dict[str, tuple[int, float]] = {}  # the sign, and when it was first seen

    def too_long(self, signs: Iterable[tuple[str, int]]) -> set[str]:
        """The writers of these signs that are dead."""
        now = self._clock()
        heard = self._heard if now - self._looked <= PAUSE_SECONDS else {}
        self._looked = now
        self._heard = {
            writer: heard[writer] if writer in heard and heard[writer][0] == sign else (sign, now)
            for writer, sign in signs
        }
        return {writer for writer, (_, since) in self._heard.items() if now - since > SILENT_SECONDS}
