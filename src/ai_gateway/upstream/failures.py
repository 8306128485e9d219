"""Failures between the gateway and one endpoint. Errors of other libraries become these only in this room."""

import errno
from typing import Final

_LOCAL_ERRNOS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)


class UpstreamFailure(Exception):
    """A call to one endpoint failed; the text is the reason, for the log."""


class ConnectFailure(UpstreamFailure):
    """No connection could be made: refused, unreachable, timed out, or TLS failed. Nothing was sent."""

    def __init__(self, reason: str, number: int | None = None) -> None:
        """`number` is the errno, if there is one."""
        super().__init__(reason)
        self.is_refused = number == errno.ECONNREFUSED
        self.is_local = number in _LOCAL_ERRNOS  # the gateway ran out of something: the endpoint may be well


class ResetFailure(UpstreamFailure):
    """The connection ended before the head of an answer came."""


class BrokenFailure(UpstreamFailure):
    """The connection ended inside the body, or the answer is not HTTP."""


class GarbledFailure(BrokenFailure):
    """The answer is not HTTP, or its head or framing is endless."""
