"""Fixtures for tests against a real Kubernetes; import those that a folder's tests need in its `conftest.py`.

Tests that use them are marked `cluster`. What cannot start fails them; none is skipped.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.binaries import NotBuilt
from tests.cluster.control_plane import ControlPlane
from tests.cluster.node import Cluster, cluster_for_tests

__all__ = ["cluster", "control_plane"]


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A Kubernetes API of one's own, without a node: a test may hurt it."""
    try:
        plane = ControlPlane(tmp_path / "control-plane")
    except NotBuilt as reason:
        pytest.fail(str(reason), pytrace=False)
    with plane:
        yield plane


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with a node, shared by all tests: each keeps to a namespace of its own. It is the running one, else
    it is started, and ended with the tests."""
    with cluster_for_tests() as cluster:
        yield cluster
