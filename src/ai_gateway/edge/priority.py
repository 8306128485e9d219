"""Whether a call is batch work: by the rule of its caller, or because the call itself says so."""

from typing import Final

from ai_gateway.edge.asgi import Scope, header
from ai_gateway.errors import InvalidRequest
from ai_gateway.exchange import Caller

HEADER: Final = "x-ai-gateway-priority"
_HEADER: Final = HEADER.encode()


def is_batch(scope: Scope, caller: Caller) -> bool:
    """A call may lower its priority and never raise it: everyone would. Raises InvalidRequest for an unknown word."""
    given = header(scope, _HEADER)
    if given not in (None, b"batch", b"interactive"):
        raise InvalidRequest(f"The header {HEADER} is `interactive` or `batch`.", code="invalid_value", param=HEADER)
    return caller.is_batch or given == b"batch"
