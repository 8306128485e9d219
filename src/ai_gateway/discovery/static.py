"""A fixed list, from the config or from OLLAMA_HOST."""

from collections.abc import AsyncGenerator

from ai_gateway.config.types import StaticUpstream
from ai_gateway.discovery.source import Found, Source
from ai_gateway.wire.address import Address, parse_endpoint


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


def static_source(upstreams: tuple[str | StaticUpstream, ...]) -> StaticSource:
    """The source for `discovery.static`, whose URLs were checked with the config."""
    entries = (entry if isinstance(entry, StaticUpstream) else StaticUpstream(entry) for entry in upstreams)
    return StaticSource(tuple(dict.fromkeys(parse_endpoint(entry.url, entry.ca_file) for entry in entries)))
