"""Fixtures of a cluster that has the image of this checkout, under the chart's default name and as another version."""

from collections.abc import Iterator

import pytest
from tests.cluster.fixtures import cluster
from tests.cluster.node import Cluster
from tests.image.built import built
from tests.release.installed import NEXT, Installed, installed

__all__ = ["cluster"]


@pytest.fixture(scope="session")
def image(cluster: Cluster) -> str:
    """The name it has on the node; `NEXT` is a tag of the same."""
    made = built()
    cluster.import_archive(made.archive)
    cluster.tag(made.reference, f"{made.reference.rpartition(':')[0]}:{NEXT}")
    return made.reference


@pytest.fixture
def release(cluster: Cluster, image: str, request: pytest.FixtureRequest) -> Iterator[Installed]:
    """A namespace of the test's own, at the restricted level, in which a chart can be installed."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:40].strip("-")
    suffix = getattr(request.node, "callspec", None)
    with installed(cluster, f"{name}-{suffix.id}" if suffix else name) as now:
        yield now
