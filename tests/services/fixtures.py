"""Fixtures for tests against real servers; import those that a folder's tests need in its `conftest.py`.

Tests that use them are marked `services`. What cannot start fails them; none is skipped.
"""

from collections.abc import Iterator

import pytest
from tests.services.postgresql import PostgreSQL, running

__all__ = ["mortal_postgresql", "postgresql"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Shared by all tests: each makes a database of its own, and leaves the server running."""
    with running() as server:
        yield server


@pytest.fixture
def mortal_postgresql() -> Iterator[PostgreSQL]:
    """One of the test's own: it may stop, kill and pause it."""
    with running() as server:
        yield server
