"""What comes next on one endpoint, so that it holds what config.yml says, and what may leave it.

Everything is read from what the endpoint lists, but for what Memory has: that may be lost with the gateway.
"""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.residency import Residency
from ai_gateway.config.reconcile import Reconcile
from ai_gateway.reconcile.plans import Plan, Plans
from ai_gateway.reconcile.steps import Blocked, Bring, Copy, Create, Delete, LetGo, Next, Pull, Step
from ai_gateway.reconcile.targets import matches
from ai_gateway.wire.made_names import Made, digest_part, is_of, read_made, spec_hash

CUT_SECONDS: Final = 30.0  # so long after it was cut a pull may turn out to have been done: disks are listed each ten


class Memory(msgspec.Struct):
    """What the gateway did, by endpoint. Changed by `ended` and by NextSteps; moments are monotonic seconds."""

    pulled: dict[tuple[Endpoint, str], str | None] = {}  # digests of tags that it pulled where none was
    pulled_at: dict[tuple[Endpoint, str], tuple[float, Plan | None]] = {}  # by key; for the plan of that time
    cut_at: dict[tuple[Endpoint, str], float] = {}  # pulls of tags that were nowhere, which may have been done already
    moved_at: dict[str, float] = {}  # by key: when a tag that is followed was last found to have moved
    let_go: dict[Endpoint, set[str]] = {}  # runners that were told to leave
    unnamed_since: dict[tuple[Endpoint, str], float] = {}  # names that no config asks for

    def ended(self, step: Step, plan: Plan | None, now: float) -> None:
        """A step of a plan went well."""
        if isinstance(step, Pull):
            self.pulled_at[step.endpoint, step.key] = now, plan
            residency = step.endpoint.residency
            if plan is not None and step.is_refresh and residency.served.wanted(step.key, residency.digest_of) is None:
                self.moved_at[step.key] = now
            if step.is_new:
                self.pulled[step.endpoint, step.tag] = step.endpoint.residency.digest_of(step.tag)
        elif isinstance(step, LetGo):
            self.let_go.setdefault(step.endpoint, set()).add(step.runner)
        elif isinstance(step, Delete):
            self.pulled.pop((step.endpoint, step.name), None)

    def cut(self, pull: Pull, now: float) -> None:
        """A pull that goes on is ended before its end has been heard of."""
        if pull.is_new:
            self.cut_at[pull.endpoint, pull.tag] = now

    def keep(self, there: Container[Endpoint]) -> None:
        """Forgets all other endpoints."""
        for known in (self.pulled, self.pulled_at, self.unnamed_since, self.cut_at):
            drop(known, there)
        for endpoint in [endpoint for endpoint in self.let_go if endpoint not in there]:
            del self.let_go[endpoint]


