"""Follows a file that others write: it reads the file once it is complete, as far as a reader can tell.

- The first check takes the content at once, if the file did not change during the read.
- It takes a replaced file at once: another file has its name, or a link on its path now leads elsewhere, as in a
  mounted ConfigMap or Secret. If the file may have been created in place, and not moved there, it must stay the same
  for SETTLE_SECONDS.
- It takes a file that was written in place, or created again, once it has been the same for REST_SECONDS. An editor
  that truncates and writes, or writes slowly, shows half a file meanwhile.

It measures time on its own monotonic clock. Neither a clock that jumps nor the times of a file can let half a file in,
or keep a file out.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ai_gateway.config.reading import Stamp, Unreadable, read, stamp_of

CHECK_SECONDS: Final = 0.5  # works on every file system, also on mounts that lose change events
CLOSE_CHECK_SECONDS: Final = 0.25  # while a change is about to be taken
SETTLE_SECONDS: Final = 0.2  # shorter than the time between two close checks, so that the second one is enough
REST_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 5.0  # for a file that is replaced again and again
TRIES: Final = 5  # of the first check, if the file changes during it
PAUSE_SECONDS: Final = 0.02


class WatchedFile:
    """A file, or the file `inside` a folder. Only `check` and `expect_change` change it; a thread may call them.

    `clock` gives monotonic seconds.
    """

    def __init__(
        self, path: Path, max_bytes: int, inside: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._named = path
        self._max_bytes = max_bytes
        self._inside = inside
        self._clock = clock
        self._was_checked = False
        self._taken: Stamp | None = None
        self._taken_at = 0.0
        self._real_path = ""  # of the file that was taken
        self._was_gone = False  # the file was missing since it was taken, or always
        self._is_final = False  # nobody wrote more within the tick of its stamp
        self._seen: Stamp | None = None  # a new state, and since when it is there
        self._seen_at = 0.0
        self._changing_since: float | None = None  # since when the file differs from the one that was taken

    @property
    def path(self) -> Path:
        """The path of the file now; a folder may be mounted late."""
        if self._inside is None:
            return self._named
        try:
            return self._named / self._inside if self._named.is_dir() else self._named
        except OSError:
            return self._named

    @property
    def pause_seconds(self) -> float:
        """Time until the next check."""
        return CHECK_SECONDS if self._changing_since is None else CLOSE_CHECK_SECONDS

    @property
    def changing_seconds(self) -> float:
        """How long the file has differed from the one that was taken."""
        return 0.0 if self._changing_since is None else self._clock() - self._changing_since

    def expect_change(self) -> None:
        """The next check reads the file again, even if it is the same."""
        self._is_final, self._taken_at = False, self._clock() - REST_SECONDS

    def check(self) -> bytes | None:
        """The content if it is new, or read once more to be sure; else None. Raises Unreadable."""
        path = self.path
        try:
            content = self._first(path) if not self._was_checked else self._next(path)
        except Unreadable:
            self._forget()
            raise
        finally:
            self._was_checked = True
        return content

    def _first(self, path: Path) -> bytes | None:
        stamp_of(path)
        for _ in range(TRIES):
            content = self._take(path)
            if content is not None:
                return content
            time.sleep(PAUSE_SECONDS)
        self._note_change(stamp_of(path))
        return None

    def _next(self, path: Path) -> bytes | None:
        stamp = stamp_of(path)
        if stamp == self._taken:
            self._changing_since = self._seen = None
            # Two writes within one tick of the file system's clock leave one state: so it reads the file once more.
            is_due = not self._is_final and self._clock() - self._taken_at >= REST_SECONDS
            return self._take(path) if is_due else None
        if stamp != self._seen:
            self._note_change(stamp)
        return self._take(path) if self._is_due(path, stamp) else None

    def _is_due(self, path: Path, stamp: Stamp) -> bool:
        rested = self._clock() - self._seen_at
        if rested >= REST_SECONDS:
            return True
        if self._taken is not None and os.path.realpath(path) != self._real_path:
            return True
        if self._was_gone:  # created again, perhaps at this moment
            return stamp.was_moved
        if self._taken is not None and stamp.identity == self._taken.identity:
            return False
        return stamp.was_moved or rested >= SETTLE_SECONDS or self.changing_seconds >= PATIENCE_SECONDS

    def _note_change(self, stamp: Stamp) -> None:
        self._seen, self._seen_at = stamp, self._clock()
        if self._changing_since is None:
            self._changing_since = self._seen_at

    def _take(self, path: Path) -> bytes | None:
        place = os.path.realpath(path)
        found = read(path, self._max_bytes)
        if found.stamp is None:
            return None  # it changed during the read; the next check sees more
        self._is_final = found.stamp == self._taken
        self._taken, self._taken_at, self._real_path = found.stamp, self._clock(), place
        self._changing_since = self._seen = None
        self._was_gone = False
        return found.data

    def _forget(self) -> None:
        """Any file that appears is new, except the one that was taken."""
        self._changing_since = self._seen = None
        self._was_gone = True
        if self._taken is not None:
            self.expect_change()
