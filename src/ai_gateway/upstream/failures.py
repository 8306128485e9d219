"""What can go wrong between the gateway and one endpoint. Foreign errors become these here and nowhere else."""

import errno
from typing import Final

_OURS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)


class UpstreamFailure(Exception):
    """A call to one endpoint failed; the text is for the log."""


class ConnectFailure(UpstreamFailure):
    """No connection could be made: refused, unreachable, timed out, or TLS failed. Nothing was sent."""

    def __init__(self, reason: str, number: int | None = None) -> None:
        """`number` is the errno, where there is one."""
        super().__init__(reason)
        self.is_refused = number == errno.ECONNREFUSED
        self.is_ours = number in _OURS  # the gateway ran out of something: the endpoint may be well


class ResetFailure(UpstreamFailure):
    """The connection ended before the head of an answer came."""


class BrokenFailure(UpstreamFailure):
    """The connection ended inside the body, or what came is no HTTP."""


class GarbledFailure(BrokenFailure):
    """What came is no HTTP, or has bytes without end where there are few."""
