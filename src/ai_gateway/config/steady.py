"""A file that is followed while its writers write: it is taken when it is whole, as far as a reader can tell.

- The first look of all takes what there is: one reading between two equal states.
- A file that was exchanged is taken at once: another file behind its name, or behind a link on the way to it, as in a
  ConfigMap or Secret that is mounted. Where it may have been made in its place, and not moved there, it must be the
  same for SETTLE_SECONDS.
- A file that is written in its place, or made anew, is taken when it has been the same for REST_SECONDS: an editor
  that truncates and writes, or writes slowly, shows what is half there.

Time is this process's own: no clock that jumps, and no time that a file has, can let half a file in or keep one out.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ai_gateway.config.reading import Stamp, Unreadable, read, stamp_of

LOOK_SECONDS: Final = 0.5  # works on every file system, and over a mount whose notices do not all arrive
CLOSE_LOOK_SECONDS: Final = 0.25  # while something is about to be taken
SETTLE_SECONDS: Final = 0.2  # shorter than between two close looks, so that the second one is enough
REST_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 5.0  # with a file that is exchanged again and again
TRIES: Final = 5  # of the first look, at a file that changes under it
PAUSE_SECONDS: Final = 0.02


class Steady:
    """A file, or the file `inside` a folder. Changed by `look` alone, which may be called in a thread.

    `clock` gives monotonic seconds.
    """

    def __init__(
        self, path: Path, max_bytes: int, inside: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._named = path
        self._max_bytes = max_bytes
        self._inside = inside
        self._clock = clock
        self._has_looked = False
        self._taken: Stamp | None = None
        self._taken_at = 0.0
        self._place = ""  # where the name led to, through all links
        self._was_gone = False  # since it was taken, or ever
        self._is_sure = False  # what was taken is all that was written at the moment of its stamp
        self._seen: Stamp | None = None  # a state that is new, and since when it is there
        self._seen_at = 0.0
        self._restless_at: float | None = None  # since when there is something new

    @property
    def path(self) -> Path:
        """Where it is now; a folder may be mounted late."""
        if self._inside is None:
            return self._named
        try:
            return self._named / self._inside if self._named.is_dir() else self._named
        except OSError:
            return self._named

    @property
    def pause_seconds(self) -> float:
        """Until the next look."""
        return LOOK_SECONDS if self._restless_at is None else CLOSE_LOOK_SECONDS

    @property
    def restless_seconds(self) -> float:
        """For how long there has been something new that could not be taken."""
        return 0.0 if self._restless_at is None else self._clock() - self._restless_at

    def expect_change(self) -> None:
        """With the next look the file that was taken is read once more."""
        self._is_sure, self._taken_at = False, self._clock() - REST_SECONDS

    def check(self) -> bytes | None:
        """The content, if there is one to be taken: new, or to be sure of the last. Raises Unreadable."""
        path = self.path
        try:
            content = self._first(path) if not self._has_looked else self._next(path)
        except Unreadable:
            self._forget()
            raise
        finally:
            self._has_looked = True
        return content

    def _first(self, path: Path) -> bytes | None:
        stamp_of(path)
        for _ in range(TRIES):
            content = self._take(path)
            if content is not None:
                return content
            time.sleep(PAUSE_SECONDS)
        self._notice(stamp_of(path))
        return None

    def _next(self, path: Path) -> bytes | None:
        stamp = stamp_of(path)
        if stamp == self._taken:
            self._restless_at = self._seen = None
            # Two changes within one tick of the file system's clock look like one: it is read once more.
            is_due = not self._is_sure and self._clock() - self._taken_at >= REST_SECONDS
            return self._take(path) if is_due else None
        if stamp != self._seen:
            self._notice(stamp)
        return self._take(path) if self._is_due(path, stamp) else None

    def _is_due(self, path: Path, stamp: Stamp) -> bool:
        rested = self._clock() - self._seen_at
        if rested >= REST_SECONDS:
            return True
        if self._taken is not None and os.path.realpath(path) != self._place:
            return True
        if self._was_gone:  # made anew, perhaps this very moment
            return stamp.was_moved
        if self._taken is not None and stamp.identity == self._taken.identity:
            return False
        return stamp.was_moved or rested >= SETTLE_SECONDS or self.restless_seconds >= PATIENCE_SECONDS

    def _notice(self, stamp: Stamp) -> None:
        self._seen, self._seen_at = stamp, self._clock()
        if self._restless_at is None:
            self._restless_at = self._seen_at

    def _take(self, path: Path) -> bytes | None:
        place = os.path.realpath(path)
        found = read(path, self._max_bytes)
        if found.stamp is None:
            return None  # it changed meanwhile; the next look sees how
        self._is_sure = found.stamp == self._taken
        self._taken, self._taken_at, self._place = found.stamp, self._clock(), place
        self._restless_at = self._seen = None
        self._was_gone = False
        return found.data

    def _forget(self) -> None:
        """Whatever comes back is new, but for the file that was taken."""
        self._restless_at = self._seen = None
        self._was_gone = True
        if self._taken is not None:
            self.expect_change()
