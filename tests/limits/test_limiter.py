"""The limits in force: what a new config or another gateway changes, and what stays."""

from tests.limits.worlds import Clocks, known

from ai_gateway.config.limits import LimitsSection, RateLimits
from ai_gateway.exchange import Allowance
from ai_gateway.limits.admission import LimitExceeded
from ai_gateway.limits.limiter import AdmissionRequest, Limiter, LimiterDeps
from ai_gateway.limits.rules import caller_scope

ALICE = known("alice", tenant="team-a")


class World:
    """A limiter, and all that it depends on."""

    def __init__(self, **default: int) -> None:
        self.clocks = Clocks()
        self.gateways = 1
        deps = LimiterDeps(lambda: self.clocks.wall, lambda: self.clocks.now, lambda: self.gateways)
        self.limiter = Limiter(deps)
        self.limiter.configure(LimitsSection(RateLimits(**default)))

    async def admitted(self, tries: int, tokens: int = 1, model: str = "llama3") -> int:
        """How many of so many calls are admitted."""
        count = 0
        for _ in range(tries):
            verdict = await self.limiter.admit(AdmissionRequest(ALICE, model, tokens, 60.0))
            count += not isinstance(verdict, LimitExceeded)
            if verdict is not None and not isinstance(verdict, LimitExceeded):
                verdict.settle(tokens)
        return count


async def test_limits_are_divided_by_the_ready_gateways() -> None:
    """From the next call on, whenever one comes or goes."""
    world = World(rpm=60)
    world.gateways = 3
    assert await world.admitted(100) == 20
    world.clocks.go(30)
    assert await world.admitted(100) == 10
    world.gateways = 1
    world.clocks.go(60)
    assert await world.admitted(100) == 60
    world.gateways = 1000
    world.clocks.go(60)
    assert await world.admitted(100) == 1


async def test_the_shares_of_all_gateways_are_the_limit_within_one_percent() -> None:
    """With as many calls at each."""
    worlds = [World(rpm=600) for _ in range(3)]
    count = 0
    for world in worlds:
        world.gateways = 3
        await world.admitted(300)
        for _ in range(600):
            world.clocks.go(0.5)
            count += await world.admitted(3)
    assert abs(count - 3000) <= 30


async def test_a_new_config_keeps_what_was_counted() -> None:
    world = World(rpm=10)
    assert await world.admitted(20) == 10
    world.limiter.configure(LimitsSection(RateLimits(rpm=20)))
    assert await world.admitted(20) == 0
    world.clocks.go(30)
    assert await world.admitted(20) == 10


async def test_calls_without_limits_are_not_limited() -> None:
    world = World(rpm=10)
    states = [world.limiter.is_on]
    world.limiter.configure(None)
    assert [*states, world.limiter.is_on] == [True, False]
    world.limiter.configure(LimitsSection(models={"llama3": RateLimits(rpm=1)}))
    assert await world.admitted(5, model="coder") == 5
    assert await world.admitted(5) == 1


async def test_the_limiter_counts_tokens_used_before_startup() -> None:
    world = World(tokens_per_day=100)
    world.limiter.seed({caller_scope("keys", "alice"): 80})
    assert await world.admitted(5, tokens=10) == 2


async def test_each_caller_has_an_account_of_its_own() -> None:
    world = World(rpm=1)
    for name in ("bob", "carol"):
        caller = known(name, Allowance(rpm=2))
        for expected in (False, False, True):
            verdict = await world.limiter.admit(AdmissionRequest(caller, "llama3", 1, 60.0))
            assert isinstance(verdict, LimitExceeded) is expected
