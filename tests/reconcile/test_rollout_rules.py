"""What a rollout must not do to calls, and what it does where something stands in its way."""

from tests.reconcile.rollout_world import KEY, Rollouts
from tests.reconcile.test_rollouts import V1, V2, contents, world

from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.ticket import Ticket
from ai_gateway.reconcile.steps import Pull
from ai_gateway.wire.made_names import key_of, read_made


def only_loaded_on_the_first(rooms: int, count: int = 2) -> Rollouts:
    """Endpoints that hold v1; one has it loaded."""
    made = world(count, rooms)
    for disk in list(made.disks.values())[1:]:
        disk.loaded.clear()
    made.edit(V1)
    made.rest(5)
    return made


def test_the_only_loaded_copy_makes_room_once_there_is_another_one() -> None:
    made = only_loaded_on_the_first(rooms=1)
    made.edit(V2)
    for _ in range(90):
        made.rest(1)
        assert any(disk.loaded for disk in made.disks.values()), "calls would wait for a load"
    assert contents(made) == {"two"}


def test_where_calls_must_wait_for_a_load_people_are_told() -> None:
    made = only_loaded_on_the_first(rooms=1, count=1)
    told = made.gateways[0].news
    made.edit(V2)
    made.rest(60)
    assert [(state, waits) for state, waits in told if waits] == [("updating", True)]
    assert told[-1] == ("done", False)
    assert contents(made) == {"two"}


def test_no_room_is_made_for_a_version_that_is_edited_away() -> None:
    made = only_loaded_on_the_first(rooms=1, count=1)
    (gateway,) = made.gateways
    gateway.call()
    made.edit(V2)
    made.rest(10)
    (endpoint,) = gateway.fleet.endpoints.values()
    reserved = [endpoint.reserved]
    made.edit(V1)
    made.rest(3)
    reserved.append(endpoint.reserved)
    assert [one is not None for one in reserved] == [True, False]
    assert "Unload" not in " ".join(made.log)


def test_a_version_that_fails_to_load_leaves_calls_to_the_one_before() -> None:
    made = world()
    made.edit(V1)
    made.rest(5)
    made.broken.add(made.digest("two"))
    made.edit(V2)
    made.rest(60)
    assert contents(made) == {"one"}
    assert made.gateways[0].reconciler.rollouts[KEY].state == "failed"
    for disk in made.disks.values():
        disk.loaded.clear()  # nobody has called for a while
    made.rest(1)
    pool = made.gateways[0].fleet.pool(KEY)
    ticket = Ticket(frozenset(), lambda: None)
    pool.wait(ticket)
    made.rest(3)
    assert ticket.choice is not None, "the call gets the version that loads"
    assert made.kinds[made.disks[ticket.choice.endpoint.address].names[ticket.choice.name]].blob == "one"


def test_a_tag_that_one_model_follows_does_not_move_under_another_model() -> None:
    made = world()
    made.write("""
models:
  coder: {ollama: coder, version: v1, pull: if_missing}
  fresh: {ollama: coder, version: v1, pull: always}
reconcile: {pull_interval: 60s}
""")
    made.rest(20)
    made.publish("coder:v1", "three")
    made.rest(200)
    fresh = key_of("default", "fresh")
    for endpoint in made.gateways[0].fleet.endpoints.values():
        names = made.disks[endpoint.address].names
        assert names["coder:v1"] == made.digest("three")
        assert names[endpoint.residency.name_for(fresh)] == made.digest("three")
        assert read_made(endpoint.residency.name_for(KEY)) is not None


def test_a_model_whose_labels_no_pod_has_says_so() -> None:
    made = world(is_installed=False)
    made.edit(V1[:-1] + ", endpoints: {gpu: large}}")
    made.rest()
    rollout = made.gateways[0].reconciler.rollouts[KEY]
    assert (rollout.state, rollout.reason) == ("failed", "no pod has the labels of the model: gpu=large")
    assert made.log == []


def test_only_pods_with_the_labels_get_the_model() -> None:
    made = world(is_installed=False)
    for number, address in enumerate(made.pods):
        made.pods[address] = Pod(f"pod-{number}", "default", labels={"gpu": "large" if number else "small"})
    made.gateways[0].restart()
    made.edit(V1[:-1] + ", endpoints: {gpu: large}}")
    made.rest()
    assert [bool(disk.names) for disk in made.disks.values()] == [False, True, True]
    assert not any("coder:v1" in disk.names for disk in made.disks.values())


def test_a_base_is_kept_as_long_as_its_model_is_wanted() -> None:
    """Another system message needs no pull, however long ago the model was pulled."""
    made = world(is_installed=False)
    more = "reconcile: {prune: 20s}"
    for text in ("One.", "Two.", "Three."):
        made.edit(V1[:-1] + f", system: {text}}}", more)
        made.rest(120)
    assert sum(disk.pulls for disk in made.disks.values()) == 3
    assert all(len(disk.names) <= 3 for disk in made.disks.values())


