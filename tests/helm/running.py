"""Helm 3 and Helm 4 as tests run them."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.binaries import binary
from tools.chart.files import CHART

HELMS = ("helm3", "helm4")
RELEASE, NAMESPACE = "ai-gateway-ollama", "ai"

Object = dict[str, Any]


class HelmRefuses(Exception):
    """What Helm says on stderr."""


def helm(version: str, *arguments: str, kubeconfig: Path | None = None, input: str | None = None) -> str:
    """What Helm prints. Nothing is read from or written to the user's home."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    environment["HOME"] = "/nonexistent"
    environment["KUBECONFIG"] = str(kubeconfig or "/nonexistent")
    if kubeconfig:  # beside it, as kubectl's: a port's next API server is another one
        environment["KUBECACHEDIR"] = str(kubeconfig.parent / "kubectl-cache")
    command = [str(binary(version)), *arguments]
    ended = subprocess.run(command, env=environment, input=input, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise HelmRefuses(ended.stderr)
    return ended.stdout


def rendered(
    version: str, files: Iterable[Path] = (), values: Mapping[str, object] | None = None, namespace: str = NAMESPACE
) -> list[Object]:
    """The objects of the chart with those values, in order."""
    arguments = [f"--values={file}" for file in files]
    given = yaml.safe_dump(dict(values or {}))
    text = helm(
        version, "template", RELEASE, str(CHART), f"--namespace={namespace}", *arguments, "--values=-", input=given
    )
    return objects_in(text)


def objects_in(text: str) -> list[Object]:
    """What Helm prints, read; by the parser in C, since a chart's text takes the other a tenth of a second."""
    return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]


def refusal(version: str, values: Mapping[str, object]) -> str:
    """Why Helm does not render the chart with those values. AssertionError if it does."""
    try:
        rendered(version, values=values)
    except HelmRefuses as refused:
        return str(refused)
    raise AssertionError("it renders")


def kind(objects: Iterable[Object], name: str) -> list[Object]:
    """Those of that kind."""
    return [one for one in objects if one["kind"] == name]
