"""Applies each list of the current source, and changes the source when the config does.

It applies large changes in steps, so that calls can run in between.
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
MOST_NAMED: Final = 10  # addresses in one line of the log
STEP_ENDPOINTS: Final = 32  # endpoints that it adds or removes in one step


class DiscoveryRunner:
    """Runs one source at a time. `apply` gets each list; the last one stays in force if a source fails.

    `advice` is appended to the source's own reason.
    """

    def __init__(self, apply: Callable[[Found], None]) -> None:
        self._apply = apply
        self._failures = FailureLog(log)
        self._task: asyncio.Task[None] | None = None
        self._source: Source | None = None
        self._last: Found | None = None  # from the source
        self._applied = Found()  # the part of it that is in force
        self.advice: str | None = None

    @property
    def source_name(self) -> str:
        """The name of the current source."""
        return "none" if self._source is None else self._source.name

    def status(self) -> SourceStatus:
        """The status of the current source, with the advice."""
        status = SourceStatus() if self._source is None else self._source.status()
        if self.advice is None:
            return status
        reason = "; ".join(filter(None, (status.reason, self.advice)))
        return msgspec.structs.replace(status, reason=reason)

    def follow(self, source: Source) -> None:
        """Switches to this source. The endpoints of the old one stay until the new one gives a list."""
        if self._task is not None:
            self._task.cancel()
        self._source = source
        self.advice = None
        self._task = asyncio.create_task(self._take_lists(source))

    async def stop(self) -> None:
        """Stops the current source."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _take_lists(self, source: Source) -> None:
        while True:
            try:
                async with aclosing(source.lists()) as lists:
                    async for found in lists:
                        self._log_changes(source, found)
                        await self._apply_in_steps(found)
                return
            except Exception as failure:  # a source may raise anything; the known endpoints stay
                self._failures.note(failure, "discovery (%s) failed; the last list stays in force", source.name)
                await asyncio.sleep(RETRY_SECONDS)

    async def _apply_in_steps(self, found: Found) -> None:
        for step in _steps(self._applied, found):
            self._applied = step
            self._apply(step)
            await asyncio.sleep(0)

    def _log_changes(self, source: Source, found: Found) -> None:
        """Logs one line per change: the log must not list a fleet of hundreds for each new pod."""
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
    more = f" and {len(addresses) - MOST_NAMED} more" if len(addresses) > MOST_NAMED else ""
    return ", ".join(_name(address, found) for address in addresses[:MOST_NAMED]) + more


def _steps(before: Found, found: Found) -> Iterator[Found]:
    """Whole lists that lead from `before` to `found`; the last one is `found`."""
    kept = dict.fromkeys(before.addresses)
    new = [address for address in found.addresses if address not in kept]
    gone = list(kept.keys() - set(found.addresses))
    pods = {**before.pods, **found.pods}
    most = max(len(kept), len(found.addresses))  # in one step: each step compares all of them
    while len(new) + len(gone) > STEP_ENDPOINTS:
        kept.update(dict.fromkeys(new[:STEP_ENDPOINTS]))
        if not new or len(kept) > most:
            for address in gone[:STEP_ENDPOINTS]:
                del kept[address]
            del gone[:STEP_ENDPOINTS]
        del new[:STEP_ENDPOINTS]
        yield Found(tuple(kept), pods, found.unready)
    yield found
