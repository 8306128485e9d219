"""Fixtures over a real API server that knows all kinds of the chart."""

from collections.abc import Iterator

import pytest
from tests.cluster.binaries import NotBuilt, binary
from tests.cluster.control_plane import ControlPlane
from tests.helm import custom_resources
from tests.helm.running import HELMS

NAMESPACES = ("ai", "llm", "gpu-a", "gpu-b", "gateways")


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server; what cannot start fails, none is skipped."""
    try:
        for name in ("kube-apiserver", *HELMS):
            binary(name)
    except NotBuilt as missing:
        pytest.fail(str(missing), pytrace=False)
    with ControlPlane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def judge(plane: ControlPlane) -> ControlPlane:
    """The API server with the namespaces of the ci files, and all kinds that are no part of Kubernetes."""
    for namespace in NAMESPACES:
        plane.kubectl("create", "namespace", namespace)
        plane.kubectl("create", "serviceaccount", "default", f"--namespace={namespace}")  # no controller makes it here
    definitions = [f"--filename={file}" for file in custom_resources.files()]
    plane.kubectl("apply", "--server-side", *definitions)
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", *definitions)
    return plane
