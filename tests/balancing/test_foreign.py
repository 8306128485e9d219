"""Calls that no report explains are named, so that two releases over the same pods do not go unseen."""

from tests.balancing.worlds import MODEL, World

from ai_gateway.balancing.resident import Resident

KEEP_ALIVE = 300.0


def polled(world: World, used_at: float) -> str | None:
    """The complaint about the endpoint after a poll, where the model's last call ended at a moment."""
    (endpoint,) = world.endpoints
    world.clock.now += 2
    entry = Resident(MODEL, f"sha256:{MODEL}", size=1, expires_at=used_at + KEEP_ALIVE)
    world.fleet.saw_residents(endpoint, (entry,), world.clock.now)
    return endpoint.check_reasons.get("calls")


def test_calls_of_others_are_named_and_forgotten() -> None:
    """The expiry moves without a call of this gateway; a minute after the last one it is told no more."""
    world = World(1)
    world.clock.now += 100
    assert polled(world, 1.0) is None
    assert polled(world, 1.0) is None
    complaint = polled(world, 50.0)
    assert complaint is not None
    assert MODEL in complaint
    world.clock.now += 61
    assert polled(world, 50.0) is None


def test_own_calls_and_those_that_are_reported_are_no_news() -> None:
    """Also short ones, of which a report shows nothing but how often they come."""
    world = World(1)
    world.clock.now += 100
    polled(world, 1.0)
    endpoint = world.take()
    world.pool.give_back(endpoint)
    assert polled(world, 2.0) is None
    world.clock.now += 100
    assert polled(world, 2.0) is None
    world.pool.peer_rate = 0.1
    assert polled(world, 3.0) is None


def test_who_expects_them_hears_nothing() -> None:
    """`balancing.foreign: true`."""
    world = World(1)
    world.fleet.peers.is_foreign = True
    world.clock.now += 100
    polled(world, 1.0)
    assert polled(world, 50.0) is None
