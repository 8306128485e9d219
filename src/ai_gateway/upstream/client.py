"""The HTTP/1.1 client to Ollama: a small pool of connections per endpoint, and no queue of its own.

Leases decide how many calls an endpoint gets at a time; the client opens a connection whenever it needs one.
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from ai_gateway.config.pem import client_context
from ai_gateway.config.reading import stamp_of
from ai_gateway.config.threads import run_in_thread
from ai_gateway.upstream.connection import Connection, Head, Tap
from ai_gateway.upstream.failures import BrokenFailure, ConnectFailure, ResetFailure
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.upstream")

MAX_IDLE_PER_ENDPOINT: Final = 64
MAX_IDLE_SECONDS: Final = 60.0
DISTRUST_SECONDS: Final = 60.0  # after unsolicited data: for so long each connection is used once

_PLAIN: Final = (b"", b"identity")


class Request(msgspec.Struct, eq=False):
    """A request to one endpoint. The body is in pieces; they may be dropped once an answer has begun."""

    method: str
    path: str
    body: Sequence[bytes] = ()
    extra: bytes = b""  # header lines, each with its CRLF

    def head(self, address: Address) -> bytes:
        """The request's head. It allows no compressed answers, since the gateway reads what it relays."""
        lines = f"{self.method} {address.prefix}{self.path} HTTP/1.1\r\nhost: {address.authority}\r\n"
        size = sum(map(len, self.body))
        if size or self.method in ("POST", "PUT"):
            lines += f"content-type: application/json\r\ncontent-length: {size}\r\n"
        return lines.encode() + b"accept-encoding: identity\r\nuser-agent: ai-gateway-ollama\r\n" + self.extra + b"\r\n"


