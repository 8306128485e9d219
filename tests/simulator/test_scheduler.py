"""Ollama's choices of what to load, to evict and to run, with a clock that the test moves."""

import math

import pytest

from ai_gateway.simulator.refusals import Busy
from ai_gateway.simulator.runner import LISTED_AFTER, LISTED_LOADED, Ticket
from ai_gateway.simulator.scheduler import Limits, Scheduler
from ai_gateway.simulator.settings import Settings


class World:
    """A scheduler whose clock stands still until `pass_` is called. Loads take 10 seconds."""

    def __init__(
        self, max_loaded: int = 2, max_queue: int = 512, memory_bytes: int = 0, listed_after: float = LISTED_LOADED
    ) -> None:
        self.now = 0.0
        limits = Limits(max_loaded, max_queue, 300.0, memory_bytes, listed_after)
        self.scheduler = Scheduler(limits, lambda: self.now)

    def ask(self, model: str, **changes: object) -> tuple[Ticket, list[Ticket]]:
        fields = {"slots": 1, "size_bytes": 10, "load_seconds": 10.0, "context_length": 4096}
        ticket = Ticket(name=model, weights=model, **(fields | changes))  # type: ignore[arg-type]
        return ticket, self.scheduler.ask(ticket)

    def pass_(self, seconds: float) -> list[Ticket]:
        self.now += seconds
        return self.scheduler.advance()

    def load(self, model: str, **changes: object) -> None:
        """Loads a model and lets its request end."""
        ticket, granted = self.ask(model, **changes)
        assert ticket in granted + self.pass_(10)
        self.scheduler.leave(ticket)

    @property
    def loaded(self) -> set[str]:
        return {runner.name for runner in self.scheduler.runners.values() if runner.is_loaded}


def test_a_request_runs_when_its_model_is_loaded_and_not_before() -> None:
    world = World()
    ticket, granted = world.ask("a")
    assert granted == []
    assert world.scheduler.next_deadline() == 10.0
    assert world.pass_(9.9) == []
    assert world.pass_(0.1) == [ticket]


def test_a_loading_model_is_not_listed_and_a_call_for_it_is_pending() -> None:
    world = World()
    first, _ = world.ask("a")
    world.pass_(9.9)
    assert world.scheduler.listed() == []
    second, _ = world.ask("a", slots=2)
    assert list(world.scheduler.pending) == [second]
    assert world.pass_(0.1) == [first]
    assert [runner.name for runner in world.scheduler.listed()] == ["a"]
    assert not world.scheduler.pending


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        (Settings(), LISTED_LOADED),
        (Settings(dialect="old"), LISTED_AFTER),
        (Settings(version="0.29.1"), LISTED_AFTER),
        (Settings(dialect="old", version="0.30.0"), LISTED_LOADED),
        (Settings(version="main"), LISTED_LOADED),
    ],
)
def test_the_reported_version_decides_when_a_loading_model_is_listed(settings: Settings, share: float) -> None:
    assert settings.listed_after == share


def test_an_old_one_lists_a_loading_model_after_six_tenths_with_an_expiry_that_moves() -> None:
    world = World(listed_after=LISTED_AFTER)
    world.ask("a")
    world.pass_(5.9)
    assert world.scheduler.listed() == []
    world.pass_(0.1)
    (runner,) = world.scheduler.listed()
    assert runner.shown_expiry(world.now) == 306.0
    world.pass_(1.0)
    assert runner.shown_expiry(world.now) == 307.0


def test_the_expiry_stands_still_once_the_first_request_has_ended() -> None:
    world = World()
    world.load("a")
    (runner,) = world.scheduler.listed()
    world.ask("a")
    world.pass_(20)
    assert runner.shown_expiry(world.now) == 310.0


def test_one_model_loads_at_a_time_while_loaded_ones_go_on() -> None:
    world = World(max_loaded=3)
    world.load("a")
    world.ask("b")
    late, _ = world.ask("c")
    served, granted = world.ask("a")
    assert granted == [served]
    assert late in world.scheduler.pending
    world.pass_(10)
    assert world.loaded == {"a", "b"}
    assert world.scheduler.loading is not None
    assert world.scheduler.loading.name == "c"


def test_a_loaded_model_takes_requests_without_limit_first_come_first_served() -> None:
    world = World(max_queue=1)
    world.load("a")
    first, _ = world.ask("a")
    others = [world.ask("a")[0] for _ in range(1000)]
    for expected in others[:3]:
        assert world.scheduler.leave(first) == [expected]
        first = expected


def test_slots_let_several_requests_of_a_model_run_together() -> None:
    world = World()
    world.load("a", slots=2)
    granted = [bool(world.ask("a")[1]) for _ in range(3)]
    assert granted == [True, True, False]


