"""What /api/show tells of a model, asked once per digest and remembered."""

import asyncio
from typing import Any, Final

import httpx
import msgspec

from ai_gateway.balancing.endpoint import Endpoint, HeldModel
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.inventory import UNREADABLE
from ai_gateway.upstream.transport import Wrap, httpx_client

REMEMBERED: Final = 1024
TIMEOUT_SECONDS: Final = 5.0


class Details(msgspec.Struct, frozen=True):
    """Facts about a model's file; None where Ollama does not say."""

    context_length: int | None = None
    capabilities: tuple[str, ...] = ()


class ModelDetails:
    """Details by digest. Grows up to REMEMBERED digests, then forgets the oldest."""

    def __init__(self, client: Client, wrap: Wrap | None = None) -> None:
        self._client = client
        self._wrap = wrap
        self._known: dict[str, Details] = {}
        self._asking: dict[str, asyncio.Task[Details | None]] = {}

    async def of(self, endpoint: Endpoint, held: HeldModel) -> Details:
        """The details of a model that an endpoint holds; empty ones where it cannot tell now."""
        known = self._known.get(held.digest)
        if known is not None:
            return known
        asking = self._asking.get(held.digest)
        if asking is None:
            asking = asyncio.create_task(self._ask(endpoint, held))
            self._asking[held.digest] = asking
        # Shielded: several callers may wait for one answer, and one of them leaving must not end it.
        return await asyncio.shield(asking) or Details()

    async def _ask(self, endpoint: Endpoint, held: HeldModel) -> Details | None:
        try:
            async with (
                httpx_client(self._client, endpoint.address, self._wrap) as http,
                asyncio.timeout(TIMEOUT_SECONDS),
            ):
                answer = await http.post("/api/show", json={"model": held.name})
            details = read_details(msgspec.json.decode(answer.content)) if answer.status_code == 200 else None
        except (httpx.HTTPError, TimeoutError, *UNREADABLE):
            return None
        finally:
            del self._asking[held.digest]
        if details is not None:
            self._known[held.digest] = details
            if len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
        return details


def read_details(content: Any) -> Details | None:
    """The answer of /api/show; None for what is not Ollama's."""
    if not isinstance(content, dict):
        return None
    facts = content.get("model_info")
    facts = facts if isinstance(facts, dict) else {}
    length = facts.get(f"{facts.get('general.architecture')}.context_length")
    capabilities = content.get("capabilities")
    return Details(
        length if isinstance(length, int) else None,
        tuple(word for word in capabilities if isinstance(word, str)) if isinstance(capabilities, list) else (),
    )
