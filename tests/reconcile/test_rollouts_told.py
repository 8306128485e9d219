"""What people are told of rollouts, and what is not worth telling."""

import pytest
from tests.reconcile.rollout_world import KEY, Rollouts
from tests.reconcile.test_rollouts import V1, V2, contents, world

from ai_gateway.balancing.rollout import Rollout
from ai_gateway.reconcile.steps import Pull


def told_of(made: Rollouts) -> list[tuple[str, int, int]]:
    """What people are told from now on: states, and on how many endpoints a model is in place."""
    told: list[tuple[str, int, int]] = []
    made.gateways[0].told = lambda _plan, rollout: told.append((rollout.state, rollout.done, rollout.total))
    made.gateways[0].restart()
    return told


def test_a_rollout_is_told_once_when_it_is_done() -> None:
    """Not that what is there is there, nor that endpoints have gone."""
    made = world()
    told = told_of(made)
    made.edit(V1)
    made.rest(5)
    assert told == []
    made.edit(V2)
    made.rest()
    assert told == [("done", 3, 3)]
    fleet = made.gateways[0].fleet
    for endpoint in fleet.endpoints.values():
        fleet.saw_down(endpoint, "away")
    made.rest(10)
    assert told == [("done", 3, 3)]


def test_what_is_pulled_again_and_has_not_changed_is_no_news() -> None:
    made = world()
    told = told_of(made)
    made.edit(V1.replace("if_missing", "always"), "reconcile: {pull_interval: 100s}")
    made.rest(1000, step=2)
    assert sum(disk.pulls for disk in made.disks.values()) > 15
    assert len(told) <= 1
    del told[:]
    made.publish("coder:v1", "three")
    made.rest(160)
    assert told == [("done", 3, 3)]


def test_a_model_that_fails_and_is_well_by_turns_is_told_of_a_few_times_and_at_last_as_it_is() -> None:
    made = world()
    told = told_of(made)
    made.edit(V1)
    made.rest(5)
    for number in range(30):
        made.edit(f"{{ollama: coder, version: unknown{number}, pull: if_missing}}")
        made.rest(10)
        made.edit(V1)
        made.rest(5)
    assert 1 <= len(told) <= 4
    made.edit(V2)
    made.rest(700)
    assert told[-1] == ("done", 3, 3)
    assert len(told) <= 6


def test_nothing_is_told_to_be_in_place_while_all_endpoints_are_down() -> None:
    """However far a rollout was."""
    made = world(is_installed=False)
    made.edit(V1)
    gateway = made.gateways[0]
    told: list[tuple[str, int]] = []
    gateway.told = lambda _plan, rollout: told.append((rollout.state, rollout.total))
    reconciler = gateway.reconciler
    reconciler.decide()
    for endpoint in gateway.fleet.endpoints.values():
        gateway.fleet.saw_down(endpoint, "it is away")
    made.clock.now += 10
    reconciler.decide()
    assert told == []


def test_without_an_endpoint_to_go_to_there_is_no_rollout_and_nothing_is_in_place() -> None:
    """Also when the last endpoint goes away in the middle: nobody is told that the model is ready."""
    made = world(1, is_installed=False)
    told: list[Rollout] = []
    (gateway,) = made.gateways
    gateway.told = lambda _plan, rollout: told.append(rollout)
    made.edit(V1)
    gateway.reconciler.decide()
    assert gateway.reconciler.rollouts[KEY].state == "pulling"
    gateway.fleet.apply([])
    gateway.reconciler.decide()
    assert (gateway.reconciler.rollouts, told) == ({}, [])


def test_two_pulls_that_are_equally_far_tell_how_far_also_where_one_has_no_rate_yet() -> None:
    """They compared None with a number, and the round ended there."""
    made = world(is_installed=False)
    made.edit(V1)
    (gateway,) = made.gateways
    reconciler, endpoints = gateway.reconciler, list(gateway.fleet.endpoints.values())[:2]
    for one in endpoints:
        reconciler.under_way.begin(Pull(endpoint=one, key=KEY, tag="coder:v1", name="coder:v1", is_new=True))
    reconciler.report_progress(dict(zip(endpoints, [(1.0, None), (1.0, 0.0)], strict=True)).get)
    reconciler.decide()
    assert reconciler.rollouts[KEY].progress == 1.0


def test_a_refresh_that_fails_where_the_model_is_in_place_fails_no_rollout() -> None:
    """Nor does it count for the endpoints that the model has yet to come to."""
    made = world(2, is_installed=False)
    edit, more = V1.replace("if_missing", "always, copies: 1"), "reconcile: {pull_interval: 100s}"
    made.edit(edit, more)
    made.rest(20)
    (gateway,) = made.gateways
    del made.registry["coder:v1"]
    made.rest(100)
    assert [backoff.reason for backoff in gateway.reconciler.backoffs.values()] == ["file does not exist"]
    rollout = gateway.reconciler.rollouts[KEY]
    assert (rollout.state, rollout.done, rollout.failed, rollout.reason) == ("done", 1, 0, None)
    made.edit(edit.replace("copies: 1", "copies: all"), more)
    gateway.reconciler.decide()
    rollout = gateway.reconciler.rollouts[KEY]
    assert (rollout.state, rollout.done, rollout.total, rollout.failed) == ("updating", 1, 2, 0)


@pytest.mark.parametrize("is_shared", [False, True])
def test_endpoints_on_one_volume_are_noticed(is_shared: bool) -> None:
    """What is made on one is on the other within a poll; elsewhere it comes by a step of the gateway's own."""
    made = world()
    first, second, third = made.disks.values()
    if is_shared:
        second.names = first.names
    made.edit(V1)
    made.rest(5)
    made.edit(V2)
    made.rest()
    assert contents(made) == {"two"}
    pair = frozenset(disk.address.authority for disk in (first, second))
    assert made.gateways[0].reconciler.shared_volume.seen == ({pair} if is_shared else set())
    assert third.names
