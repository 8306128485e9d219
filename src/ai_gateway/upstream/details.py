"""A model's details from /api/show, requested once per digest and cached."""

import asyncio
from typing import Final

import httpx
import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.resident import HeldModel
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.inventory import number_of, readable, text_of, texts_of
from ai_gateway.upstream.transport import Wrap, httpx_client
from ai_gateway.wire.unreadable import UNREADABLE

REMEMBERED: Final = 1024
TIMEOUT_SECONDS: Final = 5.0
MOST_FACTS: Final = 5000  # of a model's file; Ollama omits the long lists by default


class Details(msgspec.Struct, frozen=True):
    """Facts about a model's file; None if Ollama does not give them."""

    context_length: int | None = None
    capabilities: tuple[str, ...] = ()


class ModelDetails:
    """Details by digest. Keeps up to REMEMBERED digests, then drops the oldest."""

    def __init__(self, client: Client, wrap: Wrap | None = None) -> None:
        self._client = client
        self._wrap = wrap
        self._cached: dict[str, Details] = {}
        self._pending: dict[str, asyncio.Task[Details | None]] = {}

    async def of(self, endpoint: Endpoint, model: HeldModel) -> Details:
        """The details of a model on an endpoint; empty if the endpoint does not answer now."""
        cached = self._cached.get(_key(model))
        if cached is not None:
            return cached
        pending = self._pending.get(_key(model))
        if pending is None:
            pending = asyncio.create_task(self._fetch(endpoint, model))
            self._pending[_key(model)] = pending
        # Shielded: several callers may wait for one answer; one that is cancelled must not cancel it.
        return await asyncio.shield(pending) or Details()

    async def _fetch(self, endpoint: Endpoint, model: HeldModel) -> Details | None:
        try:
            async with (
                httpx_client(self._client, endpoint.address, self._wrap) as http,
                asyncio.timeout(TIMEOUT_SECONDS),
            ):
                answer = await http.post("/api/show", json={"model": model.name})
            details = read_details(answer.content) if answer.status_code == 200 else None
        except (httpx.HTTPError, TimeoutError):
            return None
        finally:
            del self._pending[_key(model)]
        if details is not None:
            self._cached[_key(model)] = details
            if len(self._cached) > REMEMBERED:
                del self._cached[next(iter(self._cached))]
        return details


def _key(model: HeldModel) -> str:
    """The digest, or the name if the endpoint sends no digest."""
    return model.digest or model.name


class _Shown(msgspec.Struct):
    model_info: msgspec.Raw = msgspec.Raw()
    capabilities: msgspec.Raw = msgspec.Raw()


_read_shown = msgspec.json.Decoder(_Shown).decode
_read_facts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_details(body: bytes) -> Details | None:
    """Reads an answer of /api/show; None if it is not Ollama's."""
    try:
        shown = _read_shown(readable(body))
    except UNREADABLE:
        return None
    return Details(_context_length(shown.model_info), texts_of(shown.capabilities))


def _context_length(raw: msgspec.Raw) -> int | None:
    if bytes(raw).count(b",") > MOST_FACTS:
        return None
    try:
        facts = _read_facts(raw)
    except UNREADABLE:
        return None
    architecture = text_of(facts.get("general.architecture", msgspec.Raw()))
    return number_of(facts.get(f"{architecture}.context_length", msgspec.Raw()))
