"""Applications: the OpenAI SDK without retries, on long streams and short calls, and what became of each."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

import openai

LOAD_SECONDS = 120.0


@dataclass
class Stream:
    """One long stream. `error` is what the client was told, None if it went well."""

    request_id: str = ""
    chunks: int = 0
    finish_reason: str | None = None
    error: str | None = None
    seconds: float = 0.0


@dataclass
class Talkers:
    """All applications of a test. Changed by their tasks; `close` waits for what runs."""

    url: str
    model: str
    streams: list[Stream] = field(default_factory=list)
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._client = openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=LOAD_SECONDS
        )

    def begin_streams(self, count: int, tokens: int) -> list[Stream]:
        """So many streams at once."""
        begun = [Stream() for _ in range(count)]
        self.streams += begun
        self._tasks += [asyncio.create_task(self._stream(stream, tokens)) for stream in begun]
        return begun

    def begin_calls(self, callers: int, pause_seconds: float) -> None:
        """Callers that ask for short answers in one piece, again and again until `close`."""
        self._tasks += [asyncio.create_task(self._call_on(pause_seconds)) for _ in range(callers)]

    async def close(self) -> None:
        """Short calls end; long streams run to theirs."""
        self._leaving.set()
        await asyncio.gather(*self._tasks)
        await self._client.close()

    async def _stream(self, stream: Stream, tokens: int) -> None:
        began = time.monotonic()
        messages = [{"role": "user", "content": f"stream {len(self.streams)} {id(stream)}"}]
        try:
            reply = await self._client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=messages,  # type: ignore[arg-type]  # the SDK wants its own typed dictionaries
                max_tokens=tokens,
                stream=True,
            )
            stream.request_id = reply.headers["x-request-id"]
            events = reply.parse()
            assert isinstance(events, openai.AsyncStream)
            async for chunk in events:
                stream.chunks += 1
                if chunk.choices:
                    stream.finish_reason = chunk.choices[0].finish_reason or stream.finish_reason
            assert stream.finish_reason is not None, "the stream ended without a finish_reason"
        except (openai.OpenAIError, AssertionError) as error:
            stream.error = f"{type(error).__name__}: {error}"
        stream.seconds = time.monotonic() - began

    async def _call_on(self, pause_seconds: float) -> None:
        while not self._leaving.is_set():
            try:
                await self._client.chat.completions.create(
                    model=self.model, messages=[{"role": "user", "content": "hello"}], max_tokens=8
                )
            except openai.OpenAIError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            else:
                self.answered += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause_seconds)
