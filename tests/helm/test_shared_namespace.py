"""Releases of one name in several namespaces, whose Ollama is in one: what each makes there is its own."""

import shutil
from itertools import count
from pathlib import Path

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.running import HELMS, RELEASE, Object, helm, kind, rendered
from tools.chart.files import CHART

pytestmark = pytest.mark.cluster

_numbers = count()
KINDS = "role,rolebinding,networkpolicy,service"
CLUSTER_KINDS = "clusterrole,clusterrolebinding"


def _values(shared: str, *more: str) -> dict[str, object]:
    """All that a gateway may make outside of its namespace."""
    return {
        "discovery": {"namespaces": [shared, *more]},
        "headlessService": {"enabled": True},
        "networkPolicy": {"enabled": True, "ollama": {"enabled": True}},
        "config": {"auth": {"methods": ["kubernetes"]}},
    }


class Shared:
    """A namespace with Ollama, and two with a gateway each."""

    def __init__(self, plane: ControlPlane, version: str) -> None:
        self._plane, self._version = plane, version
        number = next(_numbers)
        self.ollama, *self.gateways = (f"{name}-{number}" for name in ("shared", "team-a", "team-b"))
        for namespace in (self.ollama, *self.gateways):
            plane.kubectl("create", "namespace", namespace)

    def helm(self, command: str, namespace: str, chart: Path = CHART) -> None:
        given = [command, RELEASE, *([] if command == "uninstall" else [str(chart), "--values=-"])]
        values = yaml.safe_dump(_values(self.ollama))
        helm(
            self._version,
            *given,
            f"--namespace={namespace}",
            kubeconfig=self._plane.admin_kubeconfig,
            input=None if command == "uninstall" else values,
        )

    def found(self, kinds: str = KINDS) -> list[Object]:
        """What gateways made in Ollama's namespace."""
        text = self._plane.kubectl("get", kinds, f"--namespace={self.ollama}", "--output=yaml")
        items: list[Object] = yaml.safe_load(text)["items"]
        return [one for one in items if "meta.helm.sh/release-name" in one["metadata"].get("annotations", {})]

    def subjects(self, kinds: str) -> list[str]:
        """Namespaces of those that a binding is about."""
        bindings = [one for one in self.found(kinds) if "subjects" in one]
        names = [one["namespace"] for binding in bindings for one in binding["subjects"]]
        return sorted(name for name in names if name in self.gateways)


@pytest.fixture(params=HELMS)
def shared(plane: ControlPlane, request: pytest.FixtureRequest) -> Shared:
    """Before any installation."""
    return Shared(plane, request.param)


def test_two_releases_of_one_name_share_a_namespace_of_ollamas(shared: Shared) -> None:
    for namespace in shared.gateways:
        shared.helm("install", namespace)
    assert len(shared.found()) == 8
    assert shared.subjects("rolebinding") == shared.gateways
    assert shared.subjects(CLUSTER_KINDS) == shared.gateways
    shared.helm("uninstall", shared.gateways[0])
    assert len(shared.found()) == 4
    assert shared.subjects("rolebinding") == shared.subjects(CLUSTER_KINDS) == shared.gateways[1:]


def test_applied_by_hand_neither_takes_anything_from_the_other() -> None:
    """`helm template | kubectl apply` asks nobody whose an object is."""
    made = [rendered("helm4", values=_values("shared"), namespace=namespace) for namespace in ("a", "b", "shared")]
    names = [
        {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects}
        for objects in made
    ]
    assert len(set().union(*names)) == sum(map(len, names))


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a", "b-c"), ("a-b", "c")), (("n" * 62 + "a", "x"), ("n" * 62 + "b", "x")), (("x", "f" * 52), ("y", "f" * 52))],
    ids=["parts", "namespaces", "names"],
)
def test_names_that_read_the_same_or_are_cut_are_different(one: tuple[str, str], other: tuple[str, str]) -> None:
    """`a` with `b-c` is not `a-b` with `c`; a name of 63 letters has no room for both."""
    names = []
    for namespace, name in (one, other):
        objects = rendered("helm4", values={**_values("shared"), "fullnameOverride": name}, namespace=namespace)
        names.append(
            {(x["kind"], x["metadata"]["name"]) for x in objects if x["metadata"].get("namespace") != namespace}
        )
        assert all(len(name) <= 63 for _, name in names[-1])
    assert len(names[0]) == len(names[1]) == 6
    assert not names[0] & names[1]


def test_a_headless_service_has_one_name_wherever_ollama_is() -> None:
    """By which the gateway looks for it in each namespace, its own among them."""
    values = {**_values("ai", "shared"), "networkPolicy": {}}
    values["discovery"] = {"namespaces": ["ai", "shared"], "mode": "endpointslices"}
    objects = rendered("helm4", values=values)
    headless = [one for one in kind(objects, "Service") if one["spec"].get("clusterIP") == "None"]
    assert [one["metadata"]["namespace"] for one in headless] == ["ai", "shared"]
    (name,) = {one["metadata"]["name"] for one in headless}
    (held,) = (one for one in kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("-models"))
    assert yaml.safe_load(held["data"]["config.yml"])["discovery"]["kubernetes"]["service"] == name


def test_an_upgrade_from_other_names_leaves_no_old_role_behind(shared: Shared, tmp_path: Path) -> None:
    """As the chart before had them: the same in whatever namespace."""
    before = tmp_path / CHART.name
    shutil.copytree(CHART, before)
    names = before / "templates" / "_names.tpl"
    as_it_is = "{{- if eq .namespace $home -}}"
    assert names.read_text().count(as_it_is) == 1
    names.write_text(names.read_text().replace(as_it_is, "{{- if or true (eq .namespace $home) -}}"))
    namespace = shared.gateways[0]
    shared.helm("install", namespace, before)
    old = {(one["kind"], one["metadata"]["name"]) for one in shared.found()}
    assert ("Role", f"{RELEASE}-discovery") in old
    shared.helm("upgrade", namespace)
    new = {(one["kind"], one["metadata"]["name"]) for one in shared.found()}
    assert len(new) == len(old)
    assert not new & old
    assert shared.subjects("rolebinding") == [namespace]
    if any(one["metadata"]["name"] == f"{RELEASE}-token-review" for one in shared.found("clusterrole")):
        raise AssertionError("the old ClusterRole is still there")
