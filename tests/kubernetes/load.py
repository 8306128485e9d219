"""Calls to a gateway without a pause, by a client that does not try again: whatever fails is counted."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx

CALL_SECONDS = 30.0


class Load:
    """So many callers at a time, half of them stream. `async with` runs it; `failures` and `answered` tell the end."""

    def __init__(self, url: str, callers: int = 4, model: str = "llama3", pause_seconds: float = 0.02) -> None:
        self._url = url
        self._callers = callers
        self._model = model
        self._pause_seconds = pause_seconds
        self._leaving = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.answered = 0
        self.failures: list[str] = []

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._call_on(number % 2 == 1)) for number in range(self._callers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leaving.set()
        await asyncio.gather(*self._tasks)

    async def _call_on(self, is_stream: bool) -> None:
        body = {"model": self._model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
        async with httpx.AsyncClient(base_url=self._url, timeout=CALL_SECONDS, trust_env=False) as client:
            while not self._leaving.is_set():
                try:
                    await self._call(client, {**body, "stream": is_stream})
                except (httpx.HTTPError, AssertionError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                else:
                    self.answered += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._leaving.wait(), self._pause_seconds)

    async def _call(self, client: httpx.AsyncClient, body: dict[str, Any]) -> None:
        reply = await client.post("/v1/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        if body["stream"]:
            assert reply.text.endswith("data: [DONE]\n\n"), reply.text[-300:]
