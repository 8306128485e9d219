"""SIGHUP: a terminal that has gone, or, where there is none, the wish that files be read again (`kill -HUP`)."""

import os
import signal
from collections.abc import Callable
from types import FrameType


class Hangup:
    """What SIGHUP means to this process, and whether it came before there was anybody to hear it. Changed by `hear`.

    With a terminal it means the end. Not so where it was ignored from the start (`nohup`): then it is a wish, too.
    """

    def __init__(self, has_terminal: bool) -> None:
        self.is_wish = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or not has_terminal
        self._came_early = False

    def hear(self) -> None:
        """From here on a wish does not end the process; needs the main thread."""
        if self.is_wish:
            signal.signal(signal.SIGHUP, self._note)

    def follow(self, reread: Callable[[], None]) -> None:
        """A wish that came early is fulfilled now."""
        if self._came_early:
            self._came_early = False
            reread()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came_early = True


def has_terminal() -> bool:
    """Whether the process has a controlling terminal, whatever its standard streams lead to."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
