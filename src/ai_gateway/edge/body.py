"""Reads a request body once, within its limits."""

from ai_gateway.edge.asgi import Receive, Scope, header
from ai_gateway.edge.media_type import check_media_type
from ai_gateway.edge.watch import ClientLeft
from ai_gateway.errors import BodyTooLarge, BuffersFull


class Buffers:
    """How many bytes of request bodies the gateway holds. Changed by each reading request, which gives back."""

    def __init__(self) -> None:
        self.held_bytes = 0


class Reading:
    """One body, counted in `buffers` while it is held: `release` when nobody can need it again."""

    __slots__ = ("_buffers", "_held", "_limit")

    def __init__(self, buffers: Buffers, limit: int) -> None:
        self._buffers = buffers
        self._limit = limit
        self._held = 0

    async def read(self, scope: Scope, receive: Receive, max_bytes: int) -> bytes:
        """The whole body. Raises UnsupportedMediaType, BodyTooLarge, BuffersFull or ClientLeft."""
        check_media_type(scope)
        announced = header(scope, b"content-length")
        if announced is not None and int(announced) > max_bytes:
            raise _too_large(max_bytes)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            self._hold(len(chunk))
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _hold(self, size: int) -> None:
        if self._buffers.held_bytes + size > self._limit:
            raise BuffersFull("The gateway holds as many request bytes as it may; try again in a moment.")
        self._held += size
        self._buffers.held_bytes += size

    def release(self) -> None:
        """Gives back what is held; may be called again."""
        self._buffers.held_bytes -= self._held
        self._held = 0


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes (body.max_bytes).")
