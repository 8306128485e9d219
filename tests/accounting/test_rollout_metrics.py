"""What a scrape says of models that follow the config: their states, the gateway's steps, and what may leave disks."""

import pytest
from tests.reconcile.rollout_world import KEY, Gateway, Rollouts

from ai_gateway.accounting.fleet_metrics import fleet_metrics
from ai_gateway.accounting.rollout_metrics import RolloutMetrics
from ai_gateway.balancing.report import Report, decode, encode
from ai_gateway.balancing.reporting import Presence
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.config.loading import parse
from ai_gateway.reconcile.steps import Copy, LetGo, Pull
from ai_gateway.telemetry import names
from ai_gateway.telemetry.meanings import METRICS
from ai_gateway.telemetry.metrics import as_text
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import Distribution

V1, V2 = "{ollama: coder, version: v1, pull: if_missing}", "{ollama: coder, version: v2, pull: if_missing}"
SHAPED = V1[:-1] + ", system: Be brief}"
SPEC, DIGEST = "0123456789", "0123456789ab"


def world(count: int = 3) -> Rollouts:
    """Empty endpoints, a registry with two versions, and a gateway."""
    made = Rollouts(count)
    made.publish("coder:v1", "one")
    made.publish("coder:v2", "two")
    made.add_gateway()
    return made


def samples(gateway: Gateway) -> dict[tuple[str, ...], float]:
    """Every number by name and labels, under the world's config."""
    current = CurrentConfig(parse(gateway.world.config.encode()))
    metrics = RolloutMetrics(gateway.fleet, current)
    found = [*metrics.samples(), *fleet_metrics(gateway.fleet, current.now.catalog, gateway.world.clock())]
    return by_labels(found)


def by_labels(found: list[Sample]) -> dict[tuple[str, ...], float]:
    """Numbers by name and labels; none is told twice."""
    read = {}
    for sample in found:
        assert len(sample.labels) == len(METRICS[sample.name].labels), sample.name
        assert not isinstance(sample.value, Distribution)
        assert (sample.name, *sample.labels) not in read
        read[(sample.name, *sample.labels)] = sample.value
    return read


def states(found: dict[tuple[str, ...], float]) -> list[str]:
    """Those that `coder` is said to be in."""
    return [labels[1] for name, *labels in found if name == names.ROLLOUT and labels[0] == "coder"]


def endpoints(found: dict[tuple[str, ...], float]) -> tuple[float, ...]:
    """How many endpoints of `coder` are done, left and failed."""
    return tuple(found[names.ROLLOUT_ENDPOINTS, "coder", state] for state in ("done", "left", "failed"))


def unnamed(gateway: Gateway) -> list[float]:
    """Bytes that no config names, of each endpoint."""
    return [value for (name, *_), value in samples(gateway).items() if name == names.ENDPOINT_UNNAMED]


def test_a_rollout_is_in_one_state_at_a_time_until_all_endpoints_are_done() -> None:
    """Their numbers always add up to all of them."""
    made = world()
    made.edit(V1)
    seen = []
    for _ in range(30):
        made.rest(1)
        found = samples(made.gateways[0])
        (state,) = states(found)
        assert sum(endpoints(found)) == 3
        assert (endpoints(found) == (3, 0, 0)) == (state == "done")
        seen.append(state)
    assert list(dict.fromkeys(seen)) == ["pulling", "updating", "done"]


def test_a_rollout_that_fails_says_on_how_many_endpoints() -> None:
    made = world()
    made.edit(V1)
    made.rest(30)
    made.edit("{ollama: coder, version: unknown, pull: if_missing}")
    made.rest(30)
    found = samples(made.gateways[0])
    assert states(found) == ["failed"]
    assert endpoints(found) == (0, 1, 2)


def test_a_model_that_follows_nothing_has_no_rollout() -> None:
    made = world()
    made.edit("{ollama: coder, version: v1}")
    made.rest(5)
    assert states(samples(made.gateways[0])) == []


def test_a_model_that_is_gone_from_the_config_has_no_rollout() -> None:
    made = world()
    made.edit(V1)
    made.rest(30)
    made.edit(None)
    assert states(samples(made.gateways[0])) == []


def test_a_gateway_that_does_not_decide_shows_what_the_other_one_tells() -> None:
    """And nothing when it hears of none: what it does not know it does not tell."""
    made = world()
    made.edit(V1)
    gateway = made.gateways[0]
    hears(gateway, {KEY: Rollout("pulling", done=1, total=5, progress=0.5, failed=1)})
    found = samples(gateway)
    assert (states(found), endpoints(found)) == (["pulling"], (1, 3, 1))
    assert found[names.ROLLOUT_PROGRESS, "coder"] == 0.5
    hears(gateway, {})
    assert states(samples(gateway)) == []


@pytest.mark.parametrize("number", [-5, 1 << 60])
def test_a_report_with_absurd_numbers_spoils_no_scrape(number: int) -> None:
    made = world()
    made.edit(V1)
    gateway = made.gateways[0]
    hears(gateway, {KEY: Rollout("updating", number, number, failed=number)})
    found = samples(gateway)
    assert all(0 <= count <= 1 << 20 for count in endpoints(found))
    assert as_text(Sample(labels[0], value, labels[1:]) for labels, value in found.items())


