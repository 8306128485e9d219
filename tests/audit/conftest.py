"""The stores of the audit; PostgreSQL is a real one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.audit.stores import PostgresqlWorld, World, opened
from tests.services.fixtures import mortal_postgresql, postgresql
from tests.services.postgresql import PostgreSQL

__all__ = ["mortal_postgresql", "postgresql"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each store that can be asked, empty."""

    def new_dsn() -> str:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        return server.new_database()

    with opened(request.param, tmp_path, new_dsn) as world:
        yield world


@pytest.fixture
def database(postgresql: PostgreSQL) -> Iterator[PostgresqlWorld]:
    """An empty database."""
    world = PostgresqlWorld(postgresql.new_database())
    yield world
    world.close()
