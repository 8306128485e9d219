"""What /api/show tells of a model, asked once per digest and remembered."""

import asyncio
from typing import Final

import httpx
import msgspec

from ai_gateway.balancing.endpoint import Endpoint, HeldModel
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.inventory import number_of, readable, text_of
from ai_gateway.upstream.transport import Wrap, httpx_client
from ai_gateway.wire.unreadable import UNREADABLE

REMEMBERED: Final = 1024
TIMEOUT_SECONDS: Final = 5.0
MOST_FACTS: Final = 5000  # of a model's file; Ollama leaves the long lists out unless it is asked for them
MOST_CAPABILITIES: Final = 32
MAX_CAPABILITY: Final = 64  # characters


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
        known = self._known.get(_key(held))
        if known is not None:
            return known
        asking = self._asking.get(_key(held))
        if asking is None:
            asking = asyncio.create_task(self._ask(endpoint, held))
            self._asking[_key(held)] = asking
        # Shielded: several callers may wait for one answer, and one of them leaving must not end it.
        return await asyncio.shield(asking) or Details()

    async def _ask(self, endpoint: Endpoint, held: HeldModel) -> Details | None:
        try:
            async with (
                httpx_client(self._client, endpoint.address, self._wrap) as http,
                asyncio.timeout(TIMEOUT_SECONDS),
            ):
                answer = await http.post("/api/show", json={"model": held.name})
            details = read_details(answer.content) if answer.status_code == 200 else None
        except (httpx.HTTPError, TimeoutError):
            return None
        finally:
            del self._asking[_key(held)]
        if details is not None:
            self._known[_key(held)] = details
            if len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
        return details


def _key(held: HeldModel) -> str:
    """The digest; an endpoint that tells none has its models told apart by name."""
    return held.digest or held.name


class _Shown(msgspec.Struct):
    model_info: msgspec.Raw = msgspec.Raw()
    capabilities: msgspec.Raw = msgspec.Raw()


_read_shown = msgspec.json.Decoder(_Shown).decode
_read_facts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_words = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_details(body: bytes) -> Details | None:
    """The answer of /api/show; None for what is not Ollama's."""
    try:
        shown = _read_shown(readable(body))
    except UNREADABLE:
        return None
    return Details(_context_length(shown.model_info), _capabilities(shown.capabilities))


def _context_length(raw: msgspec.Raw) -> int | None:
    if bytes(raw).count(b",") > MOST_FACTS:
        return None
    try:
        facts = _read_facts(raw)
    except UNREADABLE:
        return None
    architecture = text_of(facts.get("general.architecture", msgspec.Raw()))
    return number_of(facts.get(f"{architecture}.context_length", msgspec.Raw()))


def _capabilities(raw: msgspec.Raw) -> tuple[str, ...]:
    if bytes(raw).count(b",") >= MOST_CAPABILITIES:
        return ()
    try:
        words = _read_words(raw)
    except UNREADABLE:
        return ()
    return tuple(filter(None, (text_of(word, MAX_CAPABILITY) for word in words)))