class NextSteps:
    """The rules for one endpoint. Changed by `configure`."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._clock = clock
        self.memory = Memory()
        self._plans = Plans()
        self.settings = Reconcile()
        self.owner = ""

    def configure(self, plans: Plans, settings: Reconcile, owner: str) -> None:
        """Takes a config."""
        self._plans, self.settings, self.owner = plans, settings, owner
        for key in [key for key in self.memory.moved_at if key not in self.plans]:
            del self.memory.moved_at[key]

    @property
    def plans(self) -> Mapping[str, Plan]:
        """By key."""
        return self._plans.by_key

    def next(self, plan: Plan, endpoint: Endpoint) -> Next:
        """What comes next for a model on an endpoint."""
        residency, key, tag = endpoint.residency, plan.shaped.key, plan.shaped.tag
        made = residency.served.made.get(key, [])
        digest, number = residency.digest_of(tag), made[0].number + 1 if made else 1
        is_due = plan.pull == "always" and self._is_old(endpoint, plan)
        serving = residency.name_for(key)
        if not made and serving != key:
            # What is served by a tag gets a name first, since what follows may move the tag, or be cold.
            may_move = (endpoint, tag) in self.memory.pulled or self._is_followed(tag)
            if serving == tag and not (plan.is_derived or may_move):
                return None
            return _copy(endpoint, key, serving, Made(key, spec_hash(serving, {}, None), number, ""))
        wanted = residency.served.wanted(key, residency.digest_of)
        if wanted is None:
            return self._make(plan, endpoint, made, number)
        if is_due and not self._is_served(tag, endpoint):
            is_refresh = not self._is_behind(endpoint, key)
            return self._pull(plan, endpoint, is_new=digest is None, is_refresh=is_refresh)
        load = self._fleet.loads.of.get(endpoint)
        is_coming = load is not None and load.is_asked and load.model == wanted.name
        if is_coming or (serving != wanted.name and residency.is_resident(key)):
            return Bring(endpoint, key, wanted.name)
        return None

    def _make(self, plan: Plan, endpoint: Endpoint, made: Sequence[Made], number: int) -> Step | Blocked:
        key, tag, plain = plan.shaped.key, plan.shaped.tag, plan.shaped.base
        digest = endpoint.residency.digest_of(tag)
        base = next((one for one in made if one.spec == plain), None)
        if base is not None and digest is not None and base.digest != digest_part(digest):
            base = None
        if plan.is_derived and base is not None:
            name = Made(key, plan.shaped.spec, number, base.digest).name
            return Create(
                endpoint=endpoint, key=key, base=base.name, name=name, parameters=plan.parameters, system=plan.system
            )
        if digest is not None:
            return _copy(endpoint, key, tag, Made(key, plain, number, ""))
        return Blocked() if plan.pull == "never" else self._pull(plan, endpoint, is_new=True)

    def _pull(self, plan: Plan, endpoint: Endpoint, *, is_new: bool, is_refresh: bool = False) -> Pull:
        return Pull(
            endpoint=endpoint,
            key=plan.shaped.key,
            tag=plan.shaped.tag,
            name=plan.name,
            is_new=is_new,
            is_refresh=is_refresh,
            is_insecure=plan.name.partition("/")[0] in self.settings.insecure_registries,
        )

    def _is_old(self, endpoint: Endpoint, plan: Plan) -> bool:
        """Whether it is to be pulled again, as what has changed is at once."""
        at, its_plan = self.memory.pulled_at.get((endpoint, plan.shaped.key), (-math.inf, None))
        is_over = self._clock() - at >= self.settings.pull_interval
        return its_plan != plan or is_over or self._is_behind(endpoint, plan.shaped.key)

    def _is_behind(self, endpoint: Endpoint, key: str) -> bool:
        """Whether the tag has moved since it was pulled there, as another endpoint has shown."""
        at, _ = self.memory.pulled_at.get((endpoint, key), (-math.inf, None))
        return at < self.memory.moved_at.get(key, -math.inf)

    def _is_followed(self, tag: str) -> bool:
        """Whether a pull may move the tag, for whichever model of the config."""
        return any(plan.pull == "always" for plan in self._plans.by_tag.get(tag, ()))

    def _is_served(self, tag: str, endpoint: Endpoint) -> bool:
        """Whether calls of some model get the tag itself: it must not move before that model has a name."""
        name_for = endpoint.residency.name_for
        return any(name_for(plan.shaped.key) == tag for plan in self._plans.by_tag.get(tag, ()))

    def leftovers(self, endpoint: Endpoint) -> Iterator[Step]:
        """What may leave an endpoint: runners of replaced versions and removed models, tags that were pulled for them,
        names that no config has asked for since long."""
        yield from self._runners(endpoint)
        yield from self._tags(endpoint)
        yield from self._unnamed(endpoint)

    def _runners(self, endpoint: Endpoint) -> Iterator[LetGo]:
        residency = endpoint.residency
        told = self.memory.let_go.setdefault(endpoint, set())
        told &= (residency.loaded or {}).keys()
        for loaded in (residency.loaded or {}).values():
            key = self._fleet.naming.pool_of(loaded.entry.name)
            plan, name = self.plans.get(key), residency.name_of(loaded)
            if name is None or loaded.key in told or residency.is_called(loaded.key):
                continue
            wanted = None if plan is None else residency.served.wanted(key, residency.digest_of)
            is_removed = plan is None and _is_of(loaded.entry.name, self.owner)
            if is_removed or (wanted is not None and residency.is_resident(wanted.name)):
                yield LetGo(endpoint=endpoint, key=key, name=name, runner=loaded.key)

    def _tags(self, endpoint: Endpoint) -> Iterator[Delete]:
        residency = endpoint.residency
        for (one, tag), at in list(self.memory.cut_at.items()):
            digest = residency.digest_of(tag) if one is endpoint else None
            if digest is not None or self._clock() - at > CUT_SECONDS:
                del self.memory.cut_at[one, tag]
            if digest is not None:
                self.memory.pulled[one, tag] = digest
        for (one, tag), digest in self.memory.pulled.items():
            if one is not endpoint or tag in self._fleet.naming.plain or tag in residency.served.names.values():
                continue
            if residency.digest_of(tag) != digest or digest is None:
                continue
            plans = [plan for plan in self._plans.by_tag.get(tag, ()) if matches(plan, endpoint)]
            if all(self._is_made(plan, endpoint) for plan in plans):  # without a plan nobody wants it any more
                yield Delete(endpoint=endpoint, key=plans[0].shaped.key if plans else tag, name=tag, digest=digest)

    def _is_made(self, plan: Plan, endpoint: Endpoint) -> bool:
        residency = endpoint.residency
        return residency.served.wanted(plan.shaped.key, residency.digest_of) is not None

    def _unnamed(self, endpoint: Endpoint) -> Iterator[Delete]:
        """Names of this owner that no config names: all but those that are loaded, wanted, or the newest other."""
        residency, now = endpoint.residency, self._clock()
        made = [name for name in endpoint.held or () if _is_of(name, self.owner)]
        kept = {name for one in self.sharing(endpoint) for name in self._kept(one.residency)} if made else ()
        for name in made:
            place = (endpoint, name)
            if name in kept or residency.names is None:
                self.memory.unnamed_since.pop(place, None)
            elif now - self.memory.unnamed_since.setdefault(place, now) >= self.settings.prune:
                yield Delete(endpoint=endpoint, key=self._fleet.naming.pool_of(name), name=name, digest=None)

    def _kept(self, residency: Residency) -> Iterator[str]:
        yield from residency.names or ()
        yield from residency.served.kept(residency.digest_of)

    def sharing(self, endpoint: Endpoint) -> Iterable[Endpoint]:
        """Those with the same disk, itself included."""
        return self._fleet.endpoints.values() if self.settings.shared_store else (endpoint,)

    def is_writer(self, endpoint: Endpoint) -> bool:
        """Whether the disk that an endpoint has is written through it: through one of those that share it."""
        if not self.settings.shared_store:
            return True
        able = (one for one in self._fleet.endpoints.values() if one.is_usable and one.held is not None)
        return endpoint is min(able, key=attrgetter("number"), default=None)


def _is_of(name: str, owner: str) -> bool:
    made = read_made(name)
    return made is not None and is_of(made, owner)


def drop(known: dict[Any, Any], there: Container[Endpoint]) -> None:
    """Takes places on other endpoints out of a dict."""
    for place in [place for place in known if place[0] not in there]:
        del known[place]


def _copy(endpoint: Endpoint, key: str, source: str, made: Made) -> Copy:
    digest = endpoint.residency.digest_of(source)
    assert digest is not None, "it is listed"
    return Copy(
        endpoint=endpoint, key=key, source=source, digest=digest, name=made._replace(digest=digest_part(digest)).name
    )
