"""Which endpoints get a model where the config does not say so."""

from tests.reconcile.rollout_world import KEY, Disk, Rollouts
from tests.reconcile.test_rollouts import V1, contents, world

from ai_gateway.balancing.pod import Pod
from ai_gateway.wire.address import Address
from ai_gateway.wire.made_names import read_made


def pods(made: Rollouts, *workloads: str) -> None:
    """The endpoints are pods of these workloads, in order."""
    for (address, pod), workload in zip(list(made.pods.items()), workloads, strict=False):
        made.pods[address] = Pod(pod.name, "default", workload=workload, max_loaded_models=3)


def join(made: Rollouts, name: str, workload: str) -> Disk:
    """A new pod, with an empty disk."""
    address = Address(name)
    made.disks[address] = Disk(address, 3)
    made.pods[address] = Pod(name, "default", workload=workload, max_loaded_models=3)
    apply(made)
    return made.disks[address]


def apply(made: Rollouts) -> None:
    """Discovery tells of the pods that are there now."""
    for gateway in made.gateways:
        gateway.fleet.apply(made.disks, made.pods)
        for endpoint in gateway.fleet.endpoints.values():
            gateway.fleet.saw_up(endpoint, "0.24.0")


def one_of_two_has_it() -> Rollouts:
    """Two pods of one workload and one of another; somebody put the model on the first alone."""
    made = world(is_installed=False)
    pods(made, "StatefulSet/gpu", "StatefulSet/gpu", "StatefulSet/cpu")
    next(iter(made.disks.values())).names["coder:v1"] = made.digest("one")
    made.config = f"models: {{coder: {V1}}}"
    made.gateways[0].restart()
    made.rest(30)
    return made


def test_pods_that_were_there_without_a_model_stay_without_it() -> None:
    """An upgrade to a gateway that may pull writes nothing where each model is on some pod."""
    assert one_of_two_has_it().log == []


def test_a_new_pod_gets_what_the_others_of_its_workload_have() -> None:
    made = one_of_two_has_it()
    new, other = join(made, "gpu-2", "StatefulSet/gpu"), join(made, "cpu-1", "StatefulSet/cpu")
    made.rest(30)
    assert [read_made(name) is not None for name in new.names] == [True]
    assert other.names == {}


def test_the_only_pod_of_a_model_comes_back_with_another_address() -> None:
    """It gets the model again, and no other workload does, though for a while nobody had it."""
    made = world(2, is_installed=False)
    pods(made, "Deployment/gpu", "Deployment/cpu")
    first, _ = made.disks.values()
    first.names["coder:v1"] = made.digest("one")
    made.config = f"models: {{coder: {V1}}}"
    made.gateways[0].restart()
    made.rest(10)
    del made.disks[first.address], made.pods[first.address]
    apply(made)
    made.rest(60)
    new = join(made, "gpu-2", "Deployment/gpu")
    made.rest(60)
    assert new.names
    assert [disk.names for disk in made.disks.values() if disk is not new] == [{}]


def test_a_model_whose_workload_is_gone_for_good_comes_to_the_others() -> None:
    made = world(2, is_installed=False)
    pods(made, "Deployment/gpu", "Deployment/cpu")
    first, last = made.disks.values()
    first.names["coder:v1"] = made.digest("one")
    made.config = f"models: {{coder: {V1}}}"
    made.gateways[0].restart()
    made.rest(10)
    del made.disks[first.address], made.pods[first.address]
    apply(made)
    made.rest(300)
    assert last.names


def test_a_model_whose_only_endpoint_is_down_is_not_brought_to_the_others() -> None:
    """It may be back in a moment."""
    made = world(is_installed=False)
    (disk, *_) = made.disks.values()
    disk.names["coder:v1"] = made.digest("one")
    made.edit(V1)
    made.gateways[0].restart()
    made.rest(5)
    fleet = made.gateways[0].fleet
    fleet.saw_down(fleet.endpoints[disk.address], "away")
    made.rest(30)
    assert made.log == []


def test_an_endpoint_that_never_tells_what_it_holds_is_waited_for_no_longer_than_a_while() -> None:
    made = world(is_installed=False)
    (silent, *_) = made.disks.values()
    gateway = made.gateways[0]
    gateway.blind.add(silent.address)
    made.edit(V1)
    gateway.restart()
    made.rest(20)
    assert made.log == []
    made.rest(60)
    assert sum(bool(disk.names) for disk in made.disks.values()) == 2


def test_a_model_that_may_not_be_pulled_is_in_place_nowhere_but_where_it_is() -> None:
    made = world(is_installed=False)
    shaped = "{ollama: coder, version: v1, pull: never, system: Be brief}"
    made.edit(shaped)
    made.rest(10)
    gateway = made.gateways[0]
    assert made.log == []
    assert gateway.reconciler.rollouts == {}
    (plan,) = gateway.reconciler.plans.values()
    assert not gateway.reconciler.is_in_place(plan)
    (disk, *_) = made.disks.values()
    disk.names["coder:v1"] = made.digest("one")
    made.rest(10)
    assert gateway.reconciler.rollouts[KEY].total == 1
    assert gateway.reconciler.is_in_place(plan)


def test_what_cannot_be_made_says_why() -> None:
    """The version before serves on."""
    made = world(is_installed=False)
    made.edit(V1)
    made.rest(30)
    made.edit("{ollama: coder, version: v2, pull: never, system: Be brief}")
    made.rest(10)
    rollout = made.gateways[0].reconciler.rollouts[KEY]
    assert (rollout.state, rollout.done, rollout.failed) == ("failed", 0, 3)
    assert rollout.reason == "its tag is not on the disk, and `pull` is never"
    assert contents(made) == {"one"}
