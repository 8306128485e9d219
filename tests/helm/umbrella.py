"""A chart of somebody's own that has this one as a dependency."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml
from tests.helm.running import NAMESPACE, RELEASE, Object, helm, objects_in
from tools.chart.files import CHART, metadata


class Umbrella:
    """The parent in a folder; its own values.yaml changes with every rendering."""

    def __init__(self, folder: Path, alias: str = CHART.name) -> None:
        self.folder = folder
        dependency = {"name": CHART.name, "version": metadata()["version"], "alias": alias}
        parent = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
        (folder / "Chart.yaml").write_text(yaml.safe_dump(parent))
        shutil.copytree(CHART, folder / "charts" / CHART.name)

    def rendered(
        self, version: str, given: Mapping[str, object], own: Mapping[str, object], shared: Mapping[str, object] = {}
    ) -> list[Object]:
        """The objects, with values of this chart `given` by --values, or in the parent's `own` values.yaml, which also
        has what all charts have `shared`."""
        (self.folder / "values.yaml").write_text(yaml.safe_dump({CHART.name: dict(own), "global": dict(shared)}))
        arguments = ["template", RELEASE, str(self.folder), f"--namespace={NAMESPACE}", "--values=-"]
        return objects_in(helm(version, *arguments, input=yaml.safe_dump({CHART.name: dict(given)})))
