"""What a call would find loaded: runners by their file, with the context that a name asks for."""

from tests.balancing.worlds import MODEL, World

from ai_gateway.balancing.residency import (
    KEEP_AT_LOAD_SECONDS,
    KEEP_SECONDS,
    LONGEST_CALL_SECONDS,
    MOST_EXPECTATIONS,
    Residency,
)
from ai_gateway.balancing.resident import HeldModel, Resident, Weights

A, B, C = "a:latest", "b:latest", "c:latest"
UNIX = 1.8e9  # by the endpoint's clock, at our second 0


def residency(weights: dict[str, Weights] | None = None, **digests: str) -> Residency:
    """With names a, b and c on disk, of these manifests."""
    found = Residency({} if weights is None else weights)
    found.saw_models({f"{name}:latest": HeldModel(f"{name}:latest", digest, 1, 0) for name, digest in digests.items()})
    return found


def loaded(name: str, digest: str, context: int | None = None, expires_at: float | None = None) -> Resident:
    """A line of /api/ps."""
    return Resident(name, digest, 1, 1, context, expires_at)


def test_names_of_one_file_share_a_runner() -> None:
    """Though their manifests differ; /api/ps shows only the name that loaded it."""
    found = residency({"1": Weights("blob"), "2": Weights("blob"), "3": Weights("other")}, a="1", b="2", c="3")
    found.saw((loaded(A, "1"),), 0.0)
    assert [found.is_resident(name) for name in (A, B, C)] == [True, True, False]
    assert found.sharers(A) == found.sharers(B) == {A, B}
    assert found.sharers(C) is None
    assert found.sharers("unknown") is None


def test_without_a_file_the_manifest_is_what_names_share() -> None:
    """As with safetensors, and before /api/show has told."""
    found = residency({}, a="1", b="1", c="2")
    found.saw((loaded(A, "1"),), 0.0)
    assert [found.is_resident(name) for name in (A, B, C)] == [True, True, False]


def test_a_file_that_becomes_known_later_joins_names() -> None:
    """The runner that is loaded already is found anew, too."""
    weights: dict[str, Weights] = {}
    found = residency(weights, a="1", b="2")
    found.saw((loaded(A, "1"),), 0.0)
    assert not found.is_resident(B)
    for digest in ("1", "2"):
        weights[digest] = Weights("blob")
        found.learn(digest)
    assert found.is_resident(B)
    assert found.sharers(B) == {A, B}


def test_a_name_that_was_pulled_anew_is_not_loaded() -> None:
    """What runs is its old file, for which another name may still stand."""
    found = residency({}, a="1", b="1")
    found.saw((loaded(A, "1"),), 0.0)
    found.saw_models({A: HeldModel(A, "new", 1, 0), B: HeldModel(B, "1", 1, 0)})
    assert [found.is_resident(A), found.is_resident(B)] == [False, True]
    (runner,) = (found.loaded or {}).values()
    assert found.name_of(runner) == B


def test_a_runner_that_no_name_stands_for_cannot_be_unloaded() -> None:
    """Its own name would unload another one."""
    found = residency({}, a="1")
    found.saw((loaded(A, "1"),), 0.0)
    (runner,) = (found.loaded or {}).values()
    assert found.name_of(runner) == A
    found.saw_models({A: HeldModel(A, "new", 1, 0)})
    assert found.name_of(runner) is None


def test_another_context_than_the_name_asks_for_is_not_resident() -> None:
    """Our call would load it anew."""
    found = residency({"1": Weights("blob", 8192), "2": Weights("blob")}, a="1", b="2")
    found.saw((loaded(B, "2", 4096),), 0.0)
    assert [found.is_resident(A), found.is_resident(B)] == [False, True]
    found.saw((loaded(A, "1", 8192),), 1.0)
    assert [found.is_resident(A), found.is_resident(B)] == [True, False]  # b asks for none: it may get another one


def test_a_runner_with_other_options_than_the_name_asks_for_is_not_resident() -> None:
    """Ollama would load it anew for the call. Which options it has is what the name that loaded it asked for."""
    weights = {"1": Weights("blob", options="num_batch 64"), "2": Weights("blob"), "3": Weights("blob", 512)}
    found = residency(weights, a="1", b="2", c="3")
    found.saw((loaded(A, "1", 512),), 0.0)
    assert [found.is_resident(name) for name in (A, B, C)] == [True, False, False]
    found.saw((loaded(C, "3", 512),), 1.0)
    assert [found.is_resident(name) for name in (A, B, C)] == [False, False, True]


def test_an_unknown_context_counts_as_the_right_one() -> None:
    """Old versions do not tell."""
    found = residency({"1": Weights("blob", 8192)}, a="1")
    found.saw((loaded(A, "1"),), 0.0)
    assert found.is_resident(A)


def test_what_our_load_gave_is_what_the_name_asks_for() -> None:
    """For a name without a context of its own: somebody else's larger one would be replaced by our call."""
    found = residency({"1": Weights("blob")}, a="1")
    found.confirm(A, 5.0)
    assert found.is_resident(A)
    found.saw((loaded(A, "1", 4096),), 6.0)
    assert found.wanted_context(A) == 4096
    found.saw((loaded(A, "1", 32768),), 8.0)
    assert not found.is_resident(A)


