"""What is learned, and that it is bounded."""

import pytest
from tests.balancing.worlds import MODEL, World, addresses

from ai_gateway.balancing.learned import FASTEST, MOST_NAMES, RATE_SECONDS, SLOWEST, Answered, Averages, Learned, Rate
from ai_gateway.balancing.ticket import Claim
from ai_gateway.wire.address import Address


def answered(rate: float, written: int = 100, address: Address | None = None) -> Answered:
    """An answer at so many tokens per second."""
    return Answered(address or addresses(1)[0], 150, written, written / rate)


def test_an_average_moves_by_its_weight() -> None:
    """The first sample is the average; without one there is none."""
    averages = Averages(0.5)
    assert averages.get("a") is None
    averages.note("a", 10.0)
    averages.note("a", 20.0)
    assert averages.items() == {"a": 15.0}


def test_averages_are_bounded() -> None:
    """Names come and go; then all are learned anew."""
    averages = Averages(0.5)
    for number in range(MOST_NAMES + 1):
        averages.note(str(number), 1.0)
    assert len(averages.items()) == 1


def test_a_rate_fades() -> None:
    """It tells of the last minutes."""
    rate = Rate()
    for second in range(5 * int(RATE_SECONDS)):
        rate.note(float(second))
    last = 5 * RATE_SECONDS - 1
    assert rate.per_second(last) == pytest.approx(1.0, rel=0.02)
    assert rate.per_second(last + 3 * RATE_SECONDS) < 0.06


def test_a_load_that_was_never_seen_takes_as_long_as_the_others() -> None:
    """And without others as long as is usual."""
    learned = Learned()
    assert learned.load_of("a", 15.0) == 15.0
    learned.load_seconds.note("b", 10.0)
    learned.load_seconds.note("c", 30.0)
    assert learned.load_of("a", 15.0) == 20.0
    assert learned.load_of("b", 15.0) == 10.0


def test_a_speed_is_learned_from_answers() -> None:
    """Against the mean of all endpoints, for each model."""
    learned = Learned()
    learned.token_rate.note(MODEL, 40.0)
    assert learned.speed_after(1.0, MODEL, answered(80.0), 1.0) > 1.05
    assert learned.speed_after(1.0, MODEL, answered(10.0), 1.0) < 0.95
    assert learned.speed_after(1.0, MODEL, answered(20.0), 2.0) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("answer", [answered(1.0, 7), Answered(addresses(1)[0], 100), answered(1.0, 0)])
def test_a_short_answer_says_nothing_about_speed(answer: Answered) -> None:
    """Nor one whose tokens are not counted."""
    learned = Learned()
    assert learned.speed_after(1.0, MODEL, answer, 1.0) == 1.0
    assert learned.token_rate.items() == {}


def test_speeds_have_bounds() -> None:
    """One wild number does not empty or flood an endpoint."""
    speed = 1.0
    learned = Learned()
    for _ in range(200):
        learned.token_rate = Averages(0.0)
        learned.token_rate.note(MODEL, 1.0)
        speed = learned.speed_after(speed, MODEL, answered(1e9), 1.0)
    assert speed <= FASTEST
    for _ in range(200):
        speed = learned.speed_after(speed, MODEL, answered(1e-6), 1.0)
    assert speed >= SLOWEST


def test_an_answer_settles_what_a_call_was_charged() -> None:
    """And teaches the speed of its endpoint, if that is still there."""
    world = World(1)
    claim = Claim("a", tokens=200)
    endpoint = world.take(claim=claim)
    world.fleet.learned.token_rate.note(MODEL, 10.0)
    world.pool.give_back(endpoint)
    world.fleet.note_answer(MODEL, claim, answered(100.0))
    assert world.pool.queue.served["a"] == 150
    assert endpoint.speed > 1.0
    world.fleet.note_answer(MODEL, Claim("b"), answered(100.0, address=Address("gone")))
    world.fleet.note_answer("unknown:latest", claim, answered(100.0))
    assert world.pool.queue.served["b"] == 150
