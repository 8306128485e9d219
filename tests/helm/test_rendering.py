"""What the chart renders is what Kubernetes takes, whatever the values."""

import json
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.running import HELMS, Object, helm
from tests.helm.worlds import PAIRS, SINGLE, WORLDS, World, files_of, objects_of
from tools.chart.files import CHART, metadata

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("version", HELMS)
def test_lint_finds_nothing_in_any_ci_file(version: str) -> None:
    for world in SINGLE:
        said = helm(version, "lint", str(CHART), "--strict", *(f"--values={file}" for file in files_of(world)))
        assert "0 chart(s) failed" in said, world
        assert "[WARNING]" not in said, said


def test_the_api_server_takes_every_object(judge: ControlPlane) -> None:
    """Each once, however many worlds make it. Only where one is refused the worlds are asked one by one, for names."""
    objects = {json.dumps(one, sort_keys=True): one for world in WORLDS for one in objects_of(world)}
    with suppress(AssertionError):
        return _judged(judge, list(objects.values()))
    for world in WORLDS:
        try:
            _judged(judge, objects_of(world))
        except AssertionError as refused:
            raise AssertionError(f"{'+'.join(world)}: {refused}") from None
    raise AssertionError("together they are refused, alone none is")


def _judged(judge: ControlPlane, objects: list[Object]) -> None:
    given = yaml.dump_all(objects, Dumper=yaml.CSafeDumper)
    said = judge.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=given)
    assert len(said.splitlines()) == len(objects)


@pytest.mark.parametrize("world", [*SINGLE, *PAIRS[:4]], ids="+".join)
def test_both_helms_render_the_same(world: World) -> None:
    assert objects_of(world, "helm3") == objects_of(world, "helm4")


def test_the_ci_files_together_make_every_kind_of_the_chart() -> None:
    made = Counter(one["kind"] for world in SINGLE for one in objects_of(world))
    written = {
        line.split()[1]
        for template in (CHART / "templates").rglob("*.yaml")
        for line in template.read_text().splitlines()
        if line.startswith("kind: ")
    }
    assert written <= made.keys()


@pytest.mark.parametrize("version", HELMS)
def test_it_can_be_a_dependency_with_a_condition_beside_globals_of_others(version: str, tmp_path: Path) -> None:
    name = CHART.name
    dependency = {"name": name, "version": metadata()["version"], "condition": f"{name}.enabled"}
    parent = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(parent))
    shutil.copytree(CHART, tmp_path / "charts" / name)
    given = ["template", "ai", str(tmp_path), "--set=global.theirs=1"]
    assert "kind: Deployment" in helm(version, *given, f"--set={name}.enabled=true")
    assert "kind: Deployment" not in helm(version, *given, f"--set={name}.enabled=false")
