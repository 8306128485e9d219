"""SIGTERM and SIGINT, before anybody who serves hears them.

For the first process of a container the kernel drops a signal that has no handler: a container that was told to leave
while it starts would run until it is killed. So this is the first that the command imports, and it imports little.
"""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Final

SERVERS: Final = ("serve", "simulate")
HEARD: Final = (signal.SIGTERM, signal.SIGINT)


def heed(words: Sequence[str]) -> None:
    """From here on the command with these words ends at once when it is asked to; needs the main thread.

    A server that has served nothing yet has done what it was asked for: status 0. Whatever else runs ends as a shell
    expects, with 128 and the number of the signal.
    """
    is_server = bool(words) and words[0] in SERVERS
    if is_server or os.getpid() == 1:
        for number in HEARD:
            _hear(number, partial(_end, 0 if is_server else 128 + number))
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no trace of where it happened to be
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)  # whoever started it may have held them back until now


def _hear(number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
    if number != signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # a shell's way to run beside it
        signal.signal(number, handler)


def _end(status: int, number: int, frame: FrameType | None) -> None:
    """Without cleaning up: it may be in the middle of anything, and has promised nothing yet."""
    os._exit(status)
