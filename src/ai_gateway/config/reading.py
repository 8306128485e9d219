"""Reads a file that a config names, or the config itself: whole, up to a size, and only regular files.

A FIFO or a device would make the gateway wait or read for ever. Each failure of the system becomes one sentence. Read
files on mounts that may hang in a thread (see `threads`).
"""

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

MOST_SHOWN: Final = 200  # characters of a path in a message

_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unreadable(OSError):
    """The gateway cannot read a file; the text names the path and the reason."""


class Stamp(NamedTuple):
    """The state of a file. Programs can set `written_ns` at will, but not `changed_ns`."""

    device: int
    inode: int
    size: int
    written_ns: int
    changed_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """Which file it is, regardless of its content."""
        return self.device, self.inode

    @property
    def was_moved(self) -> bool:
        """Whether it was renamed, or its rights changed, after the last write: its writer has finished."""
        return self.changed_ns > self.written_ns


class Content(NamedTuple):
    """The bytes that were read, and the state of the file then; None if it changed during the read."""

    data: bytes
    stamp: Stamp | None


def stamp_of(path: Path) -> Stamp:
    """The state of a file now. Raises Unreadable, also for anything but a regular file."""
    try:
        return _stamp(os.stat(path), path)
    except Unreadable:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def read(path: Path, max_bytes: int) -> Content:
    """The content of a file; of a larger one `max_bytes` + 1 bytes. Raises Unreadable."""
    stamp_of(path)  # checked first, because opening a device may have effects
    try:
        # Does not wait: a FIFO may have replaced the file just now.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb") as file:
            before = _stamp(os.fstat(file.fileno()), path)
            data = file.read(max_bytes + 1)
            after = _stamp(os.fstat(file.fileno()), path)
    except Unreadable:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return Content(data, after if before == after else None)


def read_text(path: Path, max_bytes: int = 1 << 16) -> str:
    """The text of a small file such as a password, without surrounding white space.

    Raises Unreadable, also if it is empty, larger than `max_bytes`, or not text.
    """
    data = read(path, max_bytes).data
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise Unreadable(f"{shown(path)} is not UTF-8 text") from None
    if not text or len(data) > max_bytes:
        raise Unreadable(f"{shown(path)} " + ("is empty" if not text else f"is larger than {max_bytes} bytes"))
    return text


def missing(path: str) -> str | None:
    """The reason why the gateway cannot read a file that the config names; None if it can."""
    try:
        _stamp(os.stat(path), Path(path))
        return None if os.access(path, os.R_OK) else f"cannot read {shown(path)}: Permission denied"
    except FileNotFoundError:
        return f"there is no file {shown(path)}"
    except Unreadable as failure:
        return str(failure)
    except (OSError, ValueError) as error:
        return str(_unreadable(path, error))


def shown(path: "Path | str") -> str:
    """A path for messages: shortened, and without characters that a log or terminal cannot write."""
    text = str(path)
    text = text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN // 2]}…{text[-MOST_SHOWN // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _stamp(found: os.stat_result, path: Path) -> Stamp:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "something else")
        raise Unreadable(f"cannot read {shown(path)}: it is {kind}, not a file")
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _unreadable(path: Path | str, error: Exception) -> Unreadable:
    words = error.strerror if isinstance(error, OSError) else "not a valid path"
    return Unreadable(f"cannot read {shown(path)}: {words or type(error).__name__}")
