"""Tokens of a day as limits were charged with them: one contract, kept by every store that can be asked."""

from tests.audit.stores import World
from tests.audit.writing import DAY_NS, NOON_NS, Chain, end, entry, intent

CALL = {"actor": "ann", "auth_method": "keys", "model_asked": "llama3"}


def used(world: World) -> int:
    return sum(one.tokens for one in world.archive().usage_of_day("2024-10-04"))


def test_what_the_gateway_counted_stands_where_ollama_told_nothing(world: World) -> None:
    """A stream that was cut costs after a restart what it cost before."""
    Chain().write(world.gateway(), entry(**CALL, tokens_counted=40), entry(**CALL, tokens_in=3, tokens_out=4))
    assert used(world) == 47


def test_what_an_older_gateway_believed_poisons_no_sum(world: World) -> None:
    """Thousands of them are more than a column holds; each counts as what limits were charged with then."""
    poisoned = [entry(**CALL, tokens_in=2**53 - 1, tokens_out=2**62) for _ in range(1100)]
    Chain().write(world.gateway(), *poisoned)
    assert used(world) == 1100 * 20_000_000


def test_tokens_belong_to_the_day_on_which_their_call_began(world: World) -> None:
    """As limits have it: a stream over midnight was charged to the day before."""
    midnight = NOON_NS - DAY_NS // 2
    Chain().write(
        world.gateway(),
        entry(**CALL, tokens_in=1, at_ns=midnight + 10, started_ns=midnight - 10),
        entry(**CALL, tokens_in=2, at_ns=midnight + 11, started_ns=midnight),
    )
    assert used(world) == 2


def test_a_gateway_that_was_killed_leaves_what_it_had_reserved(world: World) -> None:
    """Its intents are open, or end as lost with the same count; either way once."""
    store, chain = world.gateway(), Chain()
    chain.write(store, intent("a", **CALL, tokens_counted=100), intent("b", **CALL, tokens_counted=1000))
    assert used(world) == 1100
    chain.write(store, end("b", **CALL, tokens_in=2, tokens_out=3))
    assert used(world) == 105
    chain.write(store, end("a", **CALL, tokens_counted=100, outcome="gateway_lost"))
    assert used(world) == 105
    chain.write(store, intent("c", **CALL, tokens_counted=7, started_ns=NOON_NS - DAY_NS))
    assert used(world) == 105
