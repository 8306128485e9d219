"""Endpoints with disks and memory, a registry, and gateways that bring models there. A breach of a promise raises."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from tests.balancing.worlds import Clock

from ai_gateway.balancing.choice import Choice
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.reporting import Presence
from ai_gateway.balancing.resident import HeldModel, Resident, Weights
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.loading import parse
from ai_gateway.reconcile.plans import Plan
from ai_gateway.reconcile.reconciler import Reconciler
from ai_gateway.reconcile.steps import Copy, Create, Delete, LetGo, Pull, Step
from ai_gateway.wire.address import Address
from ai_gateway.wire.made_names import digest_part, key_of, read_made

KEY = key_of("default", "coder")


class Disk:
    """One Ollama: what it has by name, and which runners it has loaded, by the name that loaded them."""

    def __init__(self, address: Address, rooms: int) -> None:
        self.address = address
        self.rooms = rooms
        self.names: dict[str, str] = {}
        self.loaded: dict[str, str] = {}
        self.pulls = 0


class Rollouts:
    """The world. `kinds` has the weights of each digest."""

    def __init__(self, count: int = 3, rooms: int = 3) -> None:
        self.clock = Clock()
        self.registry: dict[str, str] = {}
        self.kinds: dict[str, Weights] = {}
        self.disks = {address: Disk(address, rooms) for address in (Address(f"pod-{n}") for n in range(count))}
        self.pods = {address: Pod(address.host, "default", max_loaded_models=rooms) for address in self.disks}
        self.config = "models: {}"
        self.gateways: list[Gateway] = []
        self.broken: set[str] = set()  # digests that no Ollama can load
        self.failing: set[str] = set()  # kinds of steps
        self.log: list[str] = []
        self.untold: set[str] = set()  # digests of which no gateway learns yet what they are made of

    def publish(self, tag: str, content: str) -> None:
        """The registry has this content under a tag from now on."""
        self.registry[tag] = self.digest(content)

    def digest(self, content: str) -> str:
        """Of a content that nobody shapes."""
        digest = (content.encode().hex() * 9)[:64]
        self.kinds[digest] = Weights(content)
        return digest

    def edit(self, model: str | None, more: str = "") -> None:
        """All gateways get another config at once: of the one model `coder`, or of none."""
        self.write(f"models: {{{'' if model is None else f'coder: {model}'}}}\n{more}")

    def write(self, config: str) -> None:
        """All gateways get another config at once."""
        self.config = config
        for gateway in self.gateways:
            gateway.configure()

    def add_gateway(self) -> "Gateway":
        """One that decides, whoever else does."""
        gateway = Gateway(self)
        self.gateways.append(gateway)
        gateway.configure()
        return gateway

    def rest(self, seconds: int = 60, step: int = 1) -> None:
        """Everything goes well for so long."""
        for _ in range(0, seconds, step):
            self.clock.now += step
            for gateway in self.gateways:
                gateway.round()

    def served(self) -> set[str]:
        """The names that calls would get, over all endpoints and gateways."""
        return {one.residency.name_for(KEY) for gateway in self.gateways for one in gateway.fleet.endpoints.values()}

    # -- what Ollama does, and what must never be asked of it

    def do(self, step: Step, gateway: "Gateway") -> None:
        """Carries out a step; breaches raise."""
        disk = self.disks[step.endpoint.address]
        self.log.append(f"{type(step).__name__} {getattr(step, 'name', '')} on {disk.address.host}")
        if type(step).__name__ in self.failing:
            raise LookupError("permission denied")
        if isinstance(step, Pull):
            self._pull(disk, step)
        elif isinstance(step, Copy):
            assert step.name not in disk.names, "a name that exists is written to"
            disk.names[step.name] = disk.names[step.source]
        elif isinstance(step, Create):
            assert step.name not in disk.names, "a name that exists is written to"
            assert step.base in disk.names, "Ollama would pull the base"
            self._create(disk, step)
        elif isinstance(step, LetGo):
            self._let_go(disk, step, gateway)
        elif isinstance(step, Delete):
            self._delete(disk, step)

    def _pull(self, disk: Disk, step: Pull) -> None:
        present = disk.names.get(step.tag)
        named = {made.digest for name in disk.names if (made := read_made(name)) is not None and made.key == step.key}
        assert present is None or digest_part(present) in named, "a pull takes content away that has no other name"
        disk.pulls += 1
        if step.tag not in self.registry:
            raise LookupError("file does not exist")
        disk.names[step.tag] = self.registry[step.tag]

    def _create(self, disk: Disk, step: Create) -> None:
        base = disk.names[step.base]
        digest = (f"{step.parameters}{step.system}{base}".encode().hex()[::-1] * 3)[:64]
        context = step.parameters.get("num_ctx") or self.kinds[base].num_ctx
        self.kinds[digest] = Weights(self.kinds[base].blob, context)
        disk.names[step.name] = digest

    def _let_go(self, disk: Disk, step: LetGo, gateway: "Gateway") -> None:
        wanted = gateway.wanted(step.endpoint)
        kind = self.kinds[disk.names[step.name]]
        gone = [name for name, digest in disk.loaded.items() if self.kinds[digest].blob == kind.blob]
        if wanted is not None:
            assert any(self._runs(disk, name, wanted) for name in disk.loaded), (
                "the old one goes before the new one is there"
            )
        for name in gone:
            del disk.loaded[name]

    def _runs(self, disk: Disk, loaded: str, name: str) -> bool:
        return name in disk.names and self.kinds[disk.loaded[loaded]] == self.kinds[disk.names[name]]

    def _delete(self, disk: Disk, step: Delete) -> None:
        made = read_made(step.name)
        if made is not None:
            assert step.name not in disk.loaded, "a name is deleted that is loaded"
        elif step.digest is not None:
            assert disk.names.get(step.name) == step.digest, "a tag is deleted that somebody has moved"
        del disk.names[step.name]

    def load(self, load: Load) -> None:
        """Ollama loads a runner; a name that is not there fails, and what does not fit makes room by itself."""
        disk = self.disks[load.endpoint.address]
        digest = disk.names[load.model]
        blob = self.kinds[digest].blob
        for name in [name for name, one in disk.loaded.items() if self.kinds[one].blob == blob]:
            del disk.loaded[name]
        if len(disk.loaded) >= disk.rooms:
            del disk.loaded[next(iter(disk.loaded))]
        disk.loaded[load.model] = digest

    def unload(self, load: Load) -> None:
        """The victim goes."""
        assert load.victim is not None
        disk = self.disks[load.endpoint.address]
        digest = disk.names.get(load.victim.name or "")
        for name in [name for name, one in disk.loaded.items() if one == digest or name == load.victim.name]:
            del disk.loaded[name]


class Gateway:
    """One gateway: its view of the endpoints, its calls, and what it has begun. A restart loses all of it."""

    def __init__(self, world: Rollouts) -> None:
        self.world = world
        self.told: Callable[[Plan, Rollout], None] = lambda _plan, _rollout: None
        self.blind: set[Address] = set()  # endpoints whose disks it cannot see
        self.restart()

    def restart(self) -> None:
        """Killed, and started with nothing in memory but the config."""
        world = self.world
        self.fleet = Fleet(world.clock, random.Random(1))
        self.fleet.apply(world.disks, world.pods)
        self.news: list[tuple[str, bool]] = []
        self.reconciler = Reconciler(self.fleet, world.clock, self._tell)
        self.steps: list[Step] = []
        self.loads: list[Load] = []
        self.calls: list[Choice] = []
        self.reconciler.order = self.steps.append
        self.reconciler.cut = self._cut
        self.fleet.loads.order = self.loads.append
        for endpoint in self.fleet.endpoints.values():
            self.fleet.saw_up(endpoint, "0.24.0")
        self.configure()
        self.look()

    def _tell(self, plan: Plan, rollout: Rollout) -> None:
        self.news.append((rollout.state, rollout.is_waited_for))
        self.told(plan, rollout)

    def configure(self) -> None:
        """Takes the config of the world."""
        config = parse(self.world.config.encode())
        catalog = Catalog(config)
        for _ in self.fleet.configure(catalog.balancing):
            pass
        self.reconciler.configure(catalog.plans, config.reconcile, catalog.owner)

    def look(self, *endpoints: Endpoint) -> None:
        """Polls."""
        for endpoint in endpoints or tuple(self.fleet.endpoints.values()):
            if endpoint.address in self.blind:
                continue
            disk, kinds = self.world.disks[endpoint.address], self.world.kinds
            held = {name: HeldModel(name, digest, 10, 0) for name, digest in disk.names.items()}
            self.fleet.saw_models(endpoint, held)
            for digest in {*disk.names.values(), *disk.loaded.values()}:
                if digest not in self.fleet.weights and digest not in self.world.untold:
                    self.fleet.saw_weights(digest, kinds[digest])
            residents = tuple(
                Resident(name, digest, 10, context_length=kinds[digest].num_ctx or 2048)
                for name, digest in disk.loaded.items()
            )
            self.fleet.saw_residents(endpoint, residents, self.world.clock.now)

    def wanted(self, endpoint: Endpoint) -> str | None:
        """The name that the config asks for there, if it is made."""
        residency = endpoint.residency
        if KEY not in self.reconciler.plans:
            return None
        found = residency.served.wanted(KEY, residency.digest_of)
        return None if found is None else found.name

    def hears(self, other: "Gateway") -> None:
        """Of another gateway that leads."""
        report = msgspec.structs.replace(other.fleet.peers.make_report(), uid="a", leads=True, may_lead=True)
        both = frozenset("ab")
        present = Presence(own="b", is_known=True, count=2, ready=both, fresh=frozenset("a"))
        self.fleet.peers.take_reports({"a": (report, self.world.clock.now)}, present)
        self.reconciler.decide()

    def leads(self) -> None:
        """The other gateway is gone."""
        present = Presence(own="b", is_known=True, count=1, ready=frozenset("b"))
        self.fleet.peers.take_reports({}, present)

    def decide(self) -> None:
        """Looks at all endpoints, and decides."""
        self.look()
        self.fleet.tick()
        self.reconciler.decide()

    def round(self) -> None:
        """A second in which all goes well."""
        self.decide()
        while self.steps:
            self.carry_out(self.steps.pop(0))
        while self.loads:
            self.carry_out_load(self.loads.pop(0))

    def carry_out(self, step: Step, *, is_lost_before: bool = False, is_lost_after: bool = False) -> None:
        """As upstream/installing does, up to the moment when the gateway may be killed."""
        self.look(step.endpoint)
        if not self.reconciler.is_due(step):
            self.reconciler.dropped(step)
            return
        if is_lost_before:
            self.restart()
            return
        reason = None
        try:
            self.world.do(step, self)
        except LookupError as failure:
            reason = str(failure)
        if is_lost_after:
            self.restart()
            return
        self.look(step.endpoint)
        self.reconciler.ended(step, reason)

    def carry_out_load(self, load: Load) -> None:
        """As upstream/loading does."""
        if load.is_over:
            return
        disk = self.world.disks[load.endpoint.address]
        if load.phase == "unloading":
            self.world.log.append(f"Unload {load.victim and load.victim.name} on {disk.address.host}")
            assert not load.endpoint.busy_on(load.victim.key if load.victim else ""), "calls run on what is unloaded"
            self.world.unload(load)
            self.fleet.loads.unloaded(load)
            return
        self.world.log.append(f"Load {load.model} on {disk.address.host}")
        if load.model not in disk.names:
            self.fleet.loads.loaded(load, "not found")
            return
        if disk.names[load.model] in self.world.broken:
            self.fleet.loads.loaded(load, "the file is broken")
            return
        self.world.load(load)
        self.fleet.loads.loaded(load)

    def call(self) -> Choice | None:
        """Begins a call, if a slot is free; it must go to a name that the endpoint has told of."""
        try:
            choice = self.fleet.pool(KEY).ask()
        except Exception:
            return None
        if choice is not None:
            residency = choice.endpoint.residency
            assert choice.name in (residency.held or {}) or choice.name in (residency.names or ()), "an unlisted name"
            self.calls.append(choice)
        return choice

    def end_call(self, index: int = 0) -> None:
        """Ends one."""
        choice = self.calls.pop(index)
        self.fleet.pool(KEY).give_back(choice.endpoint, choice.name)

    def _cut(self, step: Step) -> None:
        if step in self.steps:
            self.steps.remove(step)
        self.reconciler.dropped(step)


def names(disk: Disk) -> Mapping[str, Any]:
    """What is on a disk."""
    return disk.names
