"""What this gateway tells the others, and what it makes of what they tell: slots that they use, and who decides loads.

Reports come one to four times a second and may be late, lost or contradicting. Nothing here refuses a call: without
reports each gateway keeps to its share, and two gateways that decide on loads for some seconds do no harm.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from heapq import nlargest
from itertools import islice
from typing import Final, Protocol

from ai_gateway.balancing import passed_over, victims
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.naming import Naming
from ai_gateway.balancing.passed_over import PassedOver
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.report import MOST_CALLERS, MOST_ROLLOUTS, Report
from ai_gateway.balancing.report import Load as ReportedLoad
from ai_gateway.balancing.reporting import Presence
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.wire.address import Address

ALONE_DWELL_SECONDS: Final = 60.0  # without reports an idle runner may be another gateway's
ALONE_STARVE_SECONDS: Final = 30.0

_TO_COME: Final = Rollout("pulling")  # of a model that the gateway that writes has not read of yet
ALONE: Final = Presence(own="", is_known=True, count=1)


class Surroundings(passed_over.Surroundings, Protocol):
    """What it reads and writes of the fleet."""

    naming: Naming

    @property
    def endpoints(self) -> dict[Address, Endpoint]:
        """All endpoints."""

    def pool(self, model: str) -> Pool:
        """The pool of a model; made where it is missing."""

    def peek(self, model: str) -> Pool:
        """The same, but not kept."""

    def changed(self) -> None:
        """Slots or residents may be others than before."""


class Peers:
    """The other gateways as the scheduler knows them; a Reporting. Changed by `take_reports` alone.

    `may_lead` says whether this gateway is fit to decide on loads for all: not while it leaves or has no config.
    """

    def __init__(self, around: Surroundings, clock: Callable[[], float]) -> None:
        self._around = around
        self._clock = clock
        self._present = ALONE
        self._fresh: dict[str, Report] = {}
        self._tokens: dict[str, tuple[str, dict[str, int]]] = {}  # by uid: the key of the hashes, and the last counts
        self._passed_over = PassedOver(around, clock)
        self._key = secrets.token_hex(16)
        self.may_lead: Callable[[], bool] = lambda: True
        self.look: Callable[[Endpoint], None] = lambda _endpoint: None  # asks for its loaded models soon
        self.is_foreign = False  # others use the endpoints whom no report shows
        self.config: Callable[[], str] = str  # the hash of this gateway's config
        self.own_rollouts: Callable[[], Mapping[str, Rollout]] = dict  # those that this gateway leads
        self.open_rollouts: Callable[[], Mapping[str, Rollout]] = dict  # of them, those that are not done
        self.everywhere: set[str] = set()  # see catalog.reconciler; whoever leads goes on with it
        self.leader: str | None = ""  # the uid of who decides on loads; this one's where it is alone

    @property
    def leads(self) -> bool:
        """Whether this gateway decides on loads."""
        return self.leader == self._present.own

    @property
    def is_known(self) -> bool:
        """Whether it is known which gateways there are."""
        return self._present.is_known

    @property
    def is_unheard(self) -> bool:
        """Whether others may be there and none of them reports."""
        return self.is_foreign or not self.is_known or (self._others > 0 and not self._fresh)

    @property
    def _others(self) -> int:
        return len(self._present.ready - {self._present.own})

    def own_slots(self, slots: int) -> int:
        """How many of a runner's slots this gateway may use, besides those that reports show as taken."""
        others = self._others
        if self.is_unheard:
            unseen = self.is_foreign or not self.is_known
            share = -(-slots // (others + 1 + unseen))
            return min(slots, share + 1)
        silent = others - len(self._fresh.keys() & self._present.ready)
        return max(1, slots - slots * max(0, silent) // (others + 1))

    @property
    def is_busy(self) -> bool:
        """See Reporting."""
        return any(
            pool.in_flight or pool.waiting or pool.peer_in_flight or pool.peer_waiting for pool in self._around.pools()
        )

    # -- what it tells

    def make_report(self) -> Report:
        """See Reporting."""
        now = self._clock()
        in_flight = {
            endpoint.address.authority: dict(endpoint.in_flight)
            for endpoint in self._around.endpoints.values()
            if endpoint.in_flight
        }
        waiting = {
            pool.model: (pool.waiting, max(now - ticket.came_at for ticket in pool.queue.firsts()))
            for pool in self._around.pools()
            if pool.waiting
        }
        return Report(
            uid="",
            leads=self.leads,
            may_lead=self.may_lead(),
            in_flight=in_flight,
            waiting=waiting,
            rates={
                pool.model: round(rate, 3)
                for pool in self._around.pools()
                if (rate := pool.arrivals.per_second(now)) >= 0.001
            },
            tokens=dict(self._served()),
            key=self._key,
            loads=tuple(_reported(load, now) for load in self._around.loads.of.values()),
            config=self.config(),
            rollouts=dict(islice(self.open_rollouts().items(), MOST_ROLLOUTS)),
            everywhere=tuple(self.everywhere) if self.leads else (),
        )

    def rollout_of(self, key: str) -> Rollout | None:
        """How far a model is, as the gateway tells that writes; None: nothing is to be told."""
        own = self.own_rollouts()
        if own or self.leads:
            return own.get(key)
        report = self._fresh.get(self.leader or "")
        if report is not None and report.config != self.config() and key in self._around.naming.by_key:
            return report.rollouts.get(key, _TO_COME)
        return self.led_rollouts().get(key)

    def led_rollouts(self) -> Mapping[str, Rollout]:
        """Those of which another gateway tells, the one that writes."""
        report = self._fresh.get(self.leader or "")
        return {} if report is None else report.rollouts

    def _served(self) -> Iterator[tuple[str, int]]:
        """The tokens of the callers with most, under hashes: no gateway shows the name of a caller."""
        counts = (
            (tokens, caller, pool.model) for pool in self._around.pools() for caller, tokens in pool.queue.own.items()
        )
        for tokens, caller, model in nlargest(MOST_CALLERS, counts):
            yield _hashed(self._key, caller, model), int(tokens)

    # -- what it hears

    def take_reports(self, reports: Mapping[str, tuple[Report, float]], present: Presence) -> None:
        """See Reporting."""
        had_others = self._others > 0 or bool(self._fresh)
        self._present = present
        before, self._fresh = self._fresh, {uid: reports[uid][0] for uid in present.fresh if uid in reports}
        if before or self._fresh:
            self._count_calls()
            self._note_loads()
        for uid, report in self._fresh.items():
            self._count_tokens(uid, report)
        self._tokens = {uid: seen for uid, seen in self._tokens.items() if uid in self._fresh}
        self._choose_leader()
        leading = self._fresh.get(self.leader or "")
        if leading is not None:
            self.everywhere.update(leading.everywhere)
        unheard = self.is_unheard
        self._around.loads.dwell_seconds = ALONE_DWELL_SECONDS if unheard else victims.DWELL_SECONDS
        self._around.loads.least_starve_seconds = ALONE_STARVE_SECONDS if unheard else 0.0
        if had_others or self._others or self._fresh:
            self._around.changed()

    def _count_calls(self) -> None:
        """Notes what others run and have waiting. Unknown endpoints and models are dropped, counts are clamped."""
        now = self._clock()
        endpoints = {endpoint.address.authority: endpoint for endpoint in self._around.endpoints.values()}
        self._make_pools()
        pools = {pool.model: pool for pool in self._around.pools()}
        for endpoint in endpoints.values():
            endpoint.peers, endpoint.total_peers = {}, 0
        for pool in pools.values():
            pool.peer_waiting, pool.peer_in_flight, pool.peer_oldest_seconds = 0, 0, 0.0
            pool.peer_rate = 0.0
        for report in self._fresh.values():
            for authority, runners in report.in_flight.items():
                if authority in endpoints:
                    self._count_runners(endpoints[authority], runners, pools, now)
            for model, rate in report.rates.items():
                if (asked := pools.get(self._around.naming.pool_of(model))) is not None:
                    asked.peer_rate += rate
            for model, (count, seconds) in report.waiting.items():
                if (asked := pools.get(self._around.naming.pool_of(model))) is not None:
                    _count_waiting(asked, count, seconds)

    def _make_pools(self) -> None:
        """A model that only others are asked for has a pool here, too: it counts in the decision on loads."""
        for report in self._fresh.values():
            for model in map(self._around.naming.pool_of, report.waiting.keys() | report.rates.keys()):
                if any(endpoint.holds(model) for endpoint in self._around.endpoints.values()):
                    self._around.pool(model)

    def _count_runners(
        self, endpoint: Endpoint, runners: Mapping[str, int], pools: Mapping[str, Pool], now: float
    ) -> None:
        for model, count in runners.items():
            if not endpoint.holds(model):
                continue
            pool_name = self._around.naming.pool_of(model)
            pool = pools.get(pool_name) or self._around.peek(pool_name)
            taken = min(count, pool.slots_of(endpoint))
            endpoint.peers[model] = endpoint.peers.get(model, 0) + taken
            endpoint.total_peers += taken
            endpoint.ended_at[model] = now  # it is in use
            pool.peer_in_flight += taken

    def _note_loads(self) -> None:
        """Notes where another gateway loads or reserves: this one sends nothing there, and begins no load."""
        own = self._around.loads
        endpoints = {endpoint.address.authority: endpoint for endpoint in self._around.endpoints.values()}
        for held in own.reported:
            if held not in own.of:
                held.reserved = held.residency.loading = None
        before, own.reported = own.reported, {}
        for load in self._passed_over.hear(self._fresh):
            endpoint = endpoints.get(load.endpoint)
            if endpoint is not None and endpoint.holds(load.model) and endpoint not in own.of:
                own.reported[endpoint] = self._taken(load, endpoint)
        for endpoint in before.keys() - own.reported.keys():
            self.look(endpoint)  # its load has ended

    def _taken(self, load: ReportedLoad, endpoint: Endpoint) -> Load:
        now = self._clock()
        key = endpoint.residency.key_of(load.model)
        if load.phase == "loading":
            endpoint.residency.loading = key
        else:
            endpoint.reserved = load.runner
        pool = self._around.naming.pool_of(load.model)
        return Load(endpoint, pool, load.model, key, None, None, 0.0, load.phase, now - load.age, now - load.age)

    def _count_tokens(self, uid: str, report: Report) -> None:
        """Charges callers that wait here with what another gateway has served them since its last report."""
        key, before = self._tokens.get(uid, ("", {}))
        self._tokens[uid] = (report.key, report.tokens)
        if key != report.key or not report.tokens:
            return
        for pool in self._around.pools():
            for caller in pool.queue.callers():
                hashed = _hashed(report.key, caller, pool.model)
                more = report.tokens.get(hashed, 0) - before.get(hashed, 0)
                if more > 0:
                    pool.queue.charge(caller, more, is_own=False)

    def _choose_leader(self) -> None:
        """The first by uid of those that report and are fit; each gateway finds the same one, give or take a second."""
        own = self._present.own
        self._passed_over.judge(self._fresh, None if self.leads else self.leader)
        fit = {uid for uid, report in self._fresh.items() if report.may_lead and uid not in self._present.terminating}
        if self.may_lead() and own not in self._present.terminating:
            fit.add(own)
        leader = min(fit - self._passed_over.until.keys(), default=None)
        if leader is not None and leader in self._fresh:
            self._key = self._fresh[leader].key or self._key
        self.leader = leader


def _count_waiting(pool: Pool, count: int, seconds: float) -> None:
    """Adds what another gateway tells, as far as it can be: more calls may not wait, and none for longer."""
    pool.peer_waiting += min(count, pool.settings.max_waiting)
    pool.peer_oldest_seconds = max(pool.peer_oldest_seconds, min(seconds, pool.settings.load_seconds))


def _reported(load: Load, now: float) -> ReportedLoad:
    """`runner` is the one that must go, as long as it is there."""
    runner = load.key if load.victim is None or load.phase == "loading" else load.victim.key
    return ReportedLoad(load.endpoint.address.authority, runner, load.model, load.phase, now - load.began_at)


def _hashed(key: str, caller: str, model: str) -> str:
    return blake2b(
        f"{caller}\n{model}".encode("utf-8", "surrogatepass"), digest_size=8, key=key.encode()[:64]
    ).hexdigest()
