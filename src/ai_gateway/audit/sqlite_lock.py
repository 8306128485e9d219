"""Which other gateways have an SQLite store: a lock that all of them share, and how long each has been silent."""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ai_gateway.audit.store import SILENT_SECONDS

# Between two checks, which come every 20 s: more, and no writer could be heard meanwhile. The rest of SILENT_SECONDS is
# long enough for a sign of life behind an outage that all of them had.
PAUSE_SECONDS: Final = 45.0


class WriterLock:
    """A shared lock on the file at `path`; it goes with the process, however it ends. Needs flock(2) and no more.

    To test for others, a gateway asks for the lock alone, and for a moment has none. A second file, which is locked
    meanwhile and by gateways that enter, keeps others from testing in that moment.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._testing = path.with_name(f"{path.name}-test")
        self._file: int | None = None

    def enter(self) -> None:
        """Does nothing where it was entered already: a gateway that left for a moment would seem dead. Raises
        OSError."""
        if self._file is None:
            with self._no_test():
                file = _open(self._path)
                try:
                    fcntl.flock(file, fcntl.LOCK_SH)
                except OSError:  # such as on a file system without locks
                    os.close(file)
                    raise
            self._file = file

    def stay(self) -> None:
        """Enters anew where the file was taken away: a gateway that comes now would not know of this one."""
        if self._file is None:
            return
        try:
            is_there = os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except OSError:
            is_there = False
        if not is_there:
            file, self._file = self._file, None
            with suppress(OSError):  # with its folder, which the store misses, too
                self.enter()
                os.close(file)
                return
            self._file = file

    def is_alone(self) -> bool:
        """Whether no other gateway has entered."""
        if self._file is None:
            return False
        with self._no_test():
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            finally:
                fcntl.flock(self._file, fcntl.LOCK_SH)  # no other process has it alone now
        return True

    def leave(self) -> None:
        """Gives the lock up."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    @contextmanager
    def _no_test(self) -> Iterator[None]:
        """Within the block no other gateway tests or enters."""
        file = _open(self._testing)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


class SilenceTracker:
    """How long each writer's sign of life has been the same, on the monotonic clock of the gateway that checks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._checked_at = 0.0
        self._heard: dict[str, tuple[int, float]] = {}  # the sign, and when it was first seen

    def too_long(self, signs: Iterable[tuple[str, int]]) -> set[str]:
        """The writers of these signs that are dead."""
        now = self._clock()
        heard = self._heard if now - self._checked_at <= PAUSE_SECONDS else {}
        self._checked_at = now
        self._heard = {
            writer: heard[writer] if writer in heard and heard[writer][0] == sign else (sign, now)
            for writer, sign in signs
        }
        return {writer for writer, (_, since) in self._heard.items() if now - since > SILENT_SECONDS}


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
