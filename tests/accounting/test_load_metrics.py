"""What a scrape says of loads: those that began and ended here, those under way, and what was learned from them."""

import random

from tests.balancing.worlds import Clock

from ai_gateway.accounting.fleet_metrics import fleet_metrics
from ai_gateway.accounting.load_metrics import LoadMetrics
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.resident import HeldModel, Resident
from ai_gateway.balancing.ticket import Ticket
from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.config.loading import parse
from ai_gateway.telemetry import names
from ai_gateway.telemetry.meanings import METRICS
from ai_gateway.telemetry.series import Distribution
from ai_gateway.wire.address import Address

CONFIG = parse(b"models: {best: {ollama: llama3}, other: {ollama: phi4}}")
MODEL, OTHER = "llama3:latest", "phi4:latest"


class World:
    """One endpoint that holds two models and has none loaded; loads are ordered, and the test says how they end."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.fleet = Fleet(self.clock, random.Random(1))
        self.current = CurrentConfig(CONFIG)
        for _ in self.fleet.configure(self.current.now.catalog.balancing):
            pass
        (self.endpoint,), _ = self.fleet.apply([Address("a")])
        self.fleet.saw_up(self.endpoint, "0.33.0")
        held = {name: HeldModel(name, f"sha256:{name}", 1, 0) for name in (MODEL, OTHER)}
        self.fleet.saw_models(self.endpoint, held)
        self.fleet.saw_residents(self.endpoint, ())
        self.metrics = LoadMetrics(self.fleet, self.current)
        self.ordered: list[Load] = []
        self.fleet.loads.order = self.ordered.append

    def wait(self) -> None:
        """A call comes for a model that is loaded nowhere, and the gateway decides."""
        pool = self.fleet.pool(MODEL)
        assert pool.ask() is None
        pool.wait(Ticket(frozenset(), lambda: None))
        self.fleet.decide()

    def samples(self) -> dict[tuple[str, ...], float]:
        """Every number by name and labels; of a histogram its sum."""
        now = self.clock()
        found = [*self.metrics.samples(), *fleet_metrics(self.fleet, self.current.now.catalog, now)]
        for sample in found:
            assert len(sample.labels) == len(METRICS[sample.name].labels), sample.name
        return {
            (sample.name, *sample.labels): sample.value.total
            if isinstance(sample.value, Distribution)
            else sample.value
            for sample in found
        }


def test_a_load_is_counted_when_it_begins_and_when_it_ends() -> None:
    """Under the catalog's id of the model; its time is learned."""
    world = World()
    world.wait()
    (load,) = world.ordered
    during = world.samples()
    assert during[names.LOADS, "best", "free"] == 1
    assert during[names.LOADS_UNDER_WAY, "loading"] == 1
    world.clock.now += 12.0
    world.fleet.loads.loaded(load)
    after = world.samples()
    assert after[names.LOAD_SECONDS, "best", "loaded"] == 12.0
    assert after[names.LOADS_UNDER_WAY, "loading"] == 0
    assert after[names.LEARNED_LOAD, "best"] == 12.0
    assert (names.LEARNED_LOAD, "other") not in after


def test_a_failed_load_is_shown_until_the_endpoint_is_tried_again() -> None:
    """Of the model that failed alone."""
    world = World()
    world.wait()
    world.clock.now += 3.0
    world.fleet.loads.loaded(world.ordered[0], "no memory")
    found = world.samples()
    assert found[names.LOAD_SECONDS, "best", "failed"] == 3.0
    assert (found[names.LOAD_FAILING, "best"], found[names.LOAD_FAILING, "other"]) == (1, 0)


def test_a_load_on_an_endpoint_that_goes_away_is_dropped() -> None:
    world = World()
    world.wait()
    world.fleet.apply([])
    assert world.samples()[names.LOAD_SECONDS, "best", "dropped"] == 0.0


def test_a_load_that_makes_another_model_go_is_counted_as_such() -> None:
    """The only way to see that models take turns."""
    world = World()
    world.fleet.loads.starve_seconds = 20.0
    loaded = (Resident(OTHER, f"sha256:{OTHER}"), Resident("x", "x"), Resident("y", "y"))
    world.fleet.saw_residents(world.endpoint, loaded)
    world.clock.now += 100.0
    world.fleet.saw_residents(world.endpoint, loaded)
    world.wait()
    found = world.samples()
    assert found[names.LOADS, "best", "made"] == 1
    assert found[names.LOADS_UNDER_WAY, "unloading"] == 1


def test_who_waits_for_a_load_is_told_by_its_age() -> None:
    """Zero as soon as the model is loaded, whoever still waits for a slot."""
    world = World()
    world.wait()
    world.clock.now += 7.0
    assert world.samples()[names.COLD_WAIT, "best"] == 7.0
    world.fleet.loads.loaded(world.ordered[0])
    assert world.samples()[names.COLD_WAIT, "best"] == 0.0


def test_one_gateway_says_that_it_decides() -> None:
    world = World()
    assert world.samples()[names.LOADS_DECIDED,] == 1
    world.fleet.peers.leader = "another"
    assert world.samples()[names.LOADS_DECIDED,] == 0


def test_a_model_that_is_loaded_nowhere_has_no_slots_and_is_saturated_if_somebody_waits() -> None:
    """An autoscaler sees that calls wait; nobody is alarmed because of a model that is not in use."""
    world = World()
    idle = world.samples()
    assert (idle[names.SLOTS, "best", "free"], idle[names.SATURATION, "best"]) == (0, 0.0)
    world.wait()
    assert world.samples()[names.SATURATION, "best"] == 1.0
    world.fleet.loads.loaded(world.ordered[0])
    found = world.samples()
    assert (found[names.SLOTS, "best", "used"], found[names.SLOTS, "other", "used"]) == (1, 0)  # the call has it
