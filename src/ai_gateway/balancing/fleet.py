"""All endpoints, and a pool per model over them. Polls, discovery and calls write their results here."""

import asyncio
import random
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Final

from ai_gateway.balancing import pools
from ai_gateway.balancing.budget import RetryBudget
from ai_gateway.balancing.ejections import may_eject, may_eject_model, readmit_surplus
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.foreign import CHECK as FOREIGN
from ai_gateway.balancing.foreign import TOLD_SECONDS, used_by_others
from ai_gateway.balancing.known_weights import KnownWeights
from ai_gateway.balancing.learned import Answered
from ai_gateway.balancing.naming import Naming
from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.policy import BUSY_COST
from ai_gateway.balancing.residency import KEEP_AT_LOAD_SECONDS, KEEP_SECONDS
from ai_gateway.balancing.resident import HeldModel, Resident, Weights
from ai_gateway.balancing.roster import Roster
from ai_gateway.balancing.scheduler import Scheduler
from ai_gateway.balancing.settings import DEFAULTS, FleetSettings
from ai_gateway.balancing.ticket import Claim
from ai_gateway.wire.address import Address
from ai_gateway.wire.made_names import is_ours

POOL_SECONDS: Final = pools.POOL_SECONDS


class Fleet(Scheduler):
    """Endpoints by address. Changed by discovery (apply), by polls (saw_*), by a new config (configure) and by calls
    (the rest), never awaiting.

    `clock` gives monotonic seconds; the random generator breaks ties and spreads ejections.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random, settings: FleetSettings = DEFAULTS) -> None:
        self._weights = KnownWeights()
        self.listed = asyncio.Event()  # set by discovery's first list
        self.departed = asyncio.Event()  # wakes who waits when endpoints leave, and is never seen set
        self.budget = RetryBudget(settings.retry_share)
        self.list_soon: Callable[[Endpoint], None] = lambda _endpoint: None  # asks for what is on its disk
        super().__init__(Roster(rng, self._weights.by_digest, Naming()), clock, rng, settings)

    def __repr__(self) -> str:
        return f"<Fleet of {len(self.endpoints)}, {len(self.leaving)} leaving>"

    def configure(self, settings: FleetSettings) -> Iterator[None]:
        """See Scheduler; the retry budget is new, too."""
        self.budget.share = settings.retry_share
        yield from super().configure(settings)

    def apply(
        self,
        addresses: Iterable[Address],
        pods: Mapping[Address, Pod] | None = None,
        unready: Container[Address] = frozenset(),
    ) -> tuple[list[Endpoint], list[Endpoint]]:
        """Applies a whole list from discovery, with its facts about pods; returns the new and the gone endpoints.

        See Roster.
        """
        self.listed.set()
        new, gone = self._roster.apply(addresses, unready, self.loads.drop)
        self._roster.know(pods or {})
        readmit_surplus(self.endpoints.values())
        for endpoint in gone:
            self._affinity.forget(endpoint)
        if gone:
            digests = (digest for endpoint in gone for digest in endpoint.residency.digests())
            self._weights.forget(digests, self._everywhere())
            self._forget_pools()
            self.departed.set()
            self.departed.clear()
        self.changed()
        return new, gone

    def saw_up(self, endpoint: Endpoint, version: str | None) -> bool:
        """Notes an answered probe; True if the endpoint is back. An ejected one stays ejected for its time."""
        was_usable = endpoint.is_usable
        was_up = endpoint.is_reachable is True
        endpoint.is_reachable = True
        endpoint.reason = None
        endpoint.seen_at = self._clock()
        endpoint.version = version
        # If the endpoint was up before, a probe does not reset its failures: cut calls must add up.
        if endpoint.health.is_on_probation(self._clock()) or not (was_up or endpoint.health.is_ejected):
            endpoint.health.readmit()
        is_back = endpoint.is_usable and not (was_usable and was_up)
        if is_back:
            self.changed()
        else:
            self.bind_waiting()  # each time: no other event shows that a model's ejection is over
        return is_back

    def saw_down(self, endpoint: Endpoint, reason: str) -> bool:
        """Notes a failed probe; True if the endpoint was up. It is down until it answers a probe."""
        was_usable = endpoint.is_usable
        endpoint.reason = reason
        self._fail(endpoint)
        endpoint.is_reachable = False
        endpoint.residency.forget()
        endpoint.residency.is_due = True
        self._affinity.forget(endpoint)
        self.loads.drop(endpoint)
        endpoint.check_reasons.clear()
        self.changed()
        return was_usable

    def note_check(self, endpoint: Endpoint, path: str, reason: str | None) -> bool:
        """Notes why the poll of a path failed or was incomplete, or None; True if that is new."""
        before = endpoint.check_reasons.pop(path, None)
        if reason is not None:
            endpoint.check_reasons[path] = reason
        return reason != before

    def saw_models(self, endpoint: Endpoint, held: dict[str, HeldModel]) -> None:
        """Notes the models on the endpoint's disk."""
        if endpoint.held == held and not (endpoint.missing or endpoint.residency.unlisted):
            return
        before = endpoint.held or {}
        digests = endpoint.residency.digests()
        endpoint.residency.saw_models(held)
        endpoint.missing.clear()
        if before.keys() - held.keys():
            endpoint.forget_models()
            self._forget_pools()
        self._weights.forget(digests - endpoint.residency.digests(), self._everywhere())
        self.changed()

    @property
    def weights(self) -> Mapping[str, Weights]:
        """What manifests stand for, by digest, of all endpoints."""
        return self._weights.by_digest

    def runner_of(self, model: str) -> str:
        """The key of the runner that a model has where it is held; its own name if it is held nowhere."""
        holder = next((one for one in self.endpoints.values() if one.holds(model)), None)
        return model if holder is None else holder.residency.key_of(model)

    def unknown_weights(self, endpoint: Endpoint) -> list[HeldModel]:
        """A model for each digest on the endpoint's disk that stands for unknown weights, while there is room."""
        return self._weights.unknown_on(endpoint)

    def saw_weights(self, digest: str, weights: Weights) -> None:
        """Notes what a manifest's digest stands for, wherever it is."""
        self._weights.note(digest, weights, self.endpoints.values())
        self.loads.renamed(digest, weights.blob or digest)
        self.changed()

    def saw_residents(
        self,
        endpoint: Endpoint,
        residents: tuple[Resident, ...] | None,
        asked_at: float | None = None,
        clock_ahead: float | None = None,
    ) -> None:
        """Notes the endpoint's loaded models, as they were some time after `asked_at` (monotonic seconds; None: now).

        None: no list came in time. `clock_ahead` is by how much its Unix seconds were ahead of our monotonic ones, None
        if that is not known. Loads and unloads are counted from one list to the next; the first counts as none.
        """
        now = self._clock()
        endpoint.residency.is_due = False
        if residents is None:
            is_loading = endpoint in self.loads.of or endpoint in self.loads.reported
            keep_seconds = KEEP_AT_LOAD_SECONDS if is_loading else KEEP_SECONDS
            endpoint.residency.late(now, keep_seconds)
            if endpoint.residency.loaded is None:
                self.changed()
            return
        asked_at = now if asked_at is None else asked_at
        digests, before, since = endpoint.residency.digests(), endpoint.residency.loaded, endpoint.residency.asked_at
        is_new = endpoint.residency.saw(residents, asked_at, clock_ahead)
        if before and since is not None and not self.peers.is_foreign:
            self._note_foreign(endpoint, used_by_others(endpoint, before, since, self._pools.all()), asked_at)
        self._weights.forget(digests - endpoint.residency.digests(), self._everywhere())
        self.learned.note_sizes(endpoint.residency.loaded or {})
        endpoint.count_changes()
        self.loads.saw(endpoint, asked_at)
        if any(map(is_ours, endpoint.residency.unlisted)):
            self.list_soon(endpoint)
        if is_new:
            self.changed()

    def _note_foreign(self, endpoint: Endpoint, models: list[str], now: float) -> None:
        if models:
            endpoint.foreign_at = now
            reason = f"somebody calls {', '.join(models)} there past this gateway and its reports (balancing.foreign)"
            self.note_check(endpoint, FOREIGN, reason)
        elif endpoint.foreign_at is not None and now - endpoint.foreign_at > TOLD_SECONDS:
            endpoint.foreign_at = None
            self.note_check(endpoint, FOREIGN, None)

    def mark_missing(self, endpoint: Endpoint, model: str) -> None:
        """Notes a 404 for a model: it counts as missing there until the next list of models."""
        endpoint.missing.add(endpoint.residency.name_for(model))
        self.changed()

    def failed(self, endpoint: Endpoint) -> bool:
        """Notes that the endpoint was not reached, or cut a call before its head; True if that ejects it."""
        endpoint.total_failures += 1
        is_ejected = self._fail(endpoint)
        if is_ejected:
            self.changed()  # if nobody knows what the others have loaded, they serve whatever waits
        return is_ejected

    def failed_model(self, endpoint: Endpoint, model: str) -> bool:
        """Notes a 5xx for a call that another endpoint could serve; True if that ejects the model there."""
        endpoint.total_failures += 1
        may = may_eject_model(endpoint, model, self.endpoints.values())
        return endpoint.model_health(model).fail(self._clock(), may)

    def succeeded(self, endpoint: Endpoint, model: str) -> bool:
        """Notes an answered call; True if that readmits the model there."""
        if endpoint.health.ejected_until is None:  # only a probe readmits the whole endpoint
            endpoint.health.succeed()
        is_readmitted = endpoint.succeed(model)
        if is_readmitted:
            self.changed()
        return is_readmitted

    def note_answer(self, model: str, claim: Claim, answered: Answered) -> None:
        """Settles the estimate that a call was charged, and learns how fast its endpoint is."""
        pool = self._pools.find(model)
        if pool is not None:
            pool.queue.charge(claim.caller, answered.tokens - claim.tokens)
        endpoint = self.endpoints.get(answered.address)
        if endpoint is not None:
            others = endpoint.total_in_flight + endpoint.total_peers
            endpoint.speed = self.learned.speed_after(endpoint.speed, model, answered, 1.0 + BUSY_COST * others)

    def _fail(self, endpoint: Endpoint) -> bool:
        ejected = endpoint.health.fail(self._clock(), may_eject(endpoint, self.endpoints.values()))
        if ejected:
            self.loads.drop(endpoint)
        return ejected
