"""Clients of `coder` that never stop while something changes."""

import asyncio

from tests.ollama.rollouts import Rollouts
from tests.ollama.talk import DONE, ask, stream, until


class Callers:
    """Two clients that stream one call after the other until the block is left; nothing may fail."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False
        self.answers = 0

    async def __aenter__(self) -> "Callers":
        self._tasks = [asyncio.create_task(self._call()) for _ in range(2)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        while not self._is_over:
            events = await stream(self._rollouts.client, ask("coder", max_tokens=5))
            assert events[-1] == DONE, events
            assert not any("error" in event for event in events), events
            self.answers += 1

    async def some_more(self) -> None:
        """Waits for answers that come from now on."""
        before = self.answers

        async def are_there() -> bool:
            return self.answers >= before + 4 or any(task.done() for task in self._tasks)

        await until(are_there)
