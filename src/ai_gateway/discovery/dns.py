"""Endpoints from the addresses of a host name, such as a headless Service's."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable

from ai_gateway.config.types import Dns
from ai_gateway.discovery.source import Found, Source, SourceStatus
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.discovery")

LookUp = Callable[[str], Awaitable[list[str]]]


async def look_up(name: str) -> list[str]:
    """All addresses of a name, from the system's resolver. Raises OSError (socket.gaierror).

    A name with addresses of both families usually has one of each per host. Then only the IPv4 addresses count.
    """
    infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    hosts = {family: {str(info[4][0]) for info in infos if info[0] == family} for family, *_ in infos}
    return sorted(hosts.get(socket.AF_INET) or hosts.get(socket.AF_INET6) or ())


class DnsSource(Source):
    """Looks the name up again and again. If that fails, the last addresses stay; polls find endpoints that are down."""

    def __init__(self, settings: Dns, look_up: LookUp = look_up) -> None:
        self._settings = settings
        self._look_up = look_up
        self._heard_at: float | None = None
        self._reason: str | None = None
        self._failures = 0
        self._checks = 0

    @property
    def name(self) -> str:
        """See Source."""
        return f"dns {self._settings.name}"

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source."""
        last: list[str] | None = None
        while True:
            hosts = await self._check()
            if hosts is not None and hosts != last:
                if len(hosts) == 1:
                    self._log_single_address(hosts[0])
                last = hosts
                yield Found(tuple(Address(host, self._settings.port) for host in hosts))
            await asyncio.sleep(self._settings.interval)

    def status(self) -> SourceStatus:
        """See Source."""
        age = None if self._heard_at is None else asyncio.get_running_loop().time() - self._heard_at
        return SourceStatus(age, self._reason, lists=self._checks, failures=self._failures)

    async def _check(self) -> list[str] | None:
        self._checks += 1
        try:
            hosts = await self._look_up(self._settings.name)
        except (OSError, UnicodeError) as error:  # UnicodeError: not a host name, such as "a..b"
            self._failures += 1
            reason = f"the gateway cannot look up {self._settings.name}: {getattr(error, 'strerror', None) or error}"
            if reason != self._reason:
                log.warning("discovery: %s; the last addresses stay in use", reason)
            self._reason = reason
            return None
        self._reason = None
        self._heard_at = asyncio.get_running_loop().time()
        return hosts

    def _log_single_address(self, host: str) -> None:
        log.info(
            "discovery: %s has one address, %s. If that is the cluster IP of a Service, the gateway uses it as one "
            "endpoint and cannot see the pods behind it. Use a headless Service (clusterIP: None), which has one "
            "address per pod.",
            self._settings.name,
            host,
        )
