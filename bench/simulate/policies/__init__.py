"""The policies by name. Adding one is a class and a row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.simulate.policies.bounds import AffineBinding, Clairvoyant, with_all_resident, with_one_gateway
from bench.simulate.policies.early import LeastInFlight, Random, RoundRobin, TwoChoices
from bench.simulate.policies.hashing import HashByModel, HashByPrefix
from bench.simulate.policies.landed import WarmLeastInFlight
from bench.simulate.policies.loading import LateBinding
from bench.simulate.policies.shipped import Shipped
from bench.simulate.simulation import Recipe
from bench.simulate.worlds import World


def _same(world: World) -> World:
    return world


@dataclass(frozen=True, slots=True)
class Row:
    """A policy, and the world that it stands in: a bound may have more room than the others."""

    title: str
    recipe: Recipe
    world: Callable[[World], World] = _same
    binds_late: bool = True  # it never sends more calls than slots to a pod, as far as it knows


POLICIES: Final[Mapping[str, Row]] = {
    "round-robin": Row("round robin", lambda outside, _: RoundRobin(outside), binds_late=False),
    "random": Row("random", lambda outside, _: Random(outside), binds_late=False),
    "least": Row("least in flight", lambda outside, _: LeastInFlight(outside), binds_late=False),
    "two": Row("two choices", lambda outside, _: TwoChoices(outside), binds_late=False),
    "prefix": Row("bounded-load hash by prefix", lambda outside, _: HashByPrefix(outside), binds_late=False),
    "model": Row("bounded-load hash by model", lambda outside, _: HashByModel(outside), binds_late=False),
    "landed": Row("warm first, then least in flight", lambda outside, _: WarmLeastInFlight(outside)),
    "late": Row("late binding + explicit loads alone", lambda outside, _: LateBinding(outside)),
    "shipped": Row("the gateway's own", lambda outside, trace: Shipped(outside, trace.world)),
    "shipped-unlearned": Row(
        "the same without learned speed", lambda outside, trace: Shipped(outside, trace.world, learns_speed=False)
    ),
    "silent": Row("the same without reports", lambda outside, trace: Shipped(outside, trace.world, tells=False)),
    "clairvoyant": Row("who knows the trace", Clairvoyant, with_one_gateway),
    "resident": Row("every model resident everywhere", lambda outside, _: AffineBinding(outside), with_all_resident),
}
