"""Takes each load through its steps, from the decision to its end."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from ai_gateway.balancing import decision
from ai_gateway.balancing.decision import Decision
from ai_gateway.balancing.due import Due, Hopeless, Site, State
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.evictions import Evictions
from ai_gateway.balancing.load import (
    LOAD_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    UNLOAD_SECONDS,
    Backoff,
    Load,
    Step,
    Victim,
    next_backoff,
)
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.refusals import load_failed
from ai_gateway.balancing.settings import STARVE_SECONDS
from ai_gateway.balancing.victims import DWELL_SECONDS


class Surroundings(decision.Surroundings, Protocol):
    """What loads need of the fleet."""

    def changed(self) -> None:
        """Residents or reservations have changed."""


class Loads:
    """The loads under way, and the decision on further ones. Changed by its driver, which carries out `order`ed steps.

    `order` gets each load whose phase has become `unloading` or `loading`: it is carried out, and then `unloaded` or
    `loaded` is called. `note` is told of each load that begins or ends.
    """

    def __init__(self, around: Surroundings, clock: Callable[[], float]) -> None:
        self._around = around
        self._clock = clock
        self.of: dict[Endpoint, Load] = {}
        self.backoffs: dict[tuple[Endpoint, str], Backoff] = {}
        self.starve_seconds = STARVE_SECONDS
        self.least_starve_seconds = 0.0
        self.dwell_seconds = DWELL_SECONDS
        self.reported: dict[Endpoint, Load] = {}  # of the other gateways
        self.order: Callable[[Load], None] = lambda _load: None
        self.note: Callable[[Load, Step], None] = lambda _load, _step: None
        self.total_begun = 0
        self._evictions = Evictions()

    def under_way(self) -> list[Load]:
        """All loads that are known, of whatever gateway."""
        return [*self.of.values(), *self.reported.values()]

    # -- the decision

    def decide(self) -> None:
        """One round: begins the loads that are due."""
        starve_seconds = max(self.starve_seconds, self.least_starve_seconds)
        state = State(self._clock(), self.of, self.backoffs, starve_seconds, self.dwell_seconds, self.reported)
        for step in Decision(self._around, state).steps():
            if isinstance(step, Due):
                self._begin(step)
            else:
                self._refuse(step)

    def _refuse(self, hopeless: Hopeless) -> None:
        now = self._clock()
        for pool in hopeless.need.pools:
            pool.refuse_all(hopeless.need.copies, partial(load_failed, pool.title, hopeless.backoff, now))

    # -- the steps of a load

    def _begin(self, due: Due) -> None:
        need, endpoint = due.need, due.site.endpoint
        pool = need.pool_on(endpoint)
        assert pool is not None, "a site holds the model"
        need.loading.append(self._start(pool, due.site, due.victim))

    def bring(self, pool: Pool, site: Site, victim: Victim | None) -> None:
        """Begins a load that no call waits for: of a new version, where the endpoint has none under way."""
        assert site.endpoint not in self.of, "one load at a time"
        self._start(pool, site, victim, is_asked=True)

    def give_up(self, load: Load) -> None:
        """The config does not ask for a load any more: the room that is being made for it is not needed."""
        if load.is_asked and load.phase == "reserved" and not load.is_over:
            self._end(load, "dropped")
            self._around.changed()

    def _start(self, pool: Pool, site: Site, victim: Victim | None, *, is_asked: bool = False) -> Load:
        now, settings = self._clock(), pool.settings
        load = Load(
            endpoint=site.endpoint,
            pool=pool.model,
            model=site.model,
            key=site.key,
            victim=victim,
            keep_alive=settings.keep_alive,
            limit_seconds=max(LOAD_SECONDS, settings.load_seconds),
            phase="loading" if victim is None else "reserved",
            began_at=now,
            phase_at=now,
            is_asked=is_asked,
        )
        self.total_begun += 1
        self.note(load, "begun")
        self.of[site.endpoint] = load
        if victim is None:
            self._to_loading(load)
            return load
        site.endpoint.reserved = victim.key
        self._around.changed()
        self.freed(site.endpoint)
        return load

    def freed(self, endpoint: Endpoint) -> None:
        """A call has ended here: a load may have waited for that."""
        load = self.of.get(endpoint)
        if load is None or load.phase != "reserved" or load.victim is None:
            return
        if endpoint.busy_on(load.victim.key):
            return
        if load.victim.name is None:
            self._to_loading(load)
            return
        load.phase, load.phase_at = "unloading", self._clock()
        self.order(load)

    def unloaded(self, load: Load, reason: str | None = None) -> None:
        """Ollama has answered the unload; with a reason it has failed."""
        if load.is_over:
            return
        if reason is not None:
            self._fail(load, reason)
            return
        load.answered_at = self._clock()

    def saw(self, endpoint: Endpoint, asked_at: float) -> None:
        """A new list of residents: an unload may be over, or a runner evicted."""
        self._evictions.saw(endpoint, asked_at, self._clock())
        load = self.of.get(endpoint)
        if load is None or load.phase != "unloading" or load.answered_at is None or asked_at < load.answered_at:
            return
        assert load.victim is not None
        if load.victim.key not in (endpoint.residency.loaded or {}):
            self._to_loading(load)

    def _to_loading(self, load: Load) -> None:
        load.phase, load.phase_at = "loading", self._clock()
        load.endpoint.reserved = None
        load.endpoint.residency.loading = load.key
        self._evictions.began(load)
        self._around.changed()
        self.order(load)

    def loaded(self, load: Load, reason: str | None = None) -> None:
        """Ollama has answered the load; with a reason it has failed."""
        if load.is_over:
            return
        if reason is not None:
            self._fail(load, reason)
            return
        now = self._clock()
        self._around.learned.load_seconds.note(load.key, now - load.phase_at)
        self.backoffs.pop((load.endpoint, load.key), None)
        self._evictions.ended(load, now)
        self._end(load, "loaded")
        load.endpoint.residency.confirm(load.model, now)
        self._around.changed()

    def tick(self) -> None:
        """Gives up unloads that take too long, and room that nobody waits for any more. Called each second."""
        now = self._clock()
        for load in list(self.of.values()):
            if load.phase == "reserved" and not self._is_wanted(load):
                self._end(load, "dropped")
                self._around.changed()
                continue
            self.freed(load.endpoint)  # calls of other gateways end without a word
            if load.phase == "unloading" and now - load.phase_at > UNLOAD_SECONDS:
                self._fail(
                    load, f"the unload of {load.victim and load.victim.name} took longer than {UNLOAD_SECONDS:g} s"
                )
        for endpoint in self._around.everyone():
            if endpoint.full_bytes is not None and endpoint.full_until <= now:
                endpoint.full_bytes = None
        for place in [place for place, one in self.backoffs.items() if one.until + LONGEST_BACKOFF_SECONDS < now]:
            del self.backoffs[place]

    def _is_wanted(self, load: Load) -> bool:
        """Whether calls still wait for it, here or elsewhere, or the config asks for it."""
        if load.is_asked:
            return True
        key_of = load.endpoint.residency.key_of
        return any(
            pool.waiting or pool.peer_waiting or pool.settings.resident
            for pool in self._around.pools()
            if key_of(pool.model) == load.key
        )

    def renamed(self, before: str, key: str) -> None:
        """A runner's key is another one now, since more is known of what it runs: it makes room all the same."""
        for load in self.of.values():
            if load.victim is not None and load.victim.key == before:
                load.victim = Victim(key, load.victim.name)
                if load.endpoint.reserved == before:
                    load.endpoint.reserved = key

    def drop(self, endpoint: Endpoint) -> None:
        """The endpoint is gone or down."""
        self._evictions.forget(endpoint)
        if endpoint.is_draining:
            self.backoffs = {place: backoff for place, backoff in self.backoffs.items() if place[0] is not endpoint}
        load = self.of.get(endpoint)
        if load is not None:
            self._end(load, "dropped")

    def _fail(self, load: Load, reason: str) -> None:
        self._evictions.forget(load.endpoint)
        place = (load.endpoint, load.key)
        self.backoffs[place] = next_backoff(self.backoffs.get(place), self._clock(), reason)
        self._end(load, "failed")
        self._around.changed()

    def _end(self, load: Load, step: Step) -> None:
        load.is_over = True
        self.note(load, step)
        self.of.pop(load.endpoint, None)
        load.endpoint.reserved = None
        load.endpoint.residency.loading = None
