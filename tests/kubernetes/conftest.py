"""Fixtures over a real control plane: etcd and kube-apiserver, without a node."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop
from tests.cluster.binaries import NotBuilt, binary
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fixtures import cluster
from tests.kubernetes.space import Space

__all__ = ["cluster"]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One API server for all tests that hurt nobody but their own namespace."""
    try:
        binary("kube-apiserver")
    except NotBuilt as missing:
        pytest.fail(str(missing), pytrace=False)
    with ControlPlane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture
def space(plane: ControlPlane) -> Space:
    """A namespace of the test's own."""
    return Space(plane)


@pytest.fixture
def other_space(plane: ControlPlane) -> Space:
    """A second one."""
    return Space(plane)


@pytest.fixture(scope="module")
def fragile_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server for tests that hurt it, and mend it again."""
    with ControlPlane(tmp_path_factory.mktemp("fragile")) as plane:
        yield plane


@pytest.fixture
def fragile_space(fragile_plane: ControlPlane) -> Space:
    """A namespace there."""
    return Space(fragile_plane)
