"""A Kubernetes API server for the tests of this room."""

from collections.abc import Iterator

import pytest
from tests.cluster.fake_api import FakeApi, serving


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """It knows no objects yet."""
    with serving() as server:
        yield server
