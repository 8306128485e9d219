"""Keeps up with a source: takes each list as it comes, and another source when the config names one.

A list that changes much is taken in steps, between which calls go on.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Final

import msgspec

from ai_gateway.discovery.source import Found, Source, SourceStatus
from ai_gateway.failure_log import FailureLog
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.discovery")

RETRY_SECONDS: Final = 1.0
NAMED: Final = 10  # so many addresses are named in a line of the log
AT_ONCE: Final = 50  # endpoints that come or go in one step


class DiscoveryRunner:
    """One source at a time. `apply` gets each list; the last one stays in force when a source fails.

    `advice` is what the gateway adds to the source's own complaint.
    """

    def __init__(self, apply: Callable[[Found], None]) -> None:
        self._apply = apply
        self._failures = FailureLog(log)
        self._task: asyncio.Task[None] | None = None
        self._source: Source | None = None
        self._last: Found | None = None  # that was given
        self._applied = Found()  # of which this much is in force
        self.advice: str | None = None

    @property
    def source_name(self) -> str:
        """The word for the present source."""
        return "none" if self._source is None else self._source.name

    def status(self) -> SourceStatus:
        """How the present source fares."""
        status = SourceStatus() if self._source is None else self._source.status()
        if self.advice is None:
            return status
        reason = "; ".join(filter(None, (status.reason, self.advice)))
        return msgspec.structs.replace(status, reason=reason)

    def follow(self, source: Source) -> None:
        """Leaves the present source and begins with this one; what the present one found stays until then."""
        if self._task is not None:
            self._task.cancel()
        self._source = source
        self.advice = None
        self._task = asyncio.create_task(self._take_lists(source))

    async def stop(self) -> None:
        """Leaves the present source."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _take_lists(self, source: Source) -> None:
        while True:
            try:
                async with aclosing(source.lists()) as lists:
                    async for found in lists:
                        self._tell(source, found)
                        await self._take(found)
                return
            except Exception as failure:  # a source may fail in ways of its own; the endpoints known so far go on
                self._failures.note(failure, "discovery (%s) failed; the last list stays in force", source.name)
                await asyncio.sleep(RETRY_SECONDS)

    async def _take(self, found: Found) -> None:
        for step in _steps(self._applied, found):
            self._applied = step
            self._apply(step)
            await asyncio.sleep(0)

    def _tell(self, source: Source, found: Found) -> None:
        """One line a change: a fleet of hundreds is not written out for each pod that comes."""
        before = self._last or Found()
        if self._last is not None and self._last.addresses == found.addresses:
            return
        self._last = found
        known, listed = set(before.addresses), set(found.addresses)
        changes = {
            "new": ([address for address in found.addresses if address not in known], found),
            "gone": ([address for address in before.addresses if address not in listed], before),
        }
        words = "".join(f"; {word}: {_some(*change)}" for word, change in changes.items() if change[0])
        log.info("discovery (%s): %d endpoints%s", source.name, len(found.addresses), words)


def _name(address: Address, found: Found) -> str:
    pod = found.pods.get(address)
    return str(address) if pod is None else f"{pod.namespace}/{pod.name} {address.authority}"


def _some(addresses: list[Address], found: Found) -> str:
    more = f" and {len(addresses) - NAMED} more" if len(addresses) > NAMED else ""
    return ", ".join(_name(address, found) for address in addresses[:NAMED]) + more


def _steps(before: Found, found: Found) -> Iterator[Found]:
    """Whole lists that lead from one to the other, the last of them the other itself."""
    kept = dict.fromkeys(before.addresses)
    new = [address for address in found.addresses if address not in kept]
    gone = list(kept.keys() - set(found.addresses))
    pods = {**before.pods, **found.pods}
    most = max(len(kept), len(found.addresses))  # at once: each step looks at all of them
    while len(new) + len(gone) > AT_ONCE:
        kept.update(dict.fromkeys(new[:AT_ONCE]))
        if not new or len(kept) > most:
            for address in gone[:AT_ONCE]:
                del kept[address]
            del gone[:AT_ONCE]
        del new[:AT_ONCE]
        yield Found(tuple(kept), pods)
    yield found
