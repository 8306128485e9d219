"""Endpoints follow the config: what is written there, in which order, and which name calls get meanwhile."""

import pytest
from tests.reconcile.rollout_world import KEY, Rollouts

from ai_gateway.wire.made_names import read_made

V1, V2 = "{ollama: coder, version: v1, pull: if_missing}", "{ollama: coder, version: v2, pull: if_missing}"


def world(count: int = 3, rooms: int = 3, *, is_installed: bool = True) -> Rollouts:
    """Endpoints that have v1 loaded, as somebody put it there, and a gateway."""
    made = Rollouts(count, rooms)
    made.publish("coder:v1", "one")
    made.publish("coder:v2", "two")
    if is_installed:
        for disk in made.disks.values():
            disk.names["coder:v1"] = disk.loaded["coder:v1"] = made.digest("one")
    made.add_gateway()
    return made


def contents(made: Rollouts) -> set[str]:
    """What calls get."""
    found = set()
    for gateway in made.gateways:
        for endpoint in gateway.fleet.endpoints.values():
            digest = made.disks[endpoint.address].names.get(endpoint.residency.name_for(KEY), "")
            found.add(made.kinds[digest].blob if digest else "nothing")
    return found


def test_what_is_on_the_endpoints_is_left_as_it_is() -> None:
    """An upgrade writes nothing."""
    made = world()
    made.edit(V1)
    made.rest()
    assert made.log == []
    assert made.served() == {"coder:v1"}


def test_a_model_that_is_missing_is_pulled_on_one_endpoint_and_then_on_the_others() -> None:
    made = world(is_installed=False)
    made.edit(V1)
    made.rest()
    assert [line.split()[0] for line in made.log[:2]] == ["Pull", "Copy"]
    first = made.log[0].split()[-1]
    assert all(line.endswith(first) for line in made.log[:2])
    assert contents(made) == {"one"}
    for disk in made.disks.values():
        (name,) = disk.names  # the tag was pulled for it, and is gone again
        assert read_made(name) is not None
        assert disk.loaded == {}  # nobody has asked for it yet


def test_one_endpoint_is_done_before_another_begins_also_while_calls_run_on_it() -> None:
    """The others may have given a name to what they serve."""
    made = world()
    made.edit(V1)
    made.rest(5)
    made.edit(V2)
    while not any(line.startswith("Pull") for line in made.log):
        made.rest(1)
    (gateway,) = made.gateways
    first = next(line for line in made.log if line.startswith("Pull")).split()[-1]
    while not any(call.endpoint.address.host == first for call in gateway.calls):
        assert gateway.call() is not None
    made.rest(30)
    loaded = next(number for number, line in enumerate(made.log) if line.startswith("Load"))
    assert {line.split()[-1] for line in made.log[: loaded + 1] if not line.startswith("Copy")} == {first}
    assert contents(made) == {"two"}


def test_no_second_endpoint_begins_while_the_first_waits_to_load() -> None:
    """As it does until it is known which file the new version has."""
    made = world()
    made.edit(V1)
    made.rest(5)
    made.untold = {made.digest("two")}
    made.edit(V2)
    made.rest(30)
    assert sum(disk.pulls for disk in made.disks.values()) == 1
    assert contents(made) == {"one"}
    made.untold.clear()
    made.rest(30)
    assert contents(made) == {"two"}


@pytest.mark.parametrize("rooms", [1, 3])
def test_an_edit_is_followed_without_a_moment_in_which_nothing_is_served(rooms: int) -> None:
    made = world(rooms=rooms)
    made.edit(V1)
    made.rest(5)
    made.edit(V2)
    for _ in range(90):
        made.rest(1)
        assert contents(made) <= {"one", "two"}
        assert all(disk.loaded for disk in made.disks.values() if rooms > 1)
        assert sum(not disk.loaded for disk in made.disks.values()) <= 1
    assert contents(made) == {"two"}
    assert all([made.kinds[one].blob for one in disk.loaded.values()] == ["two"] for disk in made.disks.values())


def test_back_to_the_former_version_nothing_is_pulled() -> None:
    made = world()
    made.edit(V1)
    made.rest(5)
    made.edit(V2)
    made.rest()
    pulls = sum(disk.pulls for disk in made.disks.values())
    made.edit(V1)
    made.rest()
    assert contents(made) == {"one"}
    assert sum(disk.pulls for disk in made.disks.values()) == pulls == 3


def test_another_system_message_shares_the_runner() -> None:
    made = world()
    made.edit(V1)
    made.rest(5)
    made.edit(V1[:-1] + ", system: Be brief}")
    made.rest(15)
    assert not any(line.startswith(("Load", "Unload", "Pull")) for line in made.log)
    assert all(made.gateways[0].wanted(one) in made.served() for one in made.gateways[0].fleet.endpoints.values())


def test_another_context_is_loaded_on_one_endpoint_at_a_time() -> None:
    made = world()
    made.edit(V1)
    made.rest(5)
    made.edit(V1[:-1] + ", parameters: {num_ctx: 8192}}")
    for _ in range(60):
        made.rest(1)
        assert sum(not disk.loaded for disk in made.disks.values()) <= 1
    loaded = [line for line in made.log if line.split()[0] in ("Load", "Unload")]
    assert [line.split()[0] for line in loaded] == ["Unload", "Load"] * 3
    assert {made.kinds[one].num_ctx for disk in made.disks.values() for one in disk.loaded.values()} == {8192}


def test_a_tag_with_new_content_is_followed_where_it_is_always_pulled() -> None:
    made = world()
    made.edit(V1.replace("if_missing", "always"), "reconcile: {pull_interval: 100s}")
    made.rest(20)
    made.publish("coder:v1", "three")
    made.rest(160)
    assert contents(made) == {"three"}


def test_twenty_edits_end_at_the_last_one() -> None:
    made = world()
    for number in range(20):
        made.publish(f"coder:n{number}", f"n{number}")
        made.edit(f"{{ollama: coder, version: n{number}, pull: if_missing}}", "reconcile: {prune: 60s}")
        made.rest(2)
    made.rest(300)
    assert contents(made) == {"n19"}
    for disk in made.disks.values():
        assert disk.pulls <= 20
        assert len([name for name in disk.names if read_made(name)]) <= 2


def test_what_fails_on_two_endpoints_is_tried_on_no_third() -> None:
    made = world()
    made.edit(V1)
    made.rest(5)
    made.edit("{ollama: coder, version: unknown, pull: if_missing}")
    made.rest(30)
    assert contents(made) == {"one"}
    assert sorted(disk.pulls > 0 for disk in made.disks.values()) == [False, True, True]
    rollout = made.gateways[0].reconciler.rollouts[KEY]
    assert (rollout.state, rollout.done, rollout.reason) == ("failed", 0, "file does not exist")
    made.publish("coder:unknown", "found")
    made.rest(400)
    assert contents(made) == {"found"}


def test_names_of_another_owner_are_left_alone() -> None:
    made = world()
    (disk, *_) = made.disks.values()
    other = "ai-gateway-other/coder:0123456789-1-0123456789ab"
    disk.names[other] = made.digest("other")
    made.edit(V1, "reconcile: {prune: 1s}")
    made.rest()
    assert other in disk.names


def test_what_no_config_names_goes_after_a_while() -> None:
    made = world(is_installed=False)
    made.edit(V1, "reconcile: {prune: 50s}")
    made.rest(30)
    made.edit(None, "reconcile: {prune: 50s}")
    made.rest(30)
    assert all(disk.names for disk in made.disks.values())
    made.rest(40)
    assert not any(disk.names for disk in made.disks.values())