def hears(gateway: Gateway, rollouts: dict[str, Rollout]) -> None:
    """Another gateway decides for both, and tells of its rollouts."""
    report = decode(encode(Report(uid="a", leads=True, may_lead=True, rollouts=rollouts)))
    both = frozenset(("a", "b"))
    present = Presence(own="b", is_known=True, count=2, ready=both, fresh=frozenset(("a",)))
    gateway.fleet.peers.take_reports({"a": (report, gateway.world.clock())}, present)
    gateway.reconciler.decide()
    assert gateway.fleet.peers.leader == "a"


def test_steps_are_counted_by_kind_and_end_from_zero_on() -> None:
    """Of a counter that begins at 1 Prometheus sees no increase."""
    made = world()
    gateway = made.gateways[0]
    endpoint = next(iter(gateway.fleet.endpoints.values()))
    metrics = RolloutMetrics(gateway.fleet, CurrentConfig(parse(b"models: {}")))
    found = by_labels(list(metrics.samples()))
    assert {value for (name, *_), value in found.items() if name == names.ROLLOUT_STEPS} == {0}
    pull = Pull(endpoint=endpoint, key=KEY, tag="coder:v1", name="coder:v1", is_new=True)
    metrics.note(pull, "done")
    metrics.note(pull, "failed")
    metrics.note(pull, "failed")
    metrics.note(Copy(endpoint=endpoint, key=KEY, source="coder:v1", digest="", name=""), "dropped")
    metrics.note(LetGo(endpoint=endpoint, key=KEY, name="", runner=""), "done")
    after = by_labels(list(metrics.samples()))
    assert after.keys() == found.keys()
    assert {labels[1:]: value for labels, value in after.items() if value} == {
        ("pull", "done"): 1,
        ("pull", "failed"): 2,
        ("copy", "dropped"): 1,
        ("let_go", "done"): 1,
    }


def test_downloaded_bytes_are_the_models_by_its_id() -> None:
    """Those of a model that the config has no more are no new label."""
    made = world()
    made.edit(V1)
    current = CurrentConfig(parse(made.config.encode()))
    metrics = RolloutMetrics(made.gateways[0].fleet, current)
    metrics.note_pulled(KEY, 40)
    metrics.note_pulled(KEY, 2)
    metrics.note_pulled("ai-gateway-default/gone", 5)
    found = by_labels(list(metrics.samples()))
    assert {labels[1]: value for labels, value in found.items() if labels[0] == names.PULLED} == {
        "coder": 42,
        "other": 5,
    }


# -- bytes that no config names


def test_what_the_config_wants_and_the_version_before_are_named() -> None:
    made = world(1)
    for version in (V1, V2):
        made.edit(version)
        made.rest(30)
        assert unnamed(made.gateways[0]) == [0]


def test_a_third_version_leaves_bytes_that_no_config_names_until_they_are_deleted() -> None:
    made = world(1)
    made.publish("coder:v3", "three")
    for version in (V1, V2, V2.replace("v2", "v3")):
        made.edit(version, "reconcile: {prune: 100s}")
        made.rest(30)
    assert unnamed(made.gateways[0]) == [10]
    made.rest(120)
    assert unnamed(made.gateways[0]) == [0]


def test_all_of_a_model_that_the_config_has_no_more_is_unnamed() -> None:
    """Copies of one content count once."""
    made = world(1)
    made.edit(V1)
    made.rest(30)
    (disk,) = made.disks.values()
    (name,) = disk.names
    disk.names[f"{KEY}:{SPEC}-7-{DIGEST}"] = disk.names[name]
    made.edit(None)
    made.rest(1)
    assert unnamed(made.gateways[0]) == [10]


def test_a_copy_of_what_another_name_has_frees_nothing() -> None:
    """Whoever made that name: the files stay with it."""
    made = world(1)
    made.edit(V1)
    made.rest(30)
    (disk,) = made.disks.values()
    (name,) = disk.names
    disk.names["mine:latest"] = disk.names[name]
    made.edit(None)
    made.rest(1)
    assert unnamed(made.gateways[0]) == [0]


def test_a_model_made_of_a_file_that_stays_frees_nothing() -> None:
    """Its own manifest is another one, and the file is the same."""
    made = world(1)
    made.edit(V1)
    made.rest(30)
    for text in ("Be brief", "Be kind", "Be quick"):
        made.edit(SHAPED.replace("Be brief", text))
        made.rest(30)
    (disk,) = made.disks.values()
    assert len(disk.names) > 2
    assert unnamed(made.gateways[0]) == [0]


def test_names_of_another_owner_are_not_counted() -> None:
    made = world(1)
    (disk,) = made.disks.values()
    for owner in ("other", "default-2"):
        disk.names[f"ai-gateway-{owner}/coder:{SPEC}-1-{DIGEST}"] = made.digest(owner)
    disk.names["ai-gateway-default/not-made:latest"] = made.digest("somebody's")
    made.edit(V1)
    made.rest(30)
    assert unnamed(made.gateways[0]) == [0]


def test_a_disk_full_of_made_names_adds_no_series() -> None:
    """However many names an endpoint lists."""
    made = world(1)
    made.edit(V1)
    made.rest(30)
    before = samples(made.gateways[0])
    (disk,) = made.disks.values()
    for number in range(1, 101):
        disk.names[f"{KEY}:{SPEC}-{number + 10}-{DIGEST}"] = made.digest(f"n{number}")
    made.gateways[0].look()
    after = samples(made.gateways[0])
    assert len(after) == len(before)
    assert unnamed(made.gateways[0]) == [10 * 100 - 10]  # the newest of them counts as the version before
