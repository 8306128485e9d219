"""Endpoints from the addresses of a name: a headless Service, or any name with several addresses."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable

from ai_gateway.config.types import Dns
from ai_gateway.discovery.source import Found, Source, Standing
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.discovery")

LookUp = Callable[[str], Awaitable[list[str]]]


async def look_up(name: str) -> list[str]:
    """All addresses of a name, by the system's resolver. Raises OSError (socket.gaierror).

    A name with addresses of both families usually has one of each for the same host: then IPv4 alone is taken.
    """
    infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    hosts = {family: {str(info[4][0]) for info in infos if info[0] == family} for family, *_ in infos}
    return sorted(hosts.get(socket.AF_INET) or hosts.get(socket.AF_INET6) or ())


class DnsSource(Source):
    """Looks the name up again and again. What was found stays when a look-up fails; polls tell who is down."""

    def __init__(self, settings: Dns, look_up: LookUp = look_up) -> None:
        self._settings = settings
        self._look_up = look_up
        self._heard_at: float | None = None
        self._complaint: str | None = None
        self._failures = 0
        self._looks = 0

    @property
    def name(self) -> str:
        """See Source."""
        return f"dns {self._settings.name}"

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source."""
        last: list[str] | None = None
        while True:
            hosts = await self._look()
            if hosts is not None and hosts != last:
                if len(hosts) == 1:
                    self._tell_of_one(hosts[0])
                last = hosts
                yield Found(tuple(Address(host, self._settings.port) for host in hosts))
            await asyncio.sleep(self._settings.interval)

    def standing(self) -> Standing:
        """See Source."""
        age = None if self._heard_at is None else asyncio.get_running_loop().time() - self._heard_at
        return Standing(age, self._complaint, lists=self._looks, failures=self._failures)

    async def _look(self) -> list[str] | None:
        self._looks += 1
        try:
            hosts = await self._look_up(self._settings.name)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all, such as "a..b"
            self._failures += 1
            complaint = f"{self._settings.name} cannot be looked up: {getattr(error, 'strerror', None) or error}"
            if complaint != self._complaint:
                log.warning("discovery: %s; what was found before stays", complaint)
            self._complaint = complaint
            return None
        self._complaint = None
        self._heard_at = asyncio.get_running_loop().time()
        return hosts

    def _tell_of_one(self, host: str) -> None:
        log.info(
            "discovery: %s has one address, %s. If that is the cluster IP of a Service, it is used as one endpoint: "
            "the pods behind it cannot be told apart. A headless Service (clusterIP: None) has one address a pod.",
            self._settings.name,
            host,
        )
