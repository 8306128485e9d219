"""What can go wrong between the gateway and one endpoint. Foreign errors become these here and nowhere else."""


class UpstreamFault(Exception):
    """A call to one endpoint failed; the text is for the log."""


class ConnectFault(UpstreamFault):
    """No connection could be made: refused, unreachable, timed out, or TLS failed. Nothing was sent."""

    def __init__(self, story: str, is_refused: bool = False) -> None:
        super().__init__(story)
        self.is_refused = is_refused


class ResetFault(UpstreamFault):
    """The connection ended before the head of an answer came."""


class BrokenFault(UpstreamFault):
    """The connection ended inside the body, or what came is no HTTP."""
