"""Every value may be left empty, alone or with all others, wherever somebody writes it."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.judging import judged_by_server_side_apply
from tests.helm.pods import gateways
from tests.helm.running import HELMS, HelmRefuses, Object, helm, kind, objects_in, rendered
from tests.helm.umbrella import Umbrella
from tools.chart import empty_values
from tools.chart.files import CHART, at, defaults, documented_values

pytestmark = pytest.mark.cluster
every_helm = pytest.mark.parametrize("version", HELMS)

FEW = 8
ON = {"enabled": True}
AROUND: dict[str, Any] = {
    "imagePullSecrets": ["regcred"],
    "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
    "ingress": {**ON, "tls": [{"hosts": ["a.example"], "secretName": "a"}]},
    "httpRoute": {**ON, "parentRefs": [{"name": "public"}], "backendTLSPolicy": ON},
    "networkPolicy": {**ON, "ollama": ON},
    "tls": {**ON, "certManager": {**ON, "issuerRef": {"name": "internal"}}},
    "tracing": {**ON, "endpoint": "http://collector:4318"},
    "metrics": {
        "otlp": ON,
        "serviceMonitor": ON,
        "podMonitor": ON,
        "prometheusRule": ON,
        "dashboard": ON,
    },
    "config": {"auth": {"methods": ["keys"]}, "limits": {"redis": {"url": "redis://redis"}}},
    "auth": {"keysSecret": {"name": "keys"}},
    "audit": {"key": {"existingSecret": "audit"}, "postgresql": {"existingSecret": "dsn"}},
    "limits": {"redis": {"existingSecret": "redis"}},
}
WORLDS: dict[str, dict[str, Any]] = {
    "alone": {},
    "around": {**AROUND, "replicaCount": 2, "autoscaling": ON, "service": {"type": "LoadBalancer"}},
    "sidecar": {**AROUND, "placement": "ollama-sidecar", "keda": ON, "ollama": {"gpu": {"count": 1}}},
}
# What Helm makes of null it makes in every world; the templates are the same for both Helms.
every_world = pytest.mark.parametrize(("version", "world"), [("helm3", "alone"), *(("helm4", one) for one in WORLDS)])


def _paths(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Sections and all that is in them."""
    for name, value in values.items():
        yield (inner := f"{path}.{name}".lstrip("."))
        if isinstance(value, dict):
            yield from _paths(value, inner)


DOCUMENTED = [value.path for value in documented_values()]
SECTIONS = [path for path in _paths(defaults()) if any(value.startswith(f"{path}.") for value in DOCUMENTED)]
INSIDE = [path for path in _paths(defaults()) if path not in {*DOCUMENTED, *SECTIONS}]


# Helm adds to an object what its default holds, so that nothing in it can be said by null alone.
WHOLE = [
    path
    for path in DOCUMENTED
    if empty_values.becomes(path) == {} and isinstance(at(defaults(), path), dict) and at(defaults(), path)
]


def test_there_are_as_many_of_each_kind_as_one_would_think() -> None:
    assert (len(DOCUMENTED) > 200, len(SECTIONS) > 30, len(INSIDE) > 30) == (True, True, True)


@every_world
def test_a_value_that_is_empty_is_the_one_that_it_becomes(version: str, world: str) -> None:
    for some in _few_at_once([path for path in DOCUMENTED if path not in WHOLE]):
        assert _is_what_it_becomes(version, world, some) or all(
            _is_what_it_becomes(version, world, [path]) for path in some
        ), some


def _is_what_it_becomes(version: str, world: str, paths: list[str]) -> bool:
    """False where the values are refused, too, if there are several: each may have its own reason."""
    empty, said = _copy(WORLDS[world]), _copy(WORLDS[world])
    for path in paths:
        _put(empty, path, None)
        if empty_values.becomes(path) == at(defaults(), path):
            _take_out(said, path)
        else:
            _put(said, path, empty_values.becomes(path))
    answer = _answer(version, empty)
    return answer == _answer(version, said) and (len(paths) == 1 or isinstance(answer, list))


