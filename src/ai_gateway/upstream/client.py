"""The HTTP/1.1 client to Ollama: a small pool of connections per endpoint, and no queue of its own.

How many calls an endpoint gets at a time is decided by the leases; a connection is always to be had here.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final

from ai_gateway.upstream.connection import Connection, Head, Tap
from ai_gateway.upstream.faults import BrokenFault, ConnectFault
from ai_gateway.wire.address import Address

MAX_IDLE_PER_ENDPOINT: Final = 64
MAX_IDLE_SECONDS: Final = 60.0


class Request:
    """A request to one endpoint. The body, in pieces, may be let go of once an answer has begun."""

    __slots__ = ("body", "extra", "method", "path")

    def __init__(self, method: str, path: str, body: bytes | Sequence[bytes] = b"", extra: bytes = b"") -> None:
        self.method = method
        self.path = path
        self.body: Sequence[bytes] = (body,) if isinstance(body, bytes) else body
        self.extra = extra  # header lines, each with its CRLF

    def head(self, address: Address) -> bytes:
        """The request's head. Never compressed answers: what is relayed must be readable."""
        lines = f"{self.method} {address.prefix}{self.path} HTTP/1.1\r\nhost: {address.authority}\r\n"
        size = sum(map(len, self.body))
        if size or self.method in ("POST", "PUT"):
            lines += f"content-type: application/json\r\ncontent-length: {size}\r\n"
        return lines.encode() + b"accept-encoding: identity\r\nuser-agent: ai-gateway-ollama\r\n" + self.extra + b"\r\n"


class Client:
    """Connections to every endpoint, the idle ones kept per address. Changed by exchanges that take and give."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle: dict[Address, list[Connection]] = {}
        self._tls: dict[tuple[str | None, int], ssl.SSLContext] = {}  # by CA file and when it was written

    def exchange(self, address: Address, request: Request, connect_seconds: float) -> "UpstreamExchange":
        """`async with client.exchange(...) as answer:` sends, and gives `answer.head` and `answer.read()`."""
        return UpstreamExchange(self, address, request, connect_seconds)

    async def connect(self, address: Address, seconds: float) -> Connection:
        """A new connection. Raises ConnectFault."""
        make: Callable[[], Connection] = lambda: Connection(self._loop)  # noqa: E731 - create_connection wants one
        try:
            context = self._tls_for(address) if address.scheme == "https" else None
            async with asyncio.timeout(seconds):
                _, connection = await self._loop.create_connection(make, address.host, address.port, ssl=context)
        except TimeoutError:
            raise ConnectFault(f"no connection to {address.authority} within {seconds:g} s") from None
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be encoded
            number = error.errno if isinstance(error, OSError) else None
            raise ConnectFault(f"cannot connect to {address.authority}: {error}", number) from None
        return connection

    async def accepts(self, address: Address, seconds: float) -> bool:
        """Whether the endpoint takes a connection now."""
        try:
            connection = await self.connect(address, seconds)
        except ConnectFault:
            return False
        connection.close()
        return True

    def take_idle(self, address: Address) -> Connection | None:
        """The connection used last, unless it was closed or idle for too long meanwhile."""
        idle = self._idle.get(address.origin)
        oldest = self._loop.time() - MAX_IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if connection.is_open and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    def give(self, address: Address, connection: Connection) -> None:
        """Takes a connection back when its exchange is over, whatever state it is in."""
        if not connection.finish():
            return
        idle = self._idle.setdefault(address.origin, [])
        if len(idle) < MAX_IDLE_PER_ENDPOINT:
            idle.append(connection)
        else:
            connection.close()

    def forget(self, address: Address) -> None:
        """Closes the idle connections to an endpoint that is gone."""
        for connection in self._idle.pop(address.origin, ()):
            connection.close()

    def close(self) -> None:
        """Closes every idle connection."""
        for address in list(self._idle):
            self.forget(address)

    def _tls_for(self, address: Address) -> ssl.SSLContext:
        """The context for a CA file as it is now: one that is rotated is read again."""
        version = os.stat(address.ca_file).st_mtime_ns if address.ca_file else 0
        key = address.ca_file, version
        context = self._tls.get(key)
        if context is None:
            self._tls = {known: kept for known, kept in self._tls.items() if known[0] != address.ca_file}
            context = self._tls[key] = ssl.create_default_context(cafile=address.ca_file)
        return context


class UpstreamExchange:
    """One request and its answer. Leaving the block gives the connection back, or drops it if the answer is not over.

    Entering raises ConnectFault, or ResetFault where the connection ends before a head came; `was_reused` then
    says whether that was a kept connection, which the endpoint may have closed before it saw the request.
    """

    __slots__ = ("_address", "_client", "_connect_seconds", "_connection", "_request", "head", "was_reused")

    head: Head

    def __init__(self, client: Client, address: Address, request: Request, connect_seconds: float) -> None:
        self._client = client
        self._address = address
        self._request = request
        self._connect_seconds = connect_seconds
        self._connection: Connection | None = None
        self.was_reused = False

    async def __aenter__(self) -> "UpstreamExchange":
        connection = self._client.take_idle(self._address)
        self.was_reused = connection is not None
        if connection is None:
            connection = await self._client.connect(self._address, self._connect_seconds)
        self._connection = connection
        try:
            connection.send(self._request.head(self._address), self._request.body)
            self.head = await connection.head()
        except BaseException:
            connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._client.give(self._address, self._connection)

    @property
    def received_at(self) -> float:
        """When the endpoint last sent something, in the loop's seconds."""
        return self._connection.received_at if self._connection is not None else 0.0

    def tap(self, tap: Tap) -> None:
        """See Connection.tap."""
        assert self._connection is not None
        self._connection.tap(tap)

    async def read(self) -> bytes:
        """What waits of the body; b"" at its end. Raises BrokenFault if it is cut."""
        assert self._connection is not None
        return await self._connection.read()

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises BrokenFault if it is cut or larger than `limit` bytes."""
        chunks, size = [], 0
        while data := await self.read():
            chunks.append(data)
            size += len(data)
            if size > limit:
                raise BrokenFault(f"an answer of more than {limit} bytes")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
