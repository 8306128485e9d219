"""SIGHUP: the terminal is gone or, without a terminal, a request to reload files (`kill -HUP`)."""

import os
import signal
from collections.abc import Callable
from types import FrameType


class Hangup:
    """What SIGHUP means to this process, and whether one is pending. Changed by signals and `follow`.

    With a terminal it ends the process. If it was ignored from the start (`nohup`), it is a reload, too.
    """

    def __init__(self, has_terminal: bool) -> None:
        self.is_reload = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or not has_terminal
        self._is_pending = False

    def watch(self) -> None:
        """From now on a reload does not end the process. Call it in the main thread."""
        if self.is_reload:
            signal.signal(signal.SIGHUP, self._note)

    def follow(self, reread: Callable[[], None]) -> None:
        """Reloads now if a reload is pending."""
        if self._is_pending:
            self._is_pending = False
            reread()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._is_pending = True


def has_terminal() -> bool:
    """Whether the process has a controlling terminal, even if its standard streams are redirected."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