@every_helm
def test_what_is_one_value_as_a_whole_is_nothing_when_it_is_empty(version: str) -> None:
    assert {"podSecurityContext", "startupProbe", "strategy", "ollama.resources"} < set(WHOLE)
    objects = rendered(version, values=_empty(WHOLE))
    (deployment,) = kind(objects, "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    (gateway,) = spec["containers"]
    assert [one for one in (spec["securityContext"], gateway["securityContext"], gateway["resources"]) if one] == []
    assert [name for name in gateway if name.endswith("Probe")] == []
    assert deployment["spec"]["strategy"] == {}


@every_world
def test_a_section_that_is_empty_is_as_values_yaml_has_it(version: str, world: str) -> None:
    for some in _few_at_once(SECTIONS):
        assert _is_as_it_was(version, world, some) or all(_is_as_it_was(version, world, [path]) for path in some), some


def _is_as_it_was(version: str, world: str, paths: list[str]) -> bool:
    """The same of sections."""
    empty, without = _copy(WORLDS[world]), _copy(WORLDS[world])
    for path in paths:
        _put(empty, path, None)
        _take_out(without, path)
    answer = _answer(version, empty)
    return answer == _answer(version, without) and (len(paths) == 1 or isinstance(answer, list))


@every_helm
def test_all_that_are_empty_at_once_are_what_they_become(version: str) -> None:
    meant: dict[str, Any] = {}
    for path in DOCUMENTED:
        is_nothing = path in WHOLE and not _is_all_documented(path.rpartition(".")[0])
        _put(meant, path, None if is_nothing else at(defaults(), path) if path in WHOLE else empty_values.becomes(path))
    plain = rendered(version, values=meant)
    assert rendered(version, values=_empty(DOCUMENTED)) == plain
    arguments = [f"--set={path}=null" for path in DOCUMENTED]
    text = helm(version, "template", "ai-gateway-ollama", str(CHART), "--namespace=ai", *arguments)
    assert objects_in(text) == plain
    assert rendered(version, values=dict.fromkeys(defaults())) == rendered(version, values=_wholes())


def _is_all_documented(section: str) -> bool:
    """A section of which every value is empty, so that Helm leaves nothing of it: it is as values.yaml has it."""
    return bool(section) and {f"{section}.{name}" for name in at(defaults(), section)} <= {*DOCUMENTED}


def _wholes() -> dict[str, Any]:
    """What the values at the top become: nothing is said of sections."""
    names = [name for name in defaults() if name in DOCUMENTED]
    return {name: None if name in WHOLE else empty_values.becomes(name) for name in names}


@every_world
def test_the_api_server_takes_what_is_left_of_any_key(judge: ControlPlane, version: str, world: str) -> None:
    """Also where one was taken out of a probe, a security context, or the resources."""
    taken: list[Object] = []
    for paths in (DOCUMENTED, SECTIONS, INSIDE):
        for some in _few_at_once(paths):
            taken += _objects_without(version, world, some)
    judged_by_server_side_apply(judge, taken)


def _objects_without(version: str, world: str, paths: list[str]) -> list[Object]:
    """What is rendered where these are empty; where that is refused, with one of them after the other."""
    values = _copy(WORLDS[world])
    for path in paths:
        _put(values, path, None)
    answer = _answer(version, values)
    if isinstance(answer, list) or len(paths) == 1:
        return answer if isinstance(answer, list) else []
    return [one for path in paths for one in _objects_without(version, world, [path])]


def _few_at_once(paths: list[str]) -> list[list[str]]:
    """Some of each page of values.yaml: one by one they take minutes, and neighbours may hide each other."""
    number = -(-len(paths) // FEW)
    return [paths[first::number] for first in range(number)]


@every_helm
def test_a_key_that_somebody_took_out_stays_out(version: str) -> None:
    """As OpenShift's users do, which gives each namespace users of its own."""
    nobody = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    given = {"podSecurityContext": nobody, "resources": {"limits": None}, "livenessProbe": None}
    (pod,) = gateways(rendered(version, values=given))
    assert not nobody.keys() & pod.spec["securityContext"].keys()
    assert pod.spec["securityContext"]["runAsNonRoot"] is True
    gateway = pod.container("gateway")
    assert gateway["resources"] == {"requests": at(defaults(), "resources.requests")}
    assert "livenessProbe" not in gateway
    assert gateway["readinessProbe"] == at(defaults(), "readinessProbe")


@every_helm
def test_no_protection_is_off_because_its_line_is_empty(version: str) -> None:
    values = {"config": {"auth": None, "callers": None, "limits": None, "require": None}, "networkPolicy": None}
    assert rendered(version, values=values) == rendered(version)
    given: dict[str, Any] = {**WORLDS["around"], "config": {"auth": {"methods": ["kubernetes"], "audience": "a"}}}
    given["config"]["auth"]["methods"] = None
    with pytest.raises(HelmRefuses, match="methods"):
        rendered(version, values=given)


@every_helm
def test_under_a_parent_they_are_the_same(version: str, tmp_path: Path) -> None:
    parent = Umbrella(tmp_path)
    for some in _few_at_once(list(defaults())):
        empty = _empty(some)
        assert parent.rendered(version, given=empty, own={}) == _answer(version, empty), some
    everything = _empty(DOCUMENTED)
    assert parent.rendered(version, given=everything, own={}) == rendered(version, values=everything)


@every_helm
def test_a_parent_that_leaves_any_empty_gets_objects(judge: ControlPlane, version: str, tmp_path: Path) -> None:
    """In its own values.yaml; Helm 4 then takes the default, whatever the value."""
    parent = Umbrella(tmp_path)
    own = [_empty(some) for some in _few_at_once(list(defaults()))] + [_empty(DOCUMENTED), _empty(SECTIONS)]
    judged_by_server_side_apply(judge, [one for empty in own for one in parent.rendered(version, given={}, own=empty)])


@every_helm
def test_globals_of_the_parent_are_left_as_they_are(version: str, tmp_path: Path) -> None:
    parent = Umbrella(tmp_path)
    written = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"all": "GLOBAL"}}
    template = yaml.safe_dump(written).replace("GLOBAL", "{{ toJson .Values.global | quote }}")
    for name in ("a", "z"):  # rendered before and after this chart
        (tmp_path / "templates").mkdir(exist_ok=True)
        (tmp_path / "templates" / f"{name}.yaml").write_text(template)
    theirs = {"theirs": {"a": 1}, "imagePullSecrets": ["regcred"]}
    objects = parent.rendered(version, given={}, own={}, shared=theirs)
    said = [json.loads(one["data"]["all"]) for one in objects if one["metadata"]["name"] == "theirs"]
    assert said == [theirs, theirs]
    assert [pod.spec["imagePullSecrets"] for pod in gateways(objects)] == [[{"name": "regcred"}]]


