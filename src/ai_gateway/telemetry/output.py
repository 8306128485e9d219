"""Lines to standard output or error: in UTF-8 for any locale, and without waiting.

A writable pipe takes 4,096 bytes without waiting (POSIX, `write`: PIPE_BUF), a file always takes them. Lines that
cannot be written now are kept, up to MOST_BYTES, and tried again. Lines that do not fit are dropped and counted, and
the next written line says how many are missing.
"""

import asyncio
import errno
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple, Protocol, TextIO

import msgspec

from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.wire.timestamp import timestamp

STANDARD_OUTPUT: Final = 1
MOST_BYTES: Final = 1 << 20  # of waiting lines, about 3,000 of them
AGAIN_SECONDS: Final = 0.05
_TERMINAL_BYTES: Final = 256  # at once; a writable terminal has room for so much
_FULL: Final = (errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOBUFS)

_encode: Final = msgspec.json.Encoder().encode

Later = Callable[[float, Callable[[], None]], object]


class Lines(Protocol):
    """Something that takes whole lines."""

    is_terminal: bool

    def write(self, lines: bytes) -> None:
        """Takes lines, each with its end."""


class Output:
    """A file descriptor, for any thread. `later`, once it is set, calls a function after some seconds."""

    def __init__(self, file: int, name: str, most_bytes: int = MOST_BYTES) -> None:
        self._file = file
        self._name = name
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unwritten = 0  # dropped lines since the last message about them
        self._is_timed = False
        self.dropped = 0
        self.later: Later | None = None
        try:
            self.is_terminal = os.isatty(file)
            if self.is_terminal:
                self._file = _own(file)
            is_regular = stat.S_ISREG(os.fstat(file).st_mode)
        except OSError:  # it is not open
            self.is_terminal = is_regular = False
        self._most_at_once = MOST_BYTES if is_regular else _TERMINAL_BYTES if self.is_terminal else select.PIPE_BUF
        self._poll: select.poll | None = None if is_regular else select.poll()
        if self._poll is not None:
            self._poll.register(self._file, select.POLLOUT)

    def write(self, lines: bytes) -> None:
        """Takes lines, each with its end; writes as much as it can now."""
        with self._lock:
            if self._waiting_bytes + len(lines) > self._most_bytes:
                self._drop(lines)
            else:
                self._put(lines)
            self._pour()

    def samples(self) -> Iterator[Sample]:
        """The dropped lines so far."""
        yield Sample(names.LOG_LINES_DROPPED, self.dropped, (self._name,))

    def flush(self) -> None:
        """Writes as much as it can now."""
        with self._lock:
            self._is_timed = False
            self._pour()

    def close(self, seconds: float) -> None:
        """Waits up to `seconds` until all is written."""
        until = time.monotonic() + seconds
        self.flush()
        while self._waiting and (left := until - time.monotonic()) > 0:
            if self._poll is None:
                time.sleep(min(left, AGAIN_SECONDS))
            else:
                self._poll.poll(left * 1000)
            self.flush()

    def _put(self, lines: bytes) -> None:
        self._waiting.append(lines)
        self._waiting_bytes += len(lines)

    def _drop(self, lines: bytes) -> None:
        count = lines.count(b"\n")
        self.dropped += count
        self._unwritten += count

    def _pour(self) -> None:
        try:
            while self._waiting and self._has_room():
                first = self._waiting[0]
                written = os.write(self._file, first[: self._most_at_once])
                self._waiting_bytes -= written
                if written < len(first):
                    self._waiting[0] = first[written:]
                else:
                    self._waiting.popleft()
                if not self._waiting and self._unwritten:
                    self._write_dropped()
        except OSError as error:
            if error.errno not in _FULL:  # the reader is gone
                while self._waiting:
                    self._drop(self._waiting.popleft())
                self._waiting_bytes = 0
        if self._waiting and self.later is not None and not self._is_timed:
            self._is_timed = True
            self.later(AGAIN_SECONDS, self.flush)

    def _has_room(self) -> bool:
        return self._poll is None or bool(self._poll.poll(0))

    def _write_dropped(self) -> None:
        message = f"{self._unwritten} lines of {self._name} are missing here: the reader was too slow"
        self._unwritten = 0
        line = {"time": timestamp(time.time_ns()), "level": "error", "log": "output", "message": message}
        self._put(message.encode() + b"\n" if self.is_terminal else _encode(line) + b"\n")


def _own(terminal: int) -> int:
    """The same terminal, opened as non-blocking: a blocking one can block even if it is writable.
    Other users of the given descriptor keep it as it is."""
    try:
        return os.open(f"/dev/fd/{terminal}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # it belongs to another user
        return terminal


class Outputs(NamedTuple):
    """Both outputs of a process."""

    out: Output
    error: Output

    def retry_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Makes both outputs retry in the loop, for lines of any thread."""

        def later(seconds: float, again: Callable[[], None]) -> None:
            with suppress(RuntimeError):  # the loop has ended; `close` writes the rest
                loop.call_soon_threadsafe(loop.call_later, seconds, again)

        for output in self:
            output.later = later

    def samples(self) -> Iterator[Sample]:
        """The dropped lines so far."""
        for output in self:
            yield from output.samples()

    def close(self, seconds: float) -> None:
        """Waits up to `seconds`, for each output, until all is written."""
        for output in self:
            output.close(seconds)


class TextLines:
    """A text stream as Lines; it ignores errors of a broken stream."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.is_terminal = out.isatty()

    def write(self, lines: bytes) -> None:
        """Takes lines, each with its end."""
        try:
            self._out.write(lines.decode())
            self._out.flush()
        except (OSError, ValueError):
            return
