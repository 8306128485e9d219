"""What a scrape says of the fleet, and that it changes nothing there."""

import random

from ai_gateway.accounting.fleet_metrics import fleet_metrics
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import HeldModel
from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.loading import parse
from ai_gateway.telemetry import names
from ai_gateway.wire.address import Address

DISCOVERING = Catalog(parse(b"catalog: {discover: true}\nmodels: {llama3: }\nbalancing: {slots: 3}"))


def fleet_with(*models: str) -> Fleet:
    """One endpoint that is up and holds these, under the config."""
    fleet = Fleet(lambda: 0.0, random.Random(1))
    for _ in fleet.configure(DISCOVERING.balancing):
        pass
    (endpoint,), _ = fleet.apply([Address("a")])
    fleet.saw_up(endpoint, "0.24.0")
    fleet.saw_models(endpoint, {name: HeldModel(name, f"sha256:{name}", 1, 0) for name in models})
    fleet.saw_residents(endpoint, None)  # what is loaded is not known
    return fleet


def test_a_scrape_leaves_the_pools_as_they_are() -> None:
    """It makes none, and keeps none alive that no call comes for."""
    fleet = fleet_with("llama3:latest", "qwen3:8b", "phi4:latest")
    pool = fleet.pool("qwen3:8b")
    before = (pool.settings, pool.used_at, repr(pool))
    for now in (0.0, 50.0, 500.0):
        assert list(fleet_metrics(fleet, DISCOVERING, now))
    assert list(fleet.pools()) == [pool]
    assert (pool.settings, pool.used_at, repr(pool)) == before


def test_a_model_that_nobody_asked_for_has_its_slots() -> None:
    """Those that its pool would have: an autoscaler sees the same before the first call and after it."""
    fleet = fleet_with("qwen3:8b")
    found = {one.labels: one.value for one in fleet_metrics(fleet, DISCOVERING, 0.0) if one.name == names.SLOTS}
    assert (found["qwen3:8b", "free"], found["qwen3:8b", "used"]) == (3, 0)
    fleet.pool("qwen3:8b").ask()
    found = {one.labels: one.value for one in fleet_metrics(fleet, DISCOVERING, 0.0) if one.name == names.SLOTS}
    assert (found["qwen3:8b", "free"], found["qwen3:8b", "used"]) == (2, 1)
