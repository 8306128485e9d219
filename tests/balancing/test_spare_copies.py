"""Where there is no room, copies of a model that has more slots than it needs follow what is asked for."""

import random

import pytest
from tests.balancing.worlds import Clock, addresses, held

from ai_gateway.balancing.endpoint import Pod
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.resident import Resident
from ai_gateway.balancing.settings import FleetSettings, PoolSettings

BUSY, QUIET = "busy:latest", "quiet:latest"


class Four:
    """Four endpoints with one place and two slots each: the first has the busy model, the others the quiet one."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.fleet = Fleet(self.clock, random.Random(1), FleetSettings(others=PoolSettings(2, None, 10)))
        self.loads: list[Load] = []
        self.fleet.loads.order = self.loads.append
        pods = {a: Pod(f"{a}", "default", num_parallel=2, max_loaded_models=1) for a in addresses(4)}
        self.fleet.apply(list(pods), pods)
        for number, endpoint in enumerate(self.fleet.endpoints.values()):
            self.fleet.saw_up(endpoint, "0.33.0")
            self.fleet.saw_models(endpoint, held(BUSY, QUIET))
            name = QUIET if number else BUSY
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
