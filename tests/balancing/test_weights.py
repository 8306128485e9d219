"""What a manifest stands for is known once for all endpoints, as long as one of them knows its digest."""

from tests.balancing.worlds import MODEL, World, held

from ai_gateway.balancing.known_weights import MOST_WEIGHTS
from ai_gateway.balancing.residency import KEEP_SECONDS
from ai_gateway.balancing.resident import HeldModel, Resident, Weights

DIGEST = f"sha256:{MODEL}"
WEIGHTS = Weights("db3b", 512)


def test_facts_are_shared_by_all_endpoints() -> None:
    """An endpoint with the same digest is not asked again."""
    world = World(2)
    first, second = world.endpoints
    assert [model.digest for model in world.fleet.unknown_weights(second)] == [DIGEST]
    world.fleet.saw_weights(DIGEST, WEIGHTS)
    assert world.fleet.weights == {DIGEST: WEIGHTS}
    assert world.fleet.unknown_weights(first) == world.fleet.unknown_weights(second) == []


def test_they_are_forgotten_with_the_last_endpoint_that_has_the_digest() -> None:
    """Not with the first."""
    world = World(2, is_warm=False)
    first, second = world.endpoints
    world.fleet.saw_weights(DIGEST, WEIGHTS)
    world.fleet.saw_models(first, held("other:latest"))
    assert DIGEST in world.fleet.weights
    world.fleet.apply([first.address])
    assert world.fleet.weights == {}
    assert second.is_draining


def test_they_stay_while_the_model_is_loaded() -> None:
    """A tag that was made anew has another digest on the disk; what is loaded keeps the old one."""
    world = World(1, is_warm=False)
    (endpoint,) = world.endpoints
    world.fleet.saw_weights(DIGEST, WEIGHTS)
    world.fleet.saw_residents(endpoint, (Resident(MODEL, DIGEST),), 0.0)
    world.fleet.saw_models(endpoint, {MODEL: HeldModel(MODEL, "sha256:new", 1, 0)})
    assert DIGEST in world.fleet.weights
    world.saw_loaded(endpoint)
    assert DIGEST not in world.fleet.weights


def test_an_answer_about_a_digest_that_is_gone_is_not_kept() -> None:
    """It was deleted while the question was under way."""
    world = World(1)
    world.fleet.saw_weights("sha256:gone", WEIGHTS)
    assert world.fleet.weights == {}


def test_remote_models_and_those_without_a_digest_are_not_asked_for() -> None:
    """They have no file, or nothing that the answer could be kept by."""
    world = World(1)
    (endpoint,) = world.endpoints
    stub = HeldModel("a:cloud", "sha256:a", 1, 0, is_remote=True)
    world.fleet.saw_models(endpoint, {"a:cloud": stub, "b:latest": HeldModel("b", "", 1, 0)})
    assert world.fleet.unknown_weights(endpoint) == []


def test_there_is_room_for_so_many() -> None:
    """Nothing more is asked for then."""
    world = World(1)
    (endpoint,) = world.endpoints
    world.fleet.saw_models(endpoint, held(*(f"m{number}:latest" for number in range(MOST_WEIGHTS + 1))))
    asked = world.fleet.unknown_weights(endpoint)
    assert len(asked) == MOST_WEIGHTS
    for model in asked:
        world.fleet.saw_weights(model.digest, WEIGHTS)
    assert world.fleet.unknown_weights(endpoint) == []


def test_a_late_poll_keeps_the_last_view_for_ten_seconds_after_it_was_asked_for() -> None:
    """Then what is loaded is unknown, until the next one."""
    world = World(1)
    (endpoint,) = world.endpoints
    world.saw_loaded(endpoint, MODEL)
    world.clock.now += KEEP_SECONDS - 0.1
    world.saw_no_residents(endpoint)
    assert endpoint.is_resident(MODEL)
    world.clock.now += 0.1
    world.saw_no_residents(endpoint)
    assert (endpoint.resident, endpoint.context_of(MODEL)) == (None, None)
    assert not endpoint.is_resident(MODEL)
    world.saw_loaded(endpoint, MODEL)
    assert endpoint.is_resident(MODEL)