def test_more_than_max_queue_requests_for_a_load_are_refused_with_ollamas_words() -> None:
    world = World(max_queue=2)
    for _ in range(3):
        world.ask("a")
    with pytest.raises(Busy, match=r"server busy, please try again\.  maximum pending requests exceeded"):
        world.ask("a")


def test_the_idle_model_with_the_shortest_keep_alive_is_evicted() -> None:
    world = World()
    world.load("a", keep_alive=math.inf)
    world.load("b", keep_alive=600.0)
    world.load("c")
    assert world.loaded == {"a", "c"}
    assert world.scheduler.evictions == 1


def test_among_equals_the_first_in_path_order_is_evicted() -> None:
    world = World()
    world.load("b")
    world.load("a")
    world.load("c")
    assert world.loaded == {"b", "c"}


def test_a_busy_model_is_spared_while_an_idle_one_is_there() -> None:
    world = World()
    world.load("a")
    world.load("b")
    world.ask("a")
    world.load("c")
    assert world.loaded == {"a", "c"}


def test_when_all_are_busy_the_victim_ends_its_requests_first() -> None:
    world = World(max_loaded=1)
    world.load("a")
    running, _ = world.ask("a")
    waiting, _ = world.ask("b")
    assert world.scheduler.loading is None
    world.scheduler.leave(running)
    assert world.loaded == set()
    assert world.pass_(10) == [waiting]


def test_a_model_that_does_not_fit_the_memory_evicts_another() -> None:
    world = World(max_loaded=9, memory_bytes=25)
    for name in "abc":
        world.load(name)
    assert world.loaded == {"b", "c"}


def test_another_context_length_reloads_the_model_though_there_is_room() -> None:
    world = World()
    world.load("a")
    ticket, granted = world.ask("a", context_length=512)
    assert granted == []
    assert world.pass_(10) == [ticket]
    assert world.scheduler.loads == 2


def test_models_with_equal_weights_share_the_runner_and_its_name() -> None:
    world = World()
    world.load("a")
    copy = Ticket(name="copy", weights="a", size_bytes=10, slots=1, load_seconds=10, context_length=4096)
    assert world.scheduler.ask(copy) == [copy]
    assert [runner.name for runner in world.scheduler.listed()] == ["a"]


def test_an_empty_call_leaves_the_prompt_cache_as_it_is() -> None:
    world = World()
    world.load("a", prompt="what was said before")
    world.load("a")
    later, granted = world.ask("a", prompt="what was said before, and more")
    assert granted == [later]
    assert later.cached_characters == len("what was said before")


def test_an_idle_model_is_unloaded_after_its_keep_alive() -> None:
    world = World()
    world.load("a", keep_alive=60.0)
    assert world.scheduler.next_deadline() == 70.0
    world.pass_(59)
    assert world.loaded == {"a"}
    world.pass_(1)
    assert world.loaded == set()


def test_a_running_request_stops_the_idle_timer() -> None:
    world = World()
    world.load("a", keep_alive=60.0)
    ticket, _ = world.ask("a")
    world.pass_(1000)
    assert world.loaded == {"a"}
    world.scheduler.leave(ticket)
    assert world.scheduler.next_deadline() == world.now + 60


def test_keep_alive_minus_one_never_expires_and_survives_requests_without_one() -> None:
    world = World()
    world.load("a", keep_alive=math.inf)
    world.load("a")
    assert world.scheduler.next_deadline() is None


def test_keep_alive_zero_unloads_after_use() -> None:
    world = World()
    world.load("a", keep_alive=0.0)
    assert world.loaded == set()


def test_unload_waits_for_running_requests() -> None:
    world = World()
    world.load("a")
    ticket, _ = world.ask("a")
    world.scheduler.unload("a")
    assert world.loaded == {"a"}
    world.scheduler.leave(ticket)
    assert world.loaded == set()


def test_a_client_that_leaves_during_the_load_it_started_aborts_it() -> None:
    world = World(listed_after=LISTED_AFTER)
    starter, _ = world.ask("a")
    world.pass_(7)
    other, _ = world.ask("a")
    world.scheduler.leave(starter)
    assert world.scheduler.aborted_loads == 1
    assert world.pass_(9) == []
    assert world.pass_(1) == [other]


def test_another_client_that_leaves_during_a_load_aborts_nothing() -> None:
    world = World(listed_after=LISTED_AFTER)
    starter, _ = world.ask("a")
    world.pass_(7)
    other, _ = world.ask("a")
    world.scheduler.leave(other)
    assert world.pass_(3) == [starter]
    assert world.scheduler.aborted_loads == 0


def test_a_client_that_leaves_the_queue_lets_the_next_one_through() -> None:
    world = World(max_loaded=1)
    world.load("a")
    world.ask("a")
    gone, _ = world.ask("b")
    stays, _ = world.ask("a")
    world.scheduler.leave(gone)
    assert stays not in world.scheduler.pending
    assert not world.scheduler.pending
