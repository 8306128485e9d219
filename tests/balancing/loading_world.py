"""A fleet whose loads are carried out by hand."""

from tests.balancing.worlds import Waiting, World, addresses

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.resident import HeldModel, Resident
from ai_gateway.balancing.settings import FleetSettings, PoolSettings

A, B, C, D = "a:latest", "b:latest", "c:latest", "d:latest"
SIZE = 100  # bytes of each in memory


def settings(**pools: PoolSettings) -> FleetSettings:
    """Those of the models a to d."""
    by_name = {f"{name}:latest": pool for name, pool in pools.items()}
    return FleetSettings(pools=by_name, others=PoolSettings(1, None, 100))


class Loading(World):
    """Endpoints with the models a to d on disk, room for one of them, and nothing loaded. `orders` has what is due."""

    def __init__(self, count: int = 1, rooms: int | None = 1, given: FleetSettings | None = None) -> None:
        super().__init__(0, settings=given or settings())
        listed = addresses(count)
        self.fleet.apply(listed, {address: Pod("p", "ai", max_loaded_models=rooms) for address in listed})
        self.orders: list[Load] = []
        self.fleet.loads.order = self.orders.append
        for endpoint in self.endpoints:
            self.fleet.saw_up(endpoint, "0.33.0")
            self.fleet.saw_models(endpoint, {name: HeldModel(name, name, SIZE, 0) for name in (A, B, C, D)})
            self.see(endpoint)

    def see(self, endpoint: Endpoint, *names: str, digests: dict[str, str] | None = None) -> None:
        """A poll told of these loaded models."""
        loaded = tuple(Resident(name, (digests or {}).get(name, name), SIZE, SIZE) for name in names)
        self.fleet.saw_residents(endpoint, loaded, self.clock.now)

    def want(self, model: str, *avoid: Endpoint) -> Waiting:
        """A call that waits for a model, and a round of decisions."""
        waiting = self.queue(*avoid, pool=self.fleet.pool(model))
        self.fleet.decide()
        return waiting

    def run(self, model: str) -> tuple[Pool, Endpoint]:
        """A call for a model that is loaded."""
        pool = self.fleet.pool(model)
        choice = pool.ask()
        assert choice is not None
        return pool, choice.endpoint

    def next(self) -> Load:
        """The next order, which must be there."""
        return self.orders.pop(0)

    def load(self) -> Load:
        """The next order is a load, and Ollama does it."""
        load = self.next()
        assert load.phase == "loading"
        self.clock.now += 5
        self.fleet.loads.loaded(load)
        return load

    def unload(self, *left: str) -> Load:
        """The next order is an unload, and Ollama does it; these are still loaded then."""
        load = self.next()
        assert load.phase == "unloading"
        self.fleet.loads.unloaded(load)
        self.clock.now += 1
        self.see(load.endpoint, *left)
        return load

    def pass_time(self, seconds: float) -> None:
        """And then a round."""
        self.clock.now += seconds
        self.fleet.tick()
