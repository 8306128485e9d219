"""Servers written by hand on loopback: each connection plays a script, and what it was sent is remembered."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trustme
from tests.flow.waiting import PATIENCE_SECONDS
from tests.ports import free_port

from ai_gateway.upstream.client import Client
from ai_gateway.upstream.connection import Connection
from ai_gateway.wire.address import Address

Script = Callable[["Line"], Awaitable[None]]


def own_authority(folder: Path) -> tuple[ssl.SSLContext, str]:
    """A certificate of 127.0.0.1 for a server, and the file of the authority that signed it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    path = str(folder / "ca.pem")
    authority.cert_pem.write_to_path(path)
    return context, path


class Line:
    """One accepted connection: requests are read whole, answers are written as given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: list[bytes]) -> None:
        self._reader = reader
        self._writer = writer
        self._seen = seen

    async def request(self) -> bytes:
        """The next request, head and body; b"" when the other side has hung up."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        size = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        request = head + await self._reader.readexactly(size)
        self._seen.append(request)
        return request

    async def say(self, *pieces: bytes) -> None:
        """Writes each piece by itself."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    async def hung_up(self) -> None:
        """Returns when the other side has left."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            return

    def reset(self) -> None:
        """Cuts the line without a word."""
        self._writer.transport.abort()


class Server:
    """Where it listens, what it was asked, and how many connections came."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: list[bytes] = []
        self.connections = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.address = Address("127.0.0.1", 1)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begins the script on a new connection."""
        self.connections += 1
        task = asyncio.create_task(self._play(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.script(Line(reader, writer, self.seen))
        except ConnectionError:
            pass
        finally:
            writer.close()

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [request.split(b" ")[1].decode() for request in self.seen]


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Server]:
    """A server that plays this script on every connection."""
    server = Server(script)
    listening = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    server.address = Address("127.0.0.1", listening.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listening.close()
        for task in list(server.tasks):
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


class Keeping(Client):
    """Every address that it connects to is an endpoint's."""

    async def connect(self, address: Address, seconds: float) -> Connection:
        """See Client."""
        if address.origin not in self._kept:
            self.keep(address)
        return await super().connect(address, seconds)


@asynccontextmanager
async def a_client(kind: type[Client] = Keeping) -> AsyncIterator[Client]:
    """A client whose connections are closed in the end."""
    client = kind(asyncio.get_running_loop())
    try:
        yield client
    finally:
        client.close()
        await asyncio.sleep(0)


async def until(holds: Callable[[], object]) -> None:
    """Returns when something holds that no event tells of."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 - sockets and polls have no event for it
            await asyncio.sleep(0.001)


def answer(body: bytes, status: bytes = b"200 OK", extra: bytes = b"") -> bytes:
    """A whole answer of a known length."""
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, extra, len(body), body)


def answers(body: bytes, status: bytes = b"200 OK") -> Script:
    """The same answer to every request."""

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(answer(body, status))

    return script


async def free_address() -> Address:
    """An address where nothing listens."""
    return Address("127.0.0.1", free_port())
