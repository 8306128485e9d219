"""SIGTERM and SIGINT before the server handles them.

The kernel drops a signal without a handler for the first process of a container. Such a container would ignore a
stop during its start and run until it is killed. So the command imports this module first, and it imports little.
"""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Final

SERVERS: Final = ("serve", "simulate")
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def end_on_signals(arguments: Sequence[str]) -> None:
    """From now on a signal ends the command with these arguments at once. Call it in the main thread.

    A server that has served nothing yet exits with status 0. Other commands exit as shells expect, with 128 and the
    number of the signal.
    """
    is_server = bool(arguments) and arguments[0] in SERVERS
    if is_server or os.getpid() == 1:
        for number in SIGNALS:
            _hear(number, partial(_end, 0 if is_server else 128 + number))
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the parent process may have blocked them


def _hear(number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
    if number != signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # ignored for background jobs
        signal.signal(number, handler)


def _end(status: int, number: int, frame: FrameType | None) -> None:
    """Exits without clean-up: nothing has been served yet."""
    os._exit(status)
