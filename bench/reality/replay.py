"""Sends the calls of a trace at their times, and measures how long each waits for its first token."""

import asyncio
import json
from collections.abc import Sequence
from typing import Final

import httpx

from bench.reality.trace import Arrival

ANSWER_TOKENS: Final = 8
PATIENCE_SECONDS: Final = 120.0


async def replay(arrivals: Sequence[Arrival], urls: Sequence[str]) -> list[float]:
    """The seconds to the first token of each call, in order; each goes to its own of the URLs."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        begun = asyncio.get_running_loop().time()
        calls = [_call(client, one, begun + one.at, url) for one, url in zip(arrivals, urls, strict=True)]
        return list(await asyncio.gather(*calls))


async def _call(client: httpx.AsyncClient, arrival: Arrival, due: float, url: str) -> float:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(due - loop.time())
    body = {
        "model": arrival.model,
        "messages": [{"role": "user", "content": arrival.text}],
        "stream": True,
        "max_tokens": ANSWER_TOKENS,
    }
    first: float | None = None
    async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            raise AssertionError(f"{reply.status_code} {(await reply.aread()).decode()}")
        async for line in reply.aiter_lines():
            if first is None and _has_token(line):
                first = loop.time() - due
    assert first is not None, "an answer without a token"
    return first


def _has_token(line: str) -> bool:
    if not line.startswith("data: {"):
        return False
    event = json.loads(line.removeprefix("data: "))
    assert "error" not in event, event
    return any(choice["delta"].get("content") for choice in event["choices"])
