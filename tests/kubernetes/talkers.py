"""Applications: the OpenAI SDK without retries, on long streams and short calls, and what became of each.

Streams are read as lines: a thousand parsed chunks a second would take the machine from what is tested.
"""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import openai
from tests.ollama.talk import until

LOAD_SECONDS = 120.0


@dataclass
class Stream:
    """One long stream. `error` is what the client got, None if it went well."""

    request_id: str = ""
    chunks: int = 0
    finish_reason: str | None = None
    is_done: bool = False
    error: str | None = None
    seconds: float = 0.0


@dataclass
class Talkers:
    """All applications of a test. Changed by their tasks; `close` waits for what runs."""

    url: str
    model: str
    streams: list[Stream] = field(default_factory=list)
    answered: int = 0
    slowest_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    failed_ids: list[str | None] = field(default_factory=list)
    _streaming: list[asyncio.Task[None]] = field(default_factory=list)
    _calling: list[asyncio.Task[None]] = field(default_factory=list)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._client = openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=LOAD_SECONDS
        )

    def begin_streams(self, count: int, tokens: int) -> list[Stream]:
        """So many streams at once."""
        begun = [Stream() for _ in range(count)]
        self.streams += begun
        self._streaming += [asyncio.create_task(self._stream(stream, tokens)) for stream in begun]
        return begun

    def begin_calls(self, callers: int, pause_seconds: float) -> None:
        """Callers that ask for short answers in one piece, again and again until `close`."""
        self._calling += [asyncio.create_task(self._call_on(pause_seconds)) for _ in range(callers)]

    def begin_stream_after_stream(self, callers: int, tokens: int) -> None:
        """Callers that ask for one stream after the other, on the connections that they keep, until `close`."""
        self._calling += [asyncio.create_task(self._stream_on(tokens)) for _ in range(callers)]

    async def go_on(self) -> None:
        """Returns when each caller has had an answer or an error from now on, on average."""
        wanted = self.answered + len(self.failures) + len(self._calling)

        async def has_come() -> bool:
            return self.answered + len(self.failures) >= wanted

        await until(has_come, LOAD_SECONDS)

    async def close(self) -> None:
        """Long streams run to their ends, and beside them the short calls, which end then."""
        await asyncio.gather(*self._streaming)
        self._leaving.set()
        await asyncio.gather(*self._calling)
        await self._client.close()

    async def _stream_on(self, tokens: int) -> None:
        while not self._leaving.is_set():
            self.streams.append(Stream())
            await self._stream(self.streams[-1], tokens)

    async def _stream(self, stream: Stream, tokens: int) -> None:
        began = time.monotonic()
        asked: Any = {"model": self.model, "messages": [{"role": "user", "content": f"stream {id(stream)}"}]}
        completions = self._client.chat.completions.with_streaming_response
        try:
            async with completions.create(**asked, max_tokens=tokens, stream=True) as reply:
                stream.request_id = reply.headers["x-request-id"]
                async for line in reply.iter_lines():
                    self._take(stream, line)
            if stream.error is None and not stream.is_done:
                stream.error = "the stream ended without [DONE]"
        except Exception as error:  # read as lines, a stream fails with the errors of whatever carries it
            stream.error = f"{type(error).__name__}: {error}"
        stream.seconds = time.monotonic() - began

    def _take(self, stream: Stream, line: str) -> None:
        """A line of a stream; only those that end it are read, since some hundred come each second."""
        if line == "data: [DONE]":
            stream.is_done = stream.finish_reason is not None
        elif line.startswith('data: {"error"'):
            stream.error = line
        elif line.startswith("data: "):
            stream.chunks += 1
            if '"finish_reason":null' not in line:
                stream.finish_reason = json.loads(line[6:])["choices"][0]["finish_reason"]

    async def _call_on(self, pause_seconds: float) -> None:
        while not self._leaving.is_set():
            began = time.monotonic()
            try:
                await self._client.chat.completions.create(
                    model=self.model, messages=[{"role": "user", "content": "hello"}], max_tokens=8
                )
            except openai.OpenAIError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                self.failed_ids.append(getattr(error, "request_id", None))
            else:
                self.answered += 1
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause_seconds)
