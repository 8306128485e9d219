"""What Prometheus scrapes while a whole gateway brings a model to its endpoints: steps, bytes, and how it ends."""

import pytest
from tests.flow.scraping import of, scraped
from tests.flow.waiting import until
from tests.flow.world import Served, World, config

from ai_gateway.reconcile.steps import Pull

CODER = {"ollama": "codellama", "version": "13b", "pull": "if_missing"}


async def at_state(served: Served, state: str) -> dict[str, float]:
    """A scrape, once the rollout of `coder` is there."""

    def rollouts() -> list[str]:
        return [one.state for one in served.gateway.reconciler.rollouts.values()]

    await until(lambda: rollouts() == [state], f"the rollout is {state}")
    return await scraped(served)


async def test_a_rollout_is_scraped_with_its_steps_and_its_bytes(world: World) -> None:
    simulator = await world.simulator(2, models=("llama3:latest",))
    served = await world.gateway(simulator.urls, models={"llama3": {}, "coder": CODER})
    found = await at_state(served, "done")
    assert of(found, "rollout") == {'model="coder",state="done"': 1}
    states = {f'model="coder",state="{state}"': count for state, count in (("done", 2), ("left", 0), ("failed", 0))}
    assert of(found, "rollout_endpoints") == states
    steps = of(found, "rollout_steps_total")
    assert steps['outcome="done",step="pull"'] == steps['outcome="done",step="copy"'] == 2
    assert steps['outcome="failed",step="pull"'] == 0
    fleet = served.gateway.fleet
    held = [
        endpoint.held_model(key) for endpoint in fleet.endpoints.values() for key in served.gateway.reconciler.plans
    ]
    sizes = sum(one.size for one in held if one is not None)
    pulled = of(found, "pulled_bytes_total")
    assert pulled == {'model="coder"': pytest.approx(sizes, rel=0.01)}
    assert set(of(found, "endpoint_unnamed_bytes").values()) == {0}


async def test_a_rollout_that_fails_is_scraped_as_such(world: World) -> None:
    simulator = await world.simulator(models=("llama3:latest",), registry=())
    served = await world.gateway(simulator.urls, models={"llama3": {}, "coder": CODER})
    found = await at_state(served, "failed")
    assert of(found, "rollout") == {'model="coder",state="failed"': 1}
    assert found['rollout_endpoints{model="coder",state="failed"}'] == 1
    assert found['rollout_steps_total{outcome="failed",step="pull"}'] >= 1


async def test_a_pull_shows_how_far_it_is_and_that_it_was_dropped_when_nobody_wants_it_any_more(world: World) -> None:
    simulator = await world.simulator(models=("llama3:latest",), pull_bytes_per_second=1e8)
    served = await world.gateway(simulator.urls, models={"llama3": {}, "coder": CODER})
    reconciler = served.gateway.reconciler
    await until(lambda: any(one.progress for one in reconciler.rollouts.values()), "a pull is under way")
    found = await scraped(served)
    assert of(found, "rollout") == {'model="coder",state="pulling"': 1}
    assert 0 < found['rollout_progress{model="coder"}'] < 1
    assert found['pulled_bytes_total{model="coder"}'] > 0
    await served.reload(config(simulator.urls, models={"llama3": {}}))
    await until(lambda: not reconciler.under_way, "the pull is cut")
    found = await scraped(served)
    assert found['rollout_steps_total{outcome="dropped",step="pull"}'] == 1
    assert of(found, "rollout") == of(found, "rollout_progress") == {}


async def test_a_pull_that_began_when_another_step_ended_can_be_cut_too(world: World) -> None:
    """The end of a step begins the next one on its endpoint, and must not take it for itself."""
    simulator = await world.simulator(models=("llama3:latest",), pull_bytes_per_second=1e8)
    small, large = {"ollama": "all-minilm", "pull": "if_missing"}, {"ollama": "mixtral", "pull": "if_missing"}
    served = await world.gateway(simulator.urls, models={"small": small, "large": large})
    reconciler = served.gateway.reconciler
    plan = next(plan for plan in reconciler.plans.values() if plan.shaped.id == "large")
    await until(lambda: (one := reconciler.rollouts.get(plan.shaped.key)) is not None and one.progress, "a second pull")
    await served.reload(config(simulator.urls, models={"small": small}))
    await until(lambda: not any(step.key == plan.shaped.key for step in reconciler.under_way.values()), "it is cut")


async def test_a_step_that_is_cut_before_it_has_run_frees_its_endpoint(world: World) -> None:
    """Else nothing would be done there any more."""
    simulator = await world.simulator(models=("llama3:latest",))
    served = await world.gateway(simulator.urls)
    gateway = served.gateway
    (endpoint,) = gateway.fleet.endpoints.values()
    step = Pull(endpoint=endpoint, key="key", tag="coder:v1", name="coder:v1", is_new=True)
    gateway.reconciler.under_way.begin(step)
    gateway.reconciler.order(step)
    gateway.reconciler.cut(step)
    await until(lambda: not gateway.reconciler.under_way, "the endpoint is free")


async def test_a_gateway_that_follows_nothing_has_no_rollouts(world: World) -> None:
    """Only the counters of steps are there, at 0."""
    served = await world.gateway((await world.simulator()).urls)
    found = await scraped(served)
    assert of(found, "rollout") == of(found, "rollout_endpoints") == of(found, "pulled_bytes_total") == {}
    assert set(of(found, "rollout_steps_total").values()) == {0}
