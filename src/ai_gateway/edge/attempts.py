"""Sends one call to the fleet: waits for a slot, makes an attempt, and a second one if the first fails early."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final

import msgspec

from ai_gateway.accounting.buffers import others_first
from ai_gateway.balancing.budget import Retry
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.lease import Lease, Waits
from ai_gateway.balancing.pool import Pool
from ai_gateway.edge.attempt import AttemptResult, Delivery, ServedCall, attempt
from ai_gateway.edge.cancel_scope import CancelScope
from ai_gateway.errors import BackendUnavailable, GatewayError, ModelMissing, NoEndpoint
from ai_gateway.upstream.classify import FailedAttempt
from ai_gateway.upstream.client import Client
from ai_gateway.wire.answer import Answer

log = logging.getLogger("ai_gateway.balancing")

# In a fleet that shrinks an endpoint may refuse the connection, or fail the call as it leaves. After so many such
# endpoints the call tries no further one.
MOST_PASSED_OVER: Final = 3

# A pod often dies before the watch tells that it is being deleted. A call that two pods failed waits so long for that.
DEPARTURE_SECONDS: Final = 2.0


class Upstreams(msgspec.Struct, frozen=True, kw_only=True):
    """What calls are sent with. `probe_soon` has an endpoint probed after it failed a call."""

    fleet: Fleet
    client: Client
    probe_soon: Callable[[Endpoint], None]


class Attempts:
    """The attempts of one call. At most two endpoints get it, besides those that are passed over."""

    __slots__ = ("_avoid", "_delivery", "_passes_left", "_pool", "_served", "_upstreams")

    def __init__(self, upstreams: Upstreams, served: ServedCall, delivery: Delivery) -> None:
        self._upstreams = upstreams
        self._served = served
        self._delivery = delivery
        self._pool: Pool = upstreams.fleet.pool(served.entry.key)
        self._avoid: frozenset[Endpoint] = frozenset()  # endpoints that got the call
        self._passes_left = MOST_PASSED_OVER

    async def run(self) -> Answer | None:
        """The whole answer, or None when a stream was relayed to its end. Raises GatewayError."""
        fleet = self._upstreams.fleet
        with fleet.budget:
            first = await self._attempt()
            if first.failed is None:
                fleet.succeeded(first.endpoint, self._pool.model)
                return first.answer
            if first.failed.is_refused:
                raise self._error(first.failed)
            return await self._again(first.endpoint, first.failed)

    async def _attempt(self, retry: Retry | None = None) -> AttemptResult:
        """Sends the call to an endpoint. Another one gets the call if that refuses the connection."""
        served, delivery = self._served, self._delivery
        share, times, timeouts = delivery.room.share, served.exchange.times, served.entry.timeouts
        waits = Waits(timeouts.queue, timeouts.load)
        times.queued_at = times.queued_at or monotonic()
        while True:
            share.give_way = partial(_end_for_others, delivery.cancel_scope)
            lease = Lease(self._pool, waits, self._avoid, served.claim)
            if delivery.events is not None:
                delivery.events.waits_for = lease.outlook
            result = await self._send(lease, retry)
            if result.failed is None:
                return result
            self._count(result.endpoint, result.failed)
            self._avoid |= {result.endpoint}
            if not result.failed.is_refused or not self._passes_left:
                return result
            self._passes_left -= 1

    async def _send(self, lease: Lease, retry: Retry | None) -> AttemptResult:
        """Waits for the lease, and makes an attempt with it."""
        served, delivery, times = self._served, self._delivery, self._served.exchange.times
        try:
            async with lease as choice:
                delivery.room.share.give_way = None  # from here on an endpoint works for it
                if times.leased_at is None:
                    times.leased_at = monotonic() if lease.has_waited else times.queued_at
                    times.load_wait_seconds = lease.load_wait_seconds
                try:
                    result = await attempt(self._upstreams.client, served, delivery, choice, retry)
                except BackendUnavailable as error:
                    if error.is_garbled:
                        reason = served.exchange.outcome.reason or ""
                        self._count(choice.endpoint, FailedAttempt(error, "endpoint", reason))
                    raise
                lease.has_failed = result.failed is not None
                return result
        finally:
            if times.leased_at is None:  # it waited in vain
                times.load_wait_seconds = lease.load_wait_seconds

    def _count(self, endpoint: Endpoint, failed: FailedAttempt) -> None:
        """Counts what is certain after one attempt. A 5xx counts only if another endpoint can serve the call."""
        if failed.blame == "endpoint":
            if self._upstreams.fleet.failed(endpoint):
                log.warning("endpoint %s is ejected after failures in a row: %s", endpoint.address, failed.reason)
            self._upstreams.probe_soon(endpoint)
        elif failed.blame == "missing":
            self._upstreams.fleet.mark_missing(endpoint, self._pool.model)
            self._upstreams.probe_soon(endpoint)

    async def _again(self, first: Endpoint, failed: FailedAttempt) -> Answer | None:
        """Makes the second attempt if another endpoint and the budget allow it; else raises the first one's error."""
        fleet, model = self._upstreams.fleet, self._pool.model
        if failed.may_repeat_here and not self._pool.endpoints_with(self._avoid):
            self._avoid -= {first}
        is_free = await self._is_gone(first, failed)
        self._pool = fleet.pool(model)  # the fleet may have forgotten the old one, and would not serve its queue
        retry = Retry() if is_free else fleet.budget.take()
        if retry is None:
            raise self._error(failed)
        with retry:
            try:
                second = await self._attempt(retry)
            except (NoEndpoint, ModelMissing):
                raise self._error(failed) from None
        if second.failed is not None:
            if "endpoint" in (failed.blame, second.failed.blame):
                await self._await_departure(first, second.endpoint)
            if self._pass_over(first):
                return await self._again(second.endpoint, second.failed)
            if self._pass_over(second.endpoint):
                return await self._again(first, failed)
            if failed.blame == second.failed.blame == "model":  # two endpoints fail on it: the call is at fault
                second.failed.error.should_retry = False
            raise self._error(second.failed)
        fleet.succeeded(second.endpoint, model)
        if failed.blame == "model" and fleet.failed_model(first, model):
            log.warning("model %s is ejected on %s: %s", model, first.address, failed.reason)
        return second.answer

    def _pass_over(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint failed the call as it left, as a deleted pod does: that says nothing about the call.

        Checked after two failures: often the first endpoint is known to leave only then.
        """
        if not endpoint.is_deleted or not self._passes_left:
            return False
        self._passes_left -= 1
        return True

    async def _await_departure(self, *endpoints: Endpoint) -> None:
        """Waits a moment until discovery says that one of them is deleted. Only Kubernetes says so when it happens.

        It may also say that both are not ready, as their containers crashed: then it is over.
        """
        are_pods = all(endpoint.pod for endpoint in endpoints)
        if not (are_pods and self._passes_left and self._pool.endpoints_with(self._avoid)):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(DEPARTURE_SECONDS):
                while not any(endpoint.is_deleted for endpoint in endpoints):
                    if all(endpoint.is_draining for endpoint in endpoints):
                        return
                    await self._upstreams.fleet.departed.wait()

    async def _is_gone(self, endpoint: Endpoint, failed: FailedAttempt) -> bool:
        """Whether an endpoint that cut a call is leaving or refuses connections: then a retry adds no load to it."""
        if failed.blame != "endpoint":
            return False
        if endpoint.is_draining or endpoint.is_reachable is False:
            return True
        was_cut = failed.error.error_code == "upstream_disconnected"
        return was_cut and not await self._upstreams.client.accepts(
            endpoint.address, self._served.entry.timeouts.connect
        )

    def _error(self, failed: FailedAttempt) -> GatewayError:
        self._served.exchange.outcome.reason = failed.reason
        if isinstance(failed.error, ModelMissing) and self._pool.endpoints_with():
            # Another endpoint does hold the model: only this attempt failed.
            return BackendUnavailable(failed.error.message, code="model_missing")
        return failed.error


def _end_for_others(cancel_scope: CancelScope) -> None:
    cancel_scope.end(others_first())
