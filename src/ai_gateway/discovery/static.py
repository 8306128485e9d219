"""A fixed list, from the config or from OLLAMA_HOST."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Final

from ai_gateway.config.beside import beside, breathe
from ai_gateway.config.types import StaticUpstream
from ai_gateway.discovery.source import Found, Source
from ai_gateway.wire.address import Address, parse_endpoint

URLS_AT_ONCE: Final = 50  # read without a pause for others


class StaticSource(Source):
    """Gives its list once."""

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
    """The source for `discovery.static`, whose URLs were checked with the config.

    A thread reads many of them. A few are known at once, so that a gateway that listens has its endpoints.
    """

    name = "static"

    def __init__(self, upstreams: tuple[str | StaticUpstream, ...]) -> None:
        self._upstreams = upstreams

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source."""
        read = partial(_read, self._upstreams)
        yield Found(read() if len(self._upstreams) < URLS_AT_ONCE else await beside(read, "discovery"))


def _read(upstreams: tuple[str | StaticUpstream, ...]) -> tuple[Address, ...]:
    addresses: dict[Address, None] = {}
    for number, entry in enumerate(upstreams):
        if number % URLS_AT_ONCE == URLS_AT_ONCE - 1:
            breathe()
        upstream = entry if isinstance(entry, StaticUpstream) else StaticUpstream(entry)
        addresses[parse_endpoint(upstream.url, upstream.ca_file)] = None
    return tuple(addresses)
