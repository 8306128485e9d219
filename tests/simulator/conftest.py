"""A small simulator on free loopback ports, and a client that shows the bytes as they come."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop
from tests.flow.waiting import PATIENCE_SECONDS

from ai_gateway.simulator import Settings, Simulator
from ai_gateway.simulator.endpoint import Endpoint

FAST = Settings(
    models=("llama3:latest", "codellama:13b", "mistral:7b", "qwen3:8b", "nomic-embed-text:latest"),
    tokens_per_second=0,
    prefill_tokens_per_second=0,
    load_seconds=0,
    pull_bytes_per_second=0,
)
HELLO = [{"role": "user", "content": "hello"}]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """It runs on uvloop as a command and in the gateway, on asyncio's own loop in tests."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@dataclass(frozen=True)
class Reply:
    """A whole answer. `body` is without the chunk frame; `is_whole` is False if the frame or the length was cut."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of each server-sent event, `[DONE]` as that text."""
        datas = [part.removeprefix("data: ") for part in self.body.decode().split("\n\n") if part]
        return [data if data == "[DONE]" else json.loads(data) for data in datas]

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class Client:
    """One connection to an endpoint, closed by the test or by the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader = reader
        self.writer = writer
        self._host = host

    def send(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in ({"Host": self._host} | (headers or {})).items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    async def receive(self, method: str = "GET") -> Reply:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body, is_whole = b"", True
        try:
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readexactly(2)
            elif method != "HEAD":
                body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            is_whole = False
        return Reply(int(first.split()[1]), headers, body, is_whole)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def connect(endpoint: Endpoint) -> Client:
    host, _, port = endpoint.address.rpartition(":")
    return Client(*await asyncio.open_connection(host, int(port)), endpoint.address)


async def ask(endpoint: Endpoint, method: str, path: str, body: object = None, **headers: str) -> Reply:
    """One request on a connection of its own; `_` in a header's name is `-`."""
    client = await connect(endpoint)
    try:
        client.send(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return await client.receive(method)
    finally:
        await client.close()


async def chat(endpoint: Endpoint, text: str = "hello", **fields: object) -> Reply:
    """`POST /v1/chat/completions` with llama3, unless the fields say otherwise."""
    body = {"model": "llama3", "messages": [{"role": "user", "content": text}], **fields}
    return await ask(endpoint, "POST", "/v1/chat/completions", body)


async def until(is_so: Callable[[], bool]) -> None:
    """Lets the event loop turn until something is so; five seconds at most."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - what is waited for is state of the endpoint, which has no event
            await asyncio.sleep(0.002)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """One endpoint on which nothing takes time."""
    async with Simulator(FAST) as simulator:
        yield simulator.endpoints[0]