@every_helm
@pytest.mark.parametrize(
    "said",
    [
        "-json=config.models.qwen3=null",
        "-json=config.models.qwen3={}",
        "=config.models.qwen3=null",
        "=config.models.qwen3=",
    ],
)
def test_a_model_of_which_nothing_is_said_is_served_by_its_id(version: str, said: str) -> None:
    arguments = ["template", "ai-gateway-ollama", str(CHART), "--set=ollama.enabled=true", f"--set{said}"]
    text = helm(version, *arguments)
    (config,) = [one["data"]["config.yml"] for one in objects_in(text) if "config.yml" in one.get("data", {})]
    assert yaml.safe_load(config)["models"] == {"qwen3": {}}
    assert "- qwen3:latest" in text


@every_helm
def test_a_model_of_which_nothing_is_said_is_served_from_a_file(version: str, tmp_path: Path) -> None:
    """Also from one of a parent."""
    parent = Umbrella(tmp_path)
    models: dict[str, Any] = {"qwen3": None, "coder": {"version": "7b"}}
    values = {"config": {"models": models}}
    for objects in (
        rendered(version, values=values),
        parent.rendered(version, given=values, own={}),
        parent.rendered(version, given={}, own=values),
    ):
        (config,) = [one["data"]["config.yml"] for one in objects if "config.yml" in one.get("data", {})]
        assert yaml.safe_load(config)["models"] == {"qwen3": {}, "coder": {"version": "7b"}}


def test_every_template_that_renders_settles_the_values_first() -> None:
    for file in (CHART / "templates").rglob("*"):
        if file.suffix in (".yaml", ".txt"):
            assert file.read_text().startswith('{{- include "ai-gateway-ollama.settle" . -}}\n'), file.name


def test_the_file_of_empty_values_is_the_one_that_values_yaml_makes() -> None:
    assert empty_values.FILE.read_text() == empty_values.as_text(), "run: python -m tools.chart"
    assert {*DOCUMENTED} >= empty_values.NOTHING | empty_values.NEEDED


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    """With nothing in it that stands in two places."""
    copied: dict[str, Any] = json.loads(json.dumps(values))
    return copied


def _empty(paths: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path in paths:
        _put(values, path, None)
    return values


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *rooms, name = path.split(".")
    for room in rooms:
        if not isinstance(values.get(room), dict):
            values[room] = {}
        values = values[room]
    values[name] = value


def _take_out(values: dict[str, Any], path: str) -> None:
    *rooms, name = path.split(".")
    for room in rooms:
        values = values.get(room, {})
    values.pop(name, None)


def _answer(version: str, values: dict[str, Any]) -> list[Object] | str:
    """The objects, or why there are none: what is needed and has no default is asked for by its name."""
    return _answered(version, yaml.safe_dump(values))


@cache
def _answered(version: str, values: str) -> list[Object] | str:
    try:
        return rendered(version, values=yaml.safe_load(values))
    except HelmRefuses as refused:
        if "execution error" not in str(refused):  # what a check says; anything else is a panic
            raise
        return str(refused)
