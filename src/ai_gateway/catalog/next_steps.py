"""What comes next on one endpoint, so that it holds what config.yml says, and what may leave it.

Everything is read from what the endpoint lists, but for what Memory has: that may be lost with the gateway.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.residency import Residency
from ai_gateway.catalog.plans import Plan
from ai_gateway.catalog.steps import Bring, Copy, Create, Delete, LetGo, Pull, Step
from ai_gateway.config.reconcile import Reconcile
from ai_gateway.wire.made_names import Made, digest_part, is_of, read_made, spec_hash


class Memory(msgspec.Struct):
    """What the gateway did, by endpoint. Changed by `ended` and by NextSteps; moments are monotonic seconds."""

    pulled: dict[tuple[Endpoint, str], str | None] = {}  # digests of tags that it pulled where none was
    pulled_at: dict[tuple[Endpoint, str], float] = {}
    let_go: dict[Endpoint, set[str]] = {}  # runners that were told to leave
    unnamed_since: dict[tuple[Endpoint, str], float] = {}  # names that no config asks for

    def ended(self, step: Step, now: float) -> None:
        """A step went well."""
        if isinstance(step, Pull):
            self.pulled_at[step.endpoint, step.key] = now
            if step.is_new:
                self.pulled[step.endpoint, step.tag] = step.endpoint.residency.digest_of(step.tag)
        elif isinstance(step, LetGo):
            self.let_go.setdefault(step.endpoint, set()).add(step.runner)
        elif isinstance(step, Delete):
            self.pulled.pop((step.endpoint, step.name), None)

    def keep(self, there: Container[Endpoint]) -> None:
        """Forgets all other endpoints."""
        for known in (self.pulled, self.pulled_at, self.unnamed_since):
            drop(known, there)
        for endpoint in [endpoint for endpoint in self.let_go if endpoint not in there]:
            del self.let_go[endpoint]


class NextSteps:
    """The rules for one endpoint. Changed by `configure`."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._clock = clock
        self.memory = Memory()
        self.plans: Mapping[str, Plan] = {}
        self.settings = Reconcile()
        self.owner = ""

    def configure(self, plans: Mapping[str, Plan], settings: Reconcile, owner: str) -> None:
        """Takes a config. What has changed is pulled again, where it is always pulled."""
        changed = {key for key, plan in plans.items() if plan != self.plans.get(key)}
        for place in [place for place in self.memory.pulled_at if place[1] in changed]:
            del self.memory.pulled_at[place]
        self.plans, self.settings, self.owner = plans, settings, owner

    def next(self, plan: Plan, endpoint: Endpoint) -> Step | Bring | None:
        """What comes next for a model on an endpoint; None: it has what the config says."""
        residency, key, tag = endpoint.residency, plan.shaped.key, plan.shaped.tag
        made = residency.served.made.get(key, [])
        digest, number = residency.digest_of(tag), made[0].number + 1 if made else 1
        is_due = plan.pull == "always" and self._is_old(endpoint, key)
        serving = residency.name_for(key)
        if not made and serving != key:
            # What is served by a tag gets a name first, since what follows may move the tag, or be cold.
            is_ours = (endpoint, tag) in self.memory.pulled
            if serving == tag and not (plan.is_derived or is_due or is_ours):
                return None
            return _copy(endpoint, key, serving, Made(key, spec_hash(serving, {}, None), number, ""))
        wanted = residency.served.wanted(key, residency.digest_of)
        if wanted is None:
            return self._make(plan, endpoint, made, number)
        if is_due:
            return self._pull(plan, endpoint, is_new=digest is None, is_refresh=True)
        if serving != wanted.name and residency.is_resident(key):
            return Bring(endpoint, key, wanted.name)
        return None

    def _make(self, plan: Plan, endpoint: Endpoint, made: Sequence[Made], number: int) -> Step | None:
        key, tag, plain = plan.shaped.key, plan.shaped.tag, plan.plain_spec
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
        return None if plan.pull == "never" else self._pull(plan, endpoint, is_new=True)

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

    def _is_old(self, endpoint: Endpoint, key: str) -> bool:
        at = self.memory.pulled_at.get((endpoint, key))
        return at is None or self._clock() - at >= self.settings.pull_interval

    def leftovers(self, endpoint: Endpoint) -> Iterator[Step]:
        """What may leave an endpoint: the runner of a version that is replaced, a tag that was pulled for it, names
        that no config has asked for since long."""
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
            if plan is None or name is None or loaded.key in told or residency.is_called(loaded.key):
                continue
            wanted = residency.served.wanted(key, residency.digest_of)
            if wanted is not None and residency.is_resident(wanted.name):
                yield LetGo(endpoint=endpoint, key=key, name=name, runner=loaded.key)

    def _tags(self, endpoint: Endpoint) -> Iterator[Delete]:
        residency = endpoint.residency
        for (one, tag), digest in self.memory.pulled.items():
            if one is not endpoint or tag not in self._fleet.naming.bases:
                continue
            plans = [plan for plan in self.plans.values() if plan.shaped.tag == tag]
            if not plans or residency.digest_of(tag) != digest or digest is None:
                continue
            if all(self._is_made(plan, endpoint) for plan in plans):
                yield Delete(endpoint=endpoint, key=plans[0].shaped.key, name=tag, digest=digest)

    def _is_made(self, plan: Plan, endpoint: Endpoint) -> bool:
        residency = endpoint.residency
        return residency.served.wanted(plan.shaped.key, residency.digest_of) is not None

    def _unnamed(self, endpoint: Endpoint) -> Iterator[Delete]:
        """Names of this owner that no config names: all but those that are loaded, wanted, or the newest other."""
        residency, now = endpoint.residency, self._clock()
        kept = {name for one in self._sharing(endpoint) for name in self._kept(one.residency)}
        for name in [name for name in endpoint.held or () if _is_of(name, self.owner)]:
            place = (endpoint, name)
            if name in kept or residency.names is None:
                self.memory.unnamed_since.pop(place, None)
            elif now - self.memory.unnamed_since.setdefault(place, now) >= self.settings.prune:
                yield Delete(endpoint=endpoint, key=self._fleet.naming.pool_of(name), name=name, digest=None)

    def _kept(self, residency: Residency) -> Iterator[str]:
        yield from residency.names or ()
        for key, made in residency.served.made.items():
            wanted = residency.served.wanted(key, residency.digest_of)
            others = [one for one in made if one != wanted]
            yield from (one.name for one in ([wanted] if wanted else []) + others[:1])

    def _sharing(self, endpoint: Endpoint) -> Iterable[Endpoint]:
        """Those with the same disk, itself included."""
        return self._fleet.endpoints.values() if self.settings.shared_store else (endpoint,)

    def is_writer(self, endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> bool:
        """Whether the disk that an endpoint has is written through it: through one of those that share it."""
        return not self.settings.shared_store or endpoint is min(endpoints, key=attrgetter("number"))


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