def test_one_load_teaches_that_a_model_never_gets_the_context_that_it_asks_for() -> None:
    """Ollama gives no more than the model was trained with; without this it would be loaded again for ever."""
    found = residency({"1": Weights("blob", 1 << 20)}, a="1")
    found.saw((loaded(A, "1", 8192),), 0.0)
    assert not found.is_resident(A)
    found.confirm(A, 5.0)
    found.saw((loaded(A, "1", 8192),), 6.0)
    assert found.is_resident(A)
    found.saw((), 8.0)
    found.saw((loaded(A, "1", 8192),), 10.0)
    assert found.is_resident(A)


def test_a_new_manifest_asks_anew() -> None:
    """What the old one got says nothing about it."""
    weights = {"1": Weights("blob"), "2": Weights("new", 2048)}
    found = residency(weights, a="1")
    found.confirm(A, 5.0)
    found.saw((loaded(A, "1", 4096),), 6.0)
    found.saw_models({A: HeldModel(A, "2", 1, 0)})
    assert found.wanted_context(A) == 2048


def test_a_list_that_was_asked_for_before_our_load_ended_takes_nothing_back() -> None:
    """Neither the runner, nor what its context is."""
    found = residency({"1": Weights("blob")}, a="1", b="2")
    found.saw((loaded(A, "1", 4096), loaded(B, "2")), 0.0)
    found.confirm(A, 5.0)
    assert found.saw((), 4.0)
    assert [found.is_resident(A), found.is_resident(B)] == [True, False]
    found.saw((loaded(A, "1", 4096),), 4.5)
    assert found.wanted_context(A) is None
    found.saw((), 5.5)
    assert not found.is_resident(A)


def test_a_runner_whose_load_is_under_way_is_not_resident() -> None:
    """Ollama before 0.30 lists it from the beginning."""
    found = residency({}, a="1")
    found.loading = "1"
    found.saw((loaded(A, "1"),), 0.0)
    assert not found.is_resident(A)
    found.loading = None
    assert found.is_resident(A)


def test_only_what_calls_may_find_counts_as_new() -> None:
    """An expiry that moves wakes nobody."""
    found = residency({}, a="1")
    assert found.saw((loaded(A, "1", 4096, 1.0),), 0.0)
    assert not found.saw((loaded(A, "1", 4096, 2.0),), 1.0)
    assert found.saw((loaded(A, "1", 8192, 2.0),), 2.0)
    assert found.saw((), 3.0)
    found.forget()
    assert found.saw((), 4.0)


def test_a_late_list_keeps_the_last_view_for_ten_seconds_and_longer_during_a_load() -> None:
    """Counted from when it was asked for; Ollama answers nothing while it loads or unloads."""
    world = World(1)
    (endpoint,) = world.endpoints
    world.clock.now += KEEP_SECONDS - 1
    world.saw_no_residents(endpoint)
    assert endpoint.is_resident(MODEL)
    world.clock.now += 1
    world.saw_no_residents(endpoint)
    assert endpoint.residency.loaded is None
    found = residency({}, a="1")
    found.saw((loaded(A, "1"),), 0.0)
    found.late(KEEP_AT_LOAD_SECONDS - 1, KEEP_AT_LOAD_SECONDS)
    assert found.is_resident(A)


def test_an_endpoint_that_comes_back_as_it_was_serves_again() -> None:
    """Its list is the same as before, but nobody knew that."""
    world = World(1)
    world.take()
    waiting = world.queue()
    (endpoint,) = world.endpoints
    world.clock.now += KEEP_SECONDS
    world.saw_no_residents(endpoint)
    world.saw_loaded(endpoint, MODEL)
    world.pool.give_back(endpoint)
    assert waiting.endpoint is endpoint


# -- who uses a runner


def moved(found: Residency) -> float:
    """When the only runner was in use last."""
    (runner,) = (found.loaded or {}).values()
    return runner.moved_at


def test_an_expiry_that_moved_shows_that_somebody_used_it() -> None:
    """Ollama sets it anew when a runner becomes idle."""
    found = residency({}, a="1")
    for at, expires_at in ((0.0, 300.0), (2.0, 300.0), (4.0, 304.0), (6.0, 304.0)):
        found.saw((loaded(A, "1", None, UNIX + expires_at),), at, UNIX)
    assert moved(found) == 4.0


def test_an_expiry_in_the_past_shows_that_a_call_runs() -> None:
    """By the endpoint's own clock: Ollama would have unloaded it."""
    found = residency({}, a="1")
    for at in (0.0, 100.0, 200.0):
        found.saw((loaded(A, "1", None, UNIX + 50.0),), at, UNIX)
    assert moved(found) == 200.0


def test_without_the_endpoints_clock_nothing_is_past() -> None:
    """Ours says nothing about it."""
    found = residency({}, a="1")
    for at in (0.0, 100.0):
        found.saw((loaded(A, "1", None, 1.0),), at)
    assert moved(found) == 0.0


def test_an_expiry_long_past_shows_that_a_clock_was_set() -> None:
    """Else a clock that jumps would keep all runners in use for ever."""
    found = residency({}, a="1")
    for at in (0.0, 2.0):
        found.saw((loaded(A, "1", None, UNIX),), at, UNIX + LONGEST_CALL_SECONDS)
    assert moved(found) == 0.0


def test_what_loads_gave_is_remembered_of_so_many_names() -> None:
    """Names that change do not fill the memory."""
    found = Residency({})
    for number in range(MOST_EXPECTATIONS + 10):
        found.confirm(f"m{number}", number)
        found.saw((loaded(f"m{number}", "1", 4096),), number + 0.5)
    assert len(found._expected) <= MOST_EXPECTATIONS
