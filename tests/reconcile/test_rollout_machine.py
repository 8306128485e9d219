"""Whatever happens to endpoints, config, registry and gateways: no promise is broken, and in the end each endpoint has
what the config says. The promises stand in rollout_world.py, where a breach raises."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.reconcile.rollout_world import KEY, Rollouts

TAGS = ("v1", "v2", "v3")
SHAPES = ("", ", system: Be brief", ", parameters: {num_ctx: 8192}", ", parameters: {temperature: 0.5}")
PULLS = ("if_missing", "always", "never")


class RolloutMachine(RuleBasedStateMachine):
    """Two gateways that both decide, each with its own view, over three endpoints with room for one or two runners."""

    @initialize(rooms=st.integers(1, 2), installed=st.sets(st.integers(0, 2)))
    def begin(self, rooms: int, installed: set[int]) -> None:
        self.world = Rollouts(3, rooms)
        for tag in TAGS:
            self.world.publish(f"coder:{tag}", tag)
        for number in installed:
            disk = list(self.world.disks.values())[number]
            disk.names["coder:v1"] = disk.loaded["coder:v1"] = self.world.digest("v1")
        for _ in range(2):
            self.world.add_gateway()
        self.edit("v1", "", "if_missing")

    @rule(tag=st.sampled_from(TAGS), shape=st.sampled_from(SHAPES), pull=st.sampled_from(PULLS))
    def edit(self, tag: str, shape: str, pull: str) -> None:
        more = "reconcile: {prune: 60s, pull_interval: 30s}"
        self.world.edit(f"{{ollama: coder, version: {tag}, pull: {pull}, copies: all{shape}}}", more)

    @rule()
    def remove(self) -> None:
        self.world.edit(None, "reconcile: {prune: 60s}")

    @rule(tag=st.sampled_from(TAGS), content=st.sampled_from(("v1", "v2", "new")))
    def publish(self, tag: str, content: str) -> None:
        self.world.publish(f"coder:{tag}", content)

    @rule(tag=st.sampled_from(TAGS))
    def withdraw(self, tag: str) -> None:
        self.world.registry.pop(f"coder:{tag}", None)

    @rule(gateway=st.integers(0, 1))
    def decide(self, gateway: int) -> None:
        one = self.world.gateways[gateway]
        one.look()
        one.fleet.tick()
        one.reconciler.decide()

    @rule(gateway=st.integers(0, 1), seconds=st.integers(1, 40))
    def pass_time(self, gateway: int, seconds: int) -> None:
        self.world.clock.now += seconds
        self.decide(gateway)

    @rule(gateway=st.integers(0, 1), lost=st.sampled_from(("", "before", "after")))
    def carry_out(self, gateway: int, lost: str) -> None:
        one = self.world.gateways[gateway]
        if one.steps:
            step = one.steps.pop(0)
            one.carry_out(step, is_lost_before=lost == "before", is_lost_after=lost == "after")

    @rule(gateway=st.integers(0, 1))
    def carry_out_load(self, gateway: int) -> None:
        one = self.world.gateways[gateway]
        if one.loads:
            one.carry_out_load(one.loads.pop(0))

    @rule(gateway=st.integers(0, 1))
    def call(self, gateway: int) -> None:
        self.world.gateways[gateway].call()

    @rule(gateway=st.integers(0, 1))
    def end_call(self, gateway: int) -> None:
        one = self.world.gateways[gateway]
        if one.calls:
            one.end_call()

    @rule(number=st.integers(0, 2), keeps_disk=st.booleans())
    def restart_pod(self, number: int, keeps_disk: bool) -> None:
        disk = list(self.world.disks.values())[number]
        disk.loaded.clear()
        if not keeps_disk:
            disk.names.clear()

    @rule(number=st.integers(0, 2), tag=st.sampled_from(TAGS))
    def pull_by_hand(self, number: int, tag: str) -> None:
        disk = list(self.world.disks.values())[number]
        if f"coder:{tag}" in self.world.registry:
            disk.names[f"coder:{tag}"] = self.world.registry[f"coder:{tag}"]

    @rule(number=st.integers(0, 2), index=st.integers(0, 5))
    def delete_by_hand(self, number: int, index: int) -> None:
        disk = list(self.world.disks.values())[number]
        if disk.names:
            del disk.names[sorted(disk.names)[index % len(disk.names)]]

    @invariant()
    def calls_are_counted(self) -> None:
        for gateway in getattr(self, "world", Rollouts(0)).gateways:
            assert gateway.fleet.pool(KEY).in_flight >= 0

    def teardown(self) -> None:
        """One gateway is left, all tags are there, and nothing fails any more."""
        world: Any = getattr(self, "world", None)
        if world is None:
            return
        del world.gateways[1:]
        for gateway in world.gateways:
            while gateway.calls:
                gateway.end_call()
        for tag in TAGS:
            world.publish(f"coder:{tag}", tag)
        self.edit("v2", ", system: Be brief", "if_missing")
        world.rest(60)
        world.rest(600, 20)  # the longest back-off is five minutes
        world.rest(30)
        (gateway,) = world.gateways
        for endpoint in gateway.fleet.endpoints.values():
            wanted = gateway.wanted(endpoint)
            assert wanted is not None, (world.log, world.disks[endpoint.address].names)
            assert endpoint.residency.name_for(KEY) == wanted, (wanted, world.log)


TestRollouts = RolloutMachine.TestCase
TestRollouts.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
