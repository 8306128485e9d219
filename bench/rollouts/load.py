"""Callers: calls at a rate and streams that are always open, with the time to the first token of each."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from bench.rollouts.fleet import Gateway, chat


class Answer(NamedTuple):
    """One call: when it came, which gateway had it, seconds to its first token, and whether it ended well."""

    at: float
    uid: str
    first_seconds: float
    is_good: bool


class Load:
    """Runs until `end`. `answers` has what is over."""

    def __init__(self, gateways: Sequence[Gateway], per_second: float, streams: int, tokens: int = 5) -> None:
        self.answers: list[Answer] = []
        self._gateways = list(gateways)
        self._is_over = False
        self._tokens = tokens
        self._calls: set[asyncio.Task[None]] = set()
        self._number = 0
        self._tasks = [asyncio.create_task(self._stream(number)) for number in range(streams)]
        if per_second:
            self._tasks.append(asyncio.create_task(self._pace(1 / per_second)))

    async def end(self) -> None:
        """Waits for the calls that run."""
        self._is_over = True
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*self._calls)

    async def _pace(self, seconds: float) -> None:
        due = time.monotonic()
        while not self._is_over:
            task = asyncio.create_task(self._call(self._tokens))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            due += seconds
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _stream(self, number: int) -> None:
        await asyncio.sleep(number * 0.02)
        while not self._is_over:
            await self._call(30 + 10 * (number % 5))

    async def _call(self, tokens: int) -> None:
        self._number += 1
        gateway = self._gateways[self._number % len(self._gateways)]
        at, first, is_good = time.monotonic(), 0.0, False
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            body = chat(tokens, self._number)
            head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            answer = b""
            while data := await reader.read(1 << 16):
                answer = answer[-4096:] + data
                if not first and b'"content":"' in data:
                    first = time.monotonic() - at
            is_good = first > 0 and b"data: [DONE]" in answer
            writer.close()
        except OSError:
            pass
        self.answers.append(Answer(at, gateway.uid, first or time.monotonic() - at, is_good))


def p95(answers: Sequence[Answer]) -> float:
    """Of the time to the first token, in milliseconds."""
    ordered = sorted(answer.first_seconds for answer in answers)
    return 1000 * ordered[int(len(ordered) * 0.95)] if ordered else 0.0


def failed(answers: Sequence[Answer]) -> int:
    """How many did not end well."""
    return sum(not answer.is_good for answer in answers)
