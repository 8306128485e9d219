"""Where there is no room, copies of a model that has more slots than it needs follow what is asked for."""

import random

import pytest
from tests.balancing.worlds import Clock, addresses, held

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.resident import Resident
from ai_gateway.balancing.settings import FleetSettings, PoolSettings

BUSY, OTHER, QUIET = "busy:latest", "other:latest", "quiet:latest"


class Four:
    """Four endpoints with one place and two slots each, and what each has loaded."""

    def __init__(self, *loaded: str) -> None:
        self.clock = Clock()
        self.fleet = Fleet(self.clock, random.Random(1), FleetSettings(others=PoolSettings(2, None, 10)))
        self.loads: list[Load] = []
        self.fleet.loads.order = self.loads.append
        pods = {a: Pod(f"{a}", "default", num_parallel=2, max_loaded_models=1) for a in addresses(4)}
        self.fleet.apply(list(pods), pods)
        for endpoint, name in zip(self.fleet.endpoints.values(), loaded or (BUSY, *[QUIET] * 3), strict=True):
            self.fleet.saw_up(endpoint, "0.33.0")
            self.fleet.saw_models(endpoint, held(BUSY, OTHER, QUIET))
            self.fleet.saw_residents(endpoint, (Resident(name, f"sha256:{name}"),), self.clock.now)

    def call(self, model: str, seconds: float) -> None:
        """A call that takes so long."""
        pool = self.fleet.pool(model)
        choice = pool.ask()
        assert choice is not None
        self.clock.now += seconds
        pool.note_call(seconds)
        pool.give_back(choice.endpoint)


@pytest.mark.parametrize(("calls", "victims"), [(40, [QUIET]), (5, [])])
def test_a_spare_copy_makes_room_for_a_model_that_is_busy_for_minutes(calls: int, victims: list[str]) -> None:
    """Nobody has to wait first: the quiet model keeps two copies, and the busy one gets a second."""
    four = Four()
    four.call(QUIET, 1.0)
    for _ in range(calls):
        four.call(BUSY, 5.0)
    four.fleet.pool(BUSY).ask()
    four.fleet.decide()
    four.fleet.decide()
    assert [load.victim and load.victim.name for load in four.loads] == victims


def test_what_is_the_only_copy_after_one_step_is_no_spare_in_the_next() -> None:
    """Two busy models in one round: one gets a copy of the quiet one, which keeps the other."""
    four = Four(BUSY, OTHER, QUIET, QUIET)
    four.call(QUIET, 1.0)
    for _ in range(40):
        four.call(BUSY, 5.0)
        four.call(OTHER, 5.0)
    for model in (BUSY, OTHER):
        four.fleet.pool(model).ask()
    four.fleet.decide()
    assert [load.victim and load.victim.name for load in four.loads] == [QUIET]


def test_the_only_copy_stays() -> None:
    """A model with one copy is no spare, however few calls it gets."""
    four = Four()
    for endpoint in list(four.fleet.endpoints.values())[2:]:
        four.fleet.saw_down(endpoint, "gone")
    for _ in range(40):
        four.call(BUSY, 5.0)
    four.fleet.pool(BUSY).ask()
    four.fleet.decide()
    assert four.loads == []
