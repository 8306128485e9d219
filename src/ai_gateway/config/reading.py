"""Reads a file that a config names, or the config itself: whole, within a size, and never anything but a file.

A FIFO or a device in its place would be waited for or read for ever; whatever the system has against a path is one
sentence. For files on mounts that may hang: in a thread (see `beside`).
"""

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

MOST_SHOWN: Final = 200  # characters of a path, in a sentence for people

_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unreadable(OSError):
    """There is no content to be had; the text says of which path, and why."""


class Stamp(NamedTuple):
    """What tells one state of a file from another. `written_ns` can be set at will, `changed_ns` cannot."""

    device: int
    inode: int
    size: int
    written_ns: int
    changed_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """Which file it is, whatever stands in it."""
        return self.device, self.inode

    @property
    def was_moved(self) -> bool:
        """Whether it got its name after it was written, or its rights: nobody writes into it any more."""
        return self.changed_ns > self.written_ns


class Content(NamedTuple):
    """What was read, and the state of the file then; None for one that changed meanwhile."""

    data: bytes
    stamp: Stamp | None


def stamp_of(path: Path) -> Stamp:
    """The state of a file now. Raises Unreadable, also for what is no file."""
    try:
        return _stamp(os.stat(path), path)
    except Unreadable:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def read(path: Path, max_bytes: int) -> Content:
    """The content of a file, and one byte more than `max_bytes` of a larger one. Raises Unreadable."""
    stamp_of(path)  # opening a device may do something: not before it is known to be a file
    try:
        # Without waiting: a FIFO may have taken the file's place just now.
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
    """The text of a small file such as a password, without the white space around it. Raises Unreadable, also for one
    that is empty, larger, or no text."""
    data = read(path, max_bytes).data
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise Unreadable(f"{shown(path)} holds no text in UTF-8") from None
    if not text or len(data) > max_bytes:
        raise Unreadable(f"{shown(path)} " + ("is empty" if not text else f"is larger than {max_bytes} bytes"))
    return text


def missing(path: str) -> str | None:
    """Why a file that the config names cannot be read; None if it can."""
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
    """A path for people: not longer than is sane, and without what no log or terminal can write."""
    text = str(path)
    text = text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN // 2]}…{text[-MOST_SHOWN // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _stamp(found: os.stat_result, path: Path) -> Stamp:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "something else")
        raise Unreadable(f"cannot read {shown(path)}: it is {kind}, not a file")
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _unreadable(path: Path | str, error: Exception) -> Unreadable:
    words = error.strerror if isinstance(error, OSError) else "that is no path"
    return Unreadable(f"cannot read {shown(path)}: {words or type(error).__name__}")