class Client:
    """Connections to every endpoint. Changed by exchanges, which take and return them.

    Idle ones are kept per origin, and only while `keep` was called for an endpoint there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle: dict[Address, list[Connection]] = {}
        self._kept: Counter[Address] = Counter()  # how many endpoints an origin has
        self._distrusted: dict[Address, float] = {}  # until when it gets a new connection for each exchange
        self._tls: dict[str | None, tuple[int, ssl.SSLContext]] = {}  # by CA file, with the file's time

    def exchange(self, address: Address, request: Request, connect_seconds: float) -> "UpstreamExchange":
        """`async with client.exchange(...) as answer:` sends the request; read `answer.head` and `answer.read()`."""
        return UpstreamExchange(self, address, request, connect_seconds)

    async def connect(self, address: Address, seconds: float) -> Connection:
        """A new connection. Raises ConnectFailure."""
        make = partial(Connection, self._loop, partial(self._distrust, address.origin))
        try:
            async with asyncio.timeout(seconds):
                context = await self._tls_for(address) if address.scheme == "https" else None
                _, connection = await self._loop.create_connection(make, address.host, address.port, ssl=context)
        except TimeoutError:
            raise ConnectFailure(f"no connection to {address.authority} within {seconds:g} s") from None
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be encoded, no CA in the file
            number = error.errno if isinstance(error, OSError) else None
            raise ConnectFailure(f"cannot connect to {address.authority}: {error}", number) from None
        return connection

    async def accepts(self, address: Address, seconds: float) -> bool:
        """Whether the endpoint accepts a connection now."""
        try:
            connection = await self.connect(address, seconds)
        except ConnectFailure:
            return False
        connection.close()
        return True

    def take_idle(self, origin: Address) -> Connection | None:
        """The connection used last, unless it was closed, was idle for too long, or brought unsolicited data."""
        idle = self._idle.get(origin)
        oldest = self._loop.time() - MAX_IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if connection.idle_since >= oldest:
                peeked = connection.peek()
                if peeked == "nothing":
                    return connection
                if peeked == "bytes":
                    self._distrust(origin)
            connection.close()
        return None

    def give(self, origin: Address, connection: Connection) -> None:
        """Returns a connection after its exchange, in whatever state it is."""
        if not connection.finish():
            return
        if origin not in self._kept or (self._distrusted and self._is_distrusted(origin)):
            connection.close()
            return
        idle = self._idle.setdefault(origin, [])
        if len(idle) < MAX_IDLE_PER_ENDPOINT:
            idle.append(connection)
        else:
            connection.close()

    def keep(self, address: Address) -> None:
        """Adds an endpoint: connections to it are kept between exchanges, until `forget` was called as often."""
        self._kept[address.origin] += 1

    def forget(self, address: Address) -> None:
        """Removes an endpoint: closes its idle connections now, and the others after their exchange."""
        origin = address.origin
        self._kept[origin] -= 1
        if self._kept[origin] <= 0:
            del self._kept[origin]
            self._close_idle(origin)

    def _close_idle(self, origin: Address) -> None:
        for connection in self._idle.pop(origin, ()):
            connection.close()

    def _distrust(self, origin: Address) -> None:
        """Notes that an endpoint sent unsolicited data. The next time it may come just after the check."""
        if not self._is_distrusted(origin):
            log.warning("%s sent data without a request: using each of its connections only once for now", origin)
        self._distrusted[origin] = self._loop.time() + DISTRUST_SECONDS
        self._close_idle(origin)

    def _is_distrusted(self, origin: Address) -> bool:
        until = self._distrusted.get(origin)
        if until is not None and until <= self._loop.time():
            del self._distrusted[origin]
            until = None
        return until is not None

    def close(self) -> None:
        """Closes every idle connection now, and the others after their exchange."""
        self._kept.clear()
        for origin in list(self._idle):
            self._close_idle(origin)

    async def _tls_for(self, address: Address) -> ssl.SSLContext:
        """The context for a CA file; a thread reads the file again after a rotation.

        Raises OSError or ValueError.
        """
        last = self._tls.get(address.ca_file)
        try:
            version = stamp_of(Path(address.ca_file)).written_ns if address.ca_file else 0
            if last is None or last[0] != version:
                last = version, await run_in_thread(partial(client_context, address.ca_file), "certificates")
                self._tls[address.ca_file] = last
        except (OSError, ValueError):  # truncated, half written or missing: keep the last context
            if last is None:
                raise
        return last[1]


class UpstreamExchange:
    """One request and its answer. Leaving the block returns the connection, or drops it if the answer is not over.

    Entering raises ConnectFailure, or ResetFailure if the connection ends before a head or the head is unusable.
    `was_reused` then says whether it was a kept connection: the endpoint may have closed it before it saw the request.
    """

    __slots__ = ("_address", "_client", "_connect_seconds", "_connection", "_origin", "_request", "head", "was_reused")

    head: Head

    def __init__(self, client: Client, address: Address, request: Request, connect_seconds: float) -> None:
        self._client = client
        self._address = address
        self._origin = address.origin if address.prefix else address
        self._request = request
        self._connect_seconds = connect_seconds
        self._connection: Connection | None = None
        self.was_reused = False

    async def __aenter__(self) -> "UpstreamExchange":
        connection = self._client.take_idle(self._origin)
        self.was_reused = connection is not None
        if connection is None:
            connection = await self._client.connect(self._address, self._connect_seconds)
        self._connection = connection
        try:
            connection.send(self._request.head(self._address), self._request.body)
            self.head = await connection.head()
            for name, value in self.head.headers:
                if name == b"content-encoding" and value.lower() not in _PLAIN:  # it may be huge in memory
                    raise ResetFailure(f"the answer is compressed ({value[:40]!r}), but the request allows no coding")
        except BaseException:
            connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._client.give(self._origin, self._connection)

    @property
    def received_at(self) -> float:
        """When the endpoint last sent data, in the loop's seconds."""
        return self._connection.received_at if self._connection is not None else 0.0

    def tap(self, tap: Tap) -> None:
        """See Connection.tap."""
        assert self._connection is not None
        self._connection.tap(tap)

    async def read(self) -> bytes:
        """The next bytes of the body; b"" at its end. Raises BrokenFailure if it is cut."""
        assert self._connection is not None
        return await self._connection.read()

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises BrokenFailure if it is cut or larger than `limit` bytes."""
        chunks, size = [], 0
        while data := await self.read():
            chunks.append(data)
            size += len(data)
            if size > limit:
                raise BrokenFailure(f"an answer of more than {limit} bytes")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
