"""A simulated Ollama in a process of its own, so that it can be killed like a real one."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from tests.ollama.process import Server
from tests.ports import free_port

_CAPABILITIES = "plain=completion"
_SLOW = {"kind": "slow", "model": "slow:latest", "routes": "openai", "factor": 100.0}  # a load is not an openai call


class Simulated(Server):
    """`ai-gateway simulate` with one endpoint and the models of the real ones; `slow` writes four words a second."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        command = [str(Path(sys.executable).with_name("ai-gateway")), "simulate"]
        place = ["--endpoints", "1", "--listen", f"127.0.0.1:{port}"]
        pace = ["--tokens-per-second", "400", "--answer-tokens", "400"]
        models = ["--models", "tiny:latest,plain:latest,slow:latest,embed:latest", "--capability", _CAPABILITIES]
        super().__init__([*command, *place, *pace, *models], port, folder, {})

    def start(self) -> None:
        """Also makes `slow` slow; a process that is started again has forgotten it."""
        super().start()
        self._ask_for(_SLOW)

    async def is_computing(self) -> bool:
        """Whether it writes an answer now."""
        async with httpx.AsyncClient(trust_env=False) as client:
            state = (await client.get(f"{self.url}/simulator/state")).json()
        return any(model["running"] for model in state["models"])

    @asynccontextmanager
    async def truncating(self) -> AsyncIterator[None]:
        """Its streams of `slow` end without a word, as when a real one's runner dies."""
        ids = self._ask_for({"kind": "truncate", "model": "slow:latest", "after_tokens": 2})
        try:
            yield
        finally:
            self._mend(ids)

    def _ask_for(self, failure: dict[str, object]) -> list[int]:
        reply = httpx.post(f"{self.url}/simulator/faults", json=failure, trust_env=False).raise_for_status()
        ids: list[int] = reply.json()["ids"]
        return ids

    def _mend(self, ids: list[int]) -> None:
        for fault_id in ids:
            httpx.delete(f"{self.url}/simulator/faults/{fault_id}", trust_env=False).raise_for_status()
