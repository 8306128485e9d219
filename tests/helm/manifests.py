"""k8s/gateway/gateway.yaml: the chart without values, as plain manifests for one namespace."""

import yaml
from tests.helm.chart import ROOT
from tests.helm.running import Object, rendered

FILE = ROOT / "k8s" / "gateway" / "gateway.yaml"
HEAD = """# The chart without values, for the namespace `ai`. Made by tests/helm/generate.py: change the chart instead.
"""
OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by")
VALUES = {"tests": {"enabled": False}, "headlessService": {"enabled": True}}  # the latter is for sidecars


def as_text() -> str:
    """The file."""
    return HEAD + yaml.dump_all(map(_plain, rendered("helm4", values=VALUES)), Dumper=_Readable, sort_keys=False)


def write() -> None:
    """Needs Helm 4, as built for the tests."""
    FILE.write_text(as_text())


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
