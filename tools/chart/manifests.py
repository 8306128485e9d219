"""k8s/gateway/gateway.yaml: the chart without values, as plain manifests for one namespace."""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml
from tools.chart.files import CHART, ROOT

FILE = ROOT / "k8s" / "gateway" / "gateway.yaml"
HEAD = """# The chart without values, for the namespace `ai`. Made by tools/chart: change the chart instead.
"""
OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by")
VALUES = {"tests": {"enabled": False}, "headlessService": {"enabled": True}}  # the latter is for sidecars

Object = dict[str, Any]


def as_text(helm: Path) -> str:
    """The file, as that Helm 4 renders it."""
    return HEAD + yaml.dump_all(map(_plain, _rendered(helm)), Dumper=_Readable, sort_keys=False)


def _rendered(helm: Path) -> list[Object]:
    """The chart's objects. Nothing is read from the user's home."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    environment["HOME"] = "/nonexistent"
    command = [str(helm), "template", "ai-gateway-ollama", str(CHART), "--namespace=ai", "--values=-"]
    given = yaml.safe_dump(VALUES)
    done = subprocess.run(command, env=environment, input=given, capture_output=True, text=True, check=True)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def _plain(one: Object) -> Object:
    """Without what only Helm needs."""
    metadata = {name: value for name, value in one["metadata"].items() if name != "annotations"}
    labels = {name: value for name, value in metadata["labels"].items() if name not in OF_HELM}
    return {**one, "metadata": {**metadata, "labels": labels}}


class _Readable(yaml.SafeDumper):
    """Text of many lines as a block, as people write it."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)
