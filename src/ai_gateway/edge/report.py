"""GET /report on the admin port: what this gateway tells the others about itself, and nobody else."""

from collections.abc import Callable

from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, reply
from ai_gateway.errors import NotAllowed
from ai_gateway.wire.replies import json_headers


class OwnReportPage:
    """Answers gateways alone: the addresses that their Service lists. It believes no header about the client."""

    def __init__(self, body: Callable[[], bytes], has_address: Callable[[str], bool]) -> None:
        self._body = body
        self._has_address = has_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope["client"][0] if scope.get("client") else ""
        if not self._has_address(peer):
            raise NotAllowed("Only the other gateways of the same Service may read /report.")
        body = self._body()
        await reply(exchange_of(scope), send, 200, json_headers(body), b"" if scope["method"] == "HEAD" else body)
