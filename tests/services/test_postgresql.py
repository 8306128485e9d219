"""The PostgreSQL of the tests ends, stops answering and comes back as it is told."""

import psycopg
import pytest
from tests.services.postgresql import PostgreSQL

pytestmark = pytest.mark.services


def _count(dsn: str) -> int:
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row is not None
        return int(row[0])


def _fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100)")


def test_what_was_committed_is_there_after_it_was_killed(mortal_postgresql: PostgreSQL) -> None:
    dsn = mortal_postgresql.new_database()
    _fill(dsn)
    mortal_postgresql.kill()
    with pytest.raises(psycopg.OperationalError):
        _count(dsn)
    mortal_postgresql.start()
    assert _count(dsn) == 100
    mortal_postgresql.restart()
    assert _count(dsn) == 100


def test_a_paused_one_answers_when_it_goes_on(mortal_postgresql: PostgreSQL) -> None:
    dsn = mortal_postgresql.new_database()
    _fill(dsn)
    with mortal_postgresql.paused(), pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn, connect_timeout=2)
    assert _count(dsn) == 100


def test_each_database_is_empty(postgresql: PostgreSQL) -> None:
    first, second = postgresql.new_database(), postgresql.new_database()
    _fill(first)
    _fill(second)
    assert _count(first) == _count(second) == 100
