"""The sessions of a trace as real clients: each calls, reads, thinks, and calls again with all that was said."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from bench.simulate.traffic import Session, Trace, Turn

CHARACTERS: Final = 4  # of a token, as the simulated Ollama counts
PATIENCE_SECONDS: Final = 120.0

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A call: when it began, in seconds from the start, and how long its first token took."""

    arrived_at: float
    wait: float


class Clients:
    """All sessions of a trace, at one gateway."""

    def __init__(self, trace: Trace, http: httpx.AsyncClient) -> None:
        self._trace = trace
        self._http = http
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._seen: list[Seen] = []

    async def run(self) -> Sequence[Seen]:
        """Returns when all have ended; no call begins after the world's last second."""
        self._begun = self._loop.time()
        await asyncio.gather(*map(self._session, self._trace.sessions))
        return self._seen

    async def _session(self, session: Session) -> None:
        await self._until(session.begins_at)
        messages: Messages = []
        for number, turn in enumerate(session.turns):
            await asyncio.sleep(turn.think_seconds if number else 0.0)
            if self._now() > self._trace.world.seconds:
                return
            messages.append({"role": "user", "content": _words(session.number, number, turn)})
            messages.append({"role": "assistant", "content": await self._call(session, turn, messages)})

    async def _call(self, session: Session, turn: Turn, messages: Messages) -> str:
        arrived_at, first_at, text = self._now(), None, []
        body = {"model": session.model.name, "messages": messages, "max_tokens": turn.answer_tokens, "stream": True}
        async with self._http.stream("POST", "/v1/chat/completions", json=body) as reply:
            assert reply.status_code == 200, (await reply.aread()).decode()
            async for line in reply.aiter_lines():
                piece = _content(line)
                if piece and first_at is None:
                    first_at = self._now()
                text.append(piece)
        assert first_at is not None, "an answer without a token"
        self._seen.append(Seen(arrived_at, first_at - arrived_at))
        return "".join(text)

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(self._begun + moment - self._loop.time())

    def _now(self) -> float:
        return self._loop.time() - self._begun


def _words(session: int, turn_number: int, turn: Turn) -> str:
    """A text of its own with so many tokens."""
    name = f"{session}-{turn_number} "
    return (name * (CHARACTERS * turn.new_tokens // len(name) + 1))[: CHARACTERS * turn.new_tokens]


def _content(line: str) -> str:
    if not line.startswith("data: {"):
        return ""
    event: dict[str, Any] = json.loads(line.removeprefix("data: "))
    assert "error" not in event, event
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
