"""A new conversation begins where all gateways would let it begin."""

import random
from collections import Counter

import msgspec
import pytest

from ai_gateway.balancing.rendezvous import number_of, rendezvous


class Pod(msgspec.Struct, frozen=True):
    """All that the hash reads of an endpoint."""

    number: int
    speed: float = 1.0


def pods(count: int, speed: float = 1.0) -> list[Pod]:
    """So many, each with a name of its own."""
    return [Pod(number_of(f"ollama/ollama-{index}"), speed) for index in range(count)]


def speed(pod: Pod) -> float:
    """Its weight."""
    return pod.speed


def keys(count: int) -> list[bytes]:
    """Digests of conversations, the same in each run."""
    rng = random.Random(7)
    return [rng.randbytes(16) for _ in range(count)]


def test_conversations_spread_evenly() -> None:
    """Within what chance allows: five standard deviations."""
    count, endpoints = 20_000, pods(8)
    spread = Counter(rendezvous(key, endpoints, speed) for key in keys(count))
    share = count / len(endpoints)
    assert all(abs(spread[pod] - share) < 5 * share**0.5 for pod in endpoints)


def test_a_faster_endpoint_gets_as_many_more() -> None:
    """A weight is a share."""
    count, (slow, fast) = 20_000, pods(2)
    fast = Pod(fast.number, 3.0)
    spread = Counter(rendezvous(key, [slow, fast], speed) for key in keys(count))
    assert spread[fast] == pytest.approx(count * 3 / 4, rel=0.02)


def test_an_endpoint_that_leaves_moves_only_its_own() -> None:
    """The others keep what they have in memory; its own spread over all of them."""
    endpoints = pods(5)
    gone, *rest = endpoints
    moved: Counter[Pod] = Counter()
    for key in keys(5000):
        before, after = rendezvous(key, endpoints, speed), rendezvous(key, rest, speed)
        assert before in (gone, after)
        moved[after] += before is gone
    assert all(count > 150 for count in (moved[pod] for pod in rest))


def test_a_changed_weight_moves_keys_to_or_from_its_endpoint_only() -> None:
    """The speed of an endpoint is measured, so it changes all the time."""
    endpoints = pods(5)
    faster = [Pod(endpoints[0].number, 1.1), *endpoints[1:]]
    for key in keys(2000):
        before, after = rendezvous(key, endpoints, speed), rendezvous(key, faster, speed)
        assert after in (before, faster[0])


def test_the_order_of_endpoints_does_not_matter() -> None:
    """Each gateway has its own."""
    endpoints = pods(7)
    assert all(rendezvous(key, endpoints, speed) == rendezvous(key, endpoints[::-1], speed) for key in keys(500))


def test_the_choice_is_the_same_in_all_processes() -> None:
    """Of whatever version and seed."""
    assert number_of("ollama/ollama-0") == 15117980876649694063
    assert [pods(5).index(rendezvous(key, pods(5), speed)) for key in keys(8)] == [3, 2, 0, 4, 1, 2, 0, 3]


@pytest.mark.parametrize("key", [b"\x00" * 16, b"\xff" * 16])
def test_every_key_has_an_endpoint(key: bytes) -> None:
    """Also the first and the last of all, and where all weights are tiny."""
    numbers = (int.from_bytes(key[:8], "big"), (1 << 64) - 1, 0)
    endpoints = [Pod(number, 1e-9) for number in numbers]
    assert rendezvous(key, endpoints, speed) in endpoints
