"""Asks endpoints with /api/show what their models are made of: once for each digest, and few at a time."""

import asyncio
import logging
from typing import Final

import httpx
import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import HeldModel, Weights
from ai_gateway.upstream.inventory import read_weights

log = logging.getLogger("ai_gateway.polling")

SHOW: Final = "/api/show"
AT_ONCE: Final = 4  # of all endpoints; Ollama opens the model's file for each
PAUSE_SECONDS: Final = 0.05  # after each: at most 80 a second, so that thousands of models do not take the loop's time
TIMEOUT_SECONDS: Final = 5.0
FAILURES_IN_A_ROW: Final = 3  # after which the other models of an endpoint wait for its next list
FIRST_PAUSE_SECONDS: Final = 30.0
LONGEST_PAUSE_SECONDS: Final = 600.0


class Asking:
    """What all endpoints share: the digests that are asked for now, and room for a few requests."""

    def __init__(self) -> None:
        self.digests: set[str] = set()
        self.room = asyncio.Semaphore(AT_ONCE)


class _Failed(msgspec.Struct, frozen=True):
    times: int
    again_at: float


class EndpointWeights:
    """The questions to one endpoint. A digest that fails is asked for again after the next list, then ever later."""

    def __init__(self, fleet: Fleet, endpoint: Endpoint, asking: Asking) -> None:
        self._fleet = fleet
        self._endpoint = endpoint
        self._asking = asking
        self._failed: dict[str, _Failed] = {}
        self._has_complained = False

    async def learn(self, http: httpx.AsyncClient) -> None:
        """Tells the fleet what it does not know of the models in the endpoint's list."""
        self._failed = {
            digest: failed for digest, failed in self._failed.items() if digest in self._endpoint.residency.digests()
        }
        failures = 0
        for model in self._fleet.unknown_weights(self._endpoint):
            if not self._is_due(model.digest):
                continue
            failures = failures + 1 if await self._ask(http, model) else 0
            if failures == FAILURES_IN_A_ROW:
                return

    def _is_due(self, digest: str) -> bool:
        failed = self._failed.get(digest)
        return digest not in self._asking.digests and (failed is None or self._fleet.now() >= failed.again_at)

    async def _ask(self, http: httpx.AsyncClient, model: HeldModel) -> bool:
        """Asks for one model; True if that failed."""
        self._asking.digests.add(model.digest)
        try:
            async with self._asking.room:
                if model.digest in self._fleet.weights:  # another endpoint told it meanwhile
                    return False
                found = await _shown(http, model.name)
                if isinstance(found, str):
                    self._note(model.digest, found)
                else:
                    self._failed.pop(model.digest, None)
                    self._fleet.saw_weights(model.digest, found)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._asking.digests.discard(model.digest)
        return isinstance(found, str)

    def _note(self, digest: str, reason: str) -> None:
        times = self._failed[digest].times + 1 if digest in self._failed else 1
        pause = 0.0 if times == 1 else min(FIRST_PAUSE_SECONDS * 2.0 ** (times - 2), LONGEST_PAUSE_SECONDS)
        self._failed[digest] = _Failed(times, self._fleet.now() + pause)
        if times > 1 and not self._has_complained:
            self._has_complained = True
            log.info("endpoint %s does not tell what a model is made of: %s", self._endpoint.address, reason)


async def _shown(http: httpx.AsyncClient, name: str) -> Weights | str:
    """What a model is made of, or why that is not known."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            answer = await http.post(SHOW, json={"model": name})
    except TimeoutError:
        return f"{SHOW} did not answer within {TIMEOUT_SECONDS:g} s"
    except httpx.HTTPError as error:
        return f"{SHOW}: {error}"
    if answer.status_code != 200:
        return f"{SHOW} answered {answer.status_code}"
    return read_weights(answer.content) or f"{SHOW} is not Ollama's"
