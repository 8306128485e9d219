"""A fixed list of endpoints, from the config or from OLLAMA_HOST."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Final

from ai_gateway.config.threads import pause_for_others, run_in_thread
from ai_gateway.config.types import StaticUpstream
from ai_gateway.discovery.source import Found, Source
from ai_gateway.wire.address import Address, parse_endpoint

URLS_PER_STEP: Final = 50  # parsed without a pause


class StaticSource(Source):
    """Yields its list once."""

    def __init__(self, addresses: tuple[Address, ...], name: str = "static") -> None:
        self._addresses = addresses
        self._name = name

    @property
    def name(self) -> str:
        """See Source."""
        return self._name

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source."""
        yield Found(self._addresses)


class UrlSource(Source):
    """The source for `discovery.static`. The config check has validated its URLs.

    A thread parses many URLs. A few are parsed at once, so that the gateway has endpoints when it starts to listen.
    """

    name = "static"

    def __init__(self, upstreams: tuple[str | StaticUpstream, ...]) -> None:
        self._upstreams = upstreams

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source."""
        read = partial(_read, self._upstreams)
        yield Found(read() if len(self._upstreams) < URLS_PER_STEP else await run_in_thread(read, "discovery"))


def _read(upstreams: tuple[str | StaticUpstream, ...]) -> tuple[Address, ...]:
    addresses: dict[Address, None] = {}
    for number, entry in enumerate(upstreams):
        if number % URLS_PER_STEP == URLS_PER_STEP - 1:
            pause_for_others()
        upstream = entry if isinstance(entry, StaticUpstream) else StaticUpstream(entry)
        addresses[parse_endpoint(upstream.url, upstream.ca_file)] = None
    return tuple(addresses)
