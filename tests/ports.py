"""Ports that a test may have for itself, also while nobody listens there."""

import fcntl
import os
import random
import socket
import tempfile
from collections import deque
from contextlib import suppress
from functools import cache
from io import FileIO
from pathlib import Path

# Each process of tests takes a part of the ports for as long as it lives, and draws none again before it has drawn all:
# a port that is drawn and not listened on, or not yet, is nobody else's.
_PART = 400
_PARTS = 25
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Part:
    """The ports that this process alone draws from; changes with every draw. The lock on its file says so to others."""

    def __init__(self) -> None:
        self._lock, number = _claimed()
        self._first = _first() + number * _PART
        ports = list(range(self._first, self._first + _PART))
        random.Random().shuffle(ports)  # Hypothesis watches the random numbers that are common to all
        self._waiting = deque(ports)

    def draw(self, count: int) -> int:
        """The port that was drawn longest ago of those that nobody listens on, nor on as many after it."""
        for _ in range(_PART):
            port = self._waiting.popleft()
            self._waiting.append(port)
            if port + count <= self._first + _PART and all(map(_is_free, range(port, port + count))):
                return port
        raise AssertionError("no port is free")


def free_port(count: int = 1) -> int:
    """A port of 127.0.0.1 that nobody listens on, nor any other test will; the first of `count` such ones in a row."""
    return _own().draw(count)


@cache
def _own() -> Part:
    return Part()


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def _claimed() -> tuple[FileIO, int]:
    folder = Path(tempfile.gettempdir()) / f"ai-gateway-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for number in range(_PARTS):
        lock = FileIO(folder / str(number), "a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return lock, number
    raise AssertionError(f"{_PARTS} processes of tests run already: no ports are left")


def _first() -> int:
    """Not among those that Linux gives to whoever asks for any, and below the NodePorts of Kubernetes if possible."""
    lowest, highest = map(int, _RANGE.read_text().split()) if _RANGE.exists() else (49_152, 65_535)
    firsts = (20_000, 10_000, 55_000)
    return next((first for first in firsts if first + _PARTS * _PART <= lowest or first > highest), firsts[0])
