"""A gateway knows whether others have the same database, on every system with flock(2)."""

import fcntl
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.audit.entries import KEY, WRITER, entry, store

from ai_gateway.audit.chain import Link
from ai_gateway.audit.sqlite_lock import WriterLock


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[WriterLock]:
    """Entered."""
    made = WriterLock(tmp_path / "lock")
    made.enter()
    yield made
    made.leave()


def entered(path: Path) -> WriterLock:
    made = WriterLock(path)
    made.enter()
    return made


def test_one_that_has_not_entered_is_never_alone(tmp_path: Path) -> None:
    assert not WriterLock(tmp_path / "lock").is_alone()


def test_a_gateway_is_alone_until_another_enters_and_when_it_has_left(lock: WriterLock, tmp_path: Path) -> None:
    assert lock.is_alone()
    other = entered(tmp_path / "lock")
    assert not lock.is_alone()
    assert not other.is_alone()
    other.leave()
    assert lock.is_alone()


def test_a_test_does_not_take_a_gateway_away_from_others(lock: WriterLock, tmp_path: Path) -> None:
    """Whether it finds others or none, the gateway that tests has the lock as before."""
    other = entered(tmp_path / "lock")
    for _ in range(3):
        assert not lock.is_alone()
        assert not other.is_alone()
    other.leave()
    assert lock.is_alone()
    other = entered(tmp_path / "lock")
    assert not other.is_alone()
    other.leave()


_ENTERING = """
import sys
from pathlib import Path
from tests.audit.test_sqlite_lock import entered
lock = entered(Path(sys.argv[1]))
print("entered", flush=True)
while True:
    if lock.is_alone():
        print("alone", flush=True)
"""


def test_two_that_test_all_the_time_never_seem_to_be_alone_and_one_that_is_killed_is_gone(
    lock: WriterLock, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _ENTERING, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"entered\n"
        assert not any(lock.is_alone() for _ in range(2000))
        process.kill()
        assert process.stdout.read() == b""
    assert lock.is_alone()


def test_a_file_that_was_taken_away_is_entered_anew(lock: WriterLock, tmp_path: Path) -> None:
    (tmp_path / "lock").unlink()
    lock.stay()
    other = entered(tmp_path / "lock")
    assert not other.is_alone()
    other.leave()


def test_a_store_works_without_locks_of_linux_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on macOS, whose Python has no open file description locks."""
    for name in [name for name in dir(fcntl) if name.startswith("F_OFD_")]:
        monkeypatch.delattr(fcntl, name)
    caplog.set_level(logging.WARNING)
    first = store(tmp_path / "audit.db")
    first.heartbeat(WRITER)
    numbered = [entry(writer=WRITER, sequence=1)]
    first.write(numbered, Link(KEY).join(numbered))
    assert first.lost_intents(WRITER) == []
    first.check()
    first.close()
    assert caplog.records == []