def test_who_leads_next_goes_on_where_the_pull_had_begun() -> None:
    made = world(is_installed=False)
    first, second = made.gateways[0], made.add_gateway()
    made.edit(V1)
    first.decide()
    (step,) = first.steps
    assert isinstance(step, Pull)
    busiest = step.endpoint.address
    second.hears(first)
    second.leads()
    second.fleet.endpoints[busiest].total_in_flight += 5  # by its calls alone it would be the last
    second.decide()
    assert [one.endpoint.address for one in second.steps] == [busiest]


def test_pods_on_one_volume_are_written_through_one_of_them() -> None:
    made = world(is_installed=False)
    shared = next(iter(made.disks.values())).names
    for disk in made.disks.values():
        disk.names = shared
    more = "reconcile: {shared_store: true, prune: 50s}"
    made.edit(V1, more)
    made.rest(40)
    assert [line.split()[0] for line in made.log] == ["Pull", "Copy", "Delete"]
    assert contents(made) == {"one"}
    last = list(made.disks.values())[-1]
    name = next(iter(shared))
    made.edit(V2, more)
    made.rest(40)
    made.edit(V1.replace("v1", "v3"), more)
    made.publish("coder:v3", "three")
    for _ in range(100):
        last.loaded[name] = shared[name]  # somebody uses the first version through another pod
        made.rest(1)
    assert name in shared
    last.loaded.clear()
    made.rest(100)
    assert name not in shared


def test_a_refresh_is_no_news() -> None:
    made = world()
    made.edit(V1.replace("if_missing", "always"), "reconcile: {pull_interval: 60s}")
    made.rest(30)
    told = made.gateways[0].news
    told.clear()
    made.rest(400)
    assert told == []
    assert all(disk.pulls > 3 for disk in made.disks.values())


def test_a_gateway_that_does_not_write_begins_nothing() -> None:
    made = world(is_installed=False)
    made.edit(V1, "reconcile: {mode: never}")
    made.rest()
    assert made.log == []
    assert made.gateways[0].reconciler.why_not == "reconcile.mode is never"


def test_the_runner_of_a_model_that_is_removed_leaves() -> None:
    made = world(is_installed=False)
    made.edit(V1)
    made.rest(30)
    for disk in made.disks.values():
        disk.loaded = dict(disk.names)  # with keep_alive -1 they would stay for ever
    made.edit(None)
    made.rest(10)
    assert [line.split()[0] for line in made.log].count("LetGo") == 3
    assert not any(disk.loaded for disk in made.disks.values())


def test_what_cannot_be_taken_away_does_not_hold_back_what_is_to_come() -> None:
    made = world(is_installed=False)
    made.edit(V1)
    made.failing.add("Delete")
    made.rest(60)
    deletes = [line for line in made.log if line.startswith("Delete")]
    assert 3 <= len(deletes) <= 12, "it is tried again, and not each second"
    made.edit(V2)
    made.rest(60)
    assert contents(made) == {"two"}
    made.failing.clear()
    made.rest(300)
    assert all(map(read_made, (name for disk in made.disks.values() for name in disk.names)))


def test_a_long_pull_holds_back_no_other_model() -> None:
    made = world(is_installed=False)
    gateway = made.gateways[0]
    made.write("models: {big: {ollama: coder, version: v2, pull: if_missing, copies: all}}")
    gateway.decide()
    pulls = list(gateway.steps)
    gateway.steps.clear()  # they take hours
    for disk in made.disks.values():
        disk.names["coder:v1"] = made.digest("one")
    made.write("""
models:
  big: {ollama: coder, version: v2, pull: if_missing, copies: all}
  coder: {ollama: coder, version: v1, system: Hi, pull: never}
""")
    made.rest(60)
    assert len(pulls) == 1
    for endpoint in gateway.fleet.endpoints.values():
        assert endpoint.residency.name_for(KEY) == gateway.wanted(endpoint)


def test_nothing_is_deleted_while_a_pull_writes_to_the_disk() -> None:
    made = world(1, is_installed=False)
    made.edit(V1, "reconcile: {prune: 10s}")
    made.rest(30)
    gateway = made.gateways[0]
    made.write("models: {big: {ollama: coder, version: v2, pull: if_missing, copies: all}}\nreconcile: {prune: 10s}")
    gateway.decide()
    (pull,) = gateway.steps
    gateway.steps.clear()
    made.rest(60)
    (disk,) = made.disks.values()
    assert len(disk.names) == 1, "the name that no config asks for is still there"
    gateway.carry_out(pull)
    made.rest(60)
    assert [read_made(name) is not None and name.split("/")[1].split(":")[0] for name in disk.names] == ["big"]


def test_a_tag_whose_pull_is_cut_when_it_is_done_goes_too() -> None:
    """The edit and the end of the pull cross."""
    made = world(1, is_installed=False)
    made.edit(V1)
    gateway = made.gateways[0]
    gateway.decide()
    (pull,) = gateway.steps
    gateway.reconciler.report_progress(lambda endpoint: (1.0, 0.0) if pull in gateway.steps else None)
    made.do(pull, gateway)
    made.edit(V2)
    made.rest(60)
    (disk,) = made.disks.values()
    assert all(map(read_made, disk.names))
