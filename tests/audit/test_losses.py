"""What is done to the files of an SQLite store while it is used: it is missed at the next look and with the next entry,
and nothing is missed that is there."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.audit.entries import archive
from tests.audit.losing import HARMLESS, LOSSES, MANY, Place, moved
from tests.audit.writing import KEY, Chain, entry, intent
from tests.cost import assert_cheap

from ai_gateway.audit.chain import checkpoint
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.store import StoreDamaged, StoreLost, StoreUnavailable


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A store in use."""
    made = Place(tmp_path)
    yield made
    made.store.close()


@pytest.mark.parametrize("lose", LOSSES)
def test_what_is_lost_is_missed_at_the_next_look_and_the_next_entry_and_stays_missed(
    place: Place, lose: Callable[[Place], None]
) -> None:
    lose(place)
    for ask in (place.store.check, place.write, place.store.check, place.store.open, place.store.open):
        with pytest.raises(StoreLost):
            ask()


@pytest.mark.parametrize("lose", LOSSES)
def test_begun_anew_the_store_takes_entries_again_and_its_chain_tells_of_the_gap(
    place: Place, lose: Callable[[Place], None]
) -> None:
    lose(place)
    with pytest.raises(StoreLost):
        place.store.check()
    place.store.begin_anew()
    try:
        place.store.open()
    except StoreDamaged:  # what is there is no database: it is set aside
        place.store.begin_anew()
        place.store.open()
        assert len(list(place.path.parent.glob("audit.db.damaged-*"))) >= 1
    at = (place.chain.writer, place.chain.link.sequence, place.chain.link.last_hash)
    place.store.write_checkpoint(checkpoint(KEY, "lost", at, time.time_ns()))
    place.write(5)
    place.store.check()
    findings = [failure for failure in place.report().findings if failure.writer == place.chain.writer]
    assert [failure.what for failure in findings] == ["lost"]


@pytest.mark.parametrize("change", HARMLESS)
def test_where_everything_is_there_nothing_is_missed(place: Place, change: Callable[[Place], None]) -> None:
    change(place)
    try:
        place.store.check()
    except StoreLost:
        place.store.open()
    written = place.chain.link.sequence
    place.write(3)
    place.store.check()
    place.store.close()
    report = place.report()
    assert (report.findings, report.store, report.entries) == ([], [], written + 3)


def test_an_entry_that_reached_the_file_before_it_was_missed_is_written_once(place: Place) -> None:
    """It did not count as stored, and stands there when the file is back."""
    open_one = [intent("a")]
    moved(place)
    with pytest.raises(StoreLost):
        place.chain.write(place.store, *open_one)
    place.aside.rename(place.path)
    place.store.open()
    place.chain.write(place.store, *open_one)
    place.store.close()
    report = place.report()
    assert (report.findings, report.entries) == ([], MANY + 1)


def test_whoever_took_the_lock_file_away_does_not_make_a_gateway_alone(place: Place) -> None:
    """Else each would take the other's open intents for those of the dead."""
    (place.path.parent / "audit.db.lock").unlink()
    place.store.check()
    place.chain.write(place.store, intent("a"))
    other = SqliteStore(place.path, True, time.time_ns)
    other.open()
    assert list(other.lost_intents("other/1")) == []
    other.close()


def test_a_start_without_the_database_of_an_earlier_one_says_so(place: Place) -> None:
    """Its lock file is still there; whoever moves the whole folder away begins with a clean one."""
    place.store.close()
    place.path.unlink()
    again = SqliteStore(place.path, True, time.time_ns)
    for _ in range(2):
        with pytest.raises(StoreLost, match="is gone: an audit was kept there"):
            again.open()
    again.begin_anew()
    again.open()
    Chain("later/1").write(again, entry())
    again.close()


@pytest.mark.parametrize("what", ["a folder", "a FIFO", "a device"])
def test_what_is_no_file_is_said_to_be_none_and_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "audit.db"
    if what == "a folder":
        path.mkdir()
    elif what == "a FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    made = SqliteStore(path, True, time.time_ns)
    with pytest.raises(StoreUnavailable, match="is not a file") as caught:
        made.open()
    assert not isinstance(caught.value, StoreLost)
    with pytest.raises(StoreDamaged, match="is not a file"):
        archive(path)


def test_a_damaged_file_at_the_start_is_set_aside_only_when_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(b"no database, and nobody knows what" * 100)
    made = SqliteStore(path, True, time.time_ns)
    with pytest.raises(StoreDamaged, match="not a database"):
        made.open()
    assert path.read_bytes().startswith(b"no database")
    made.begin_anew()
    made.open()
    made.close()
    (aside,) = tmp_path.glob("audit.db.damaged-*")
    assert aside.read_bytes().startswith(b"no database")


def test_looking_costs_next_to_nothing(place: Place) -> None:
    """It follows each batch, and comes twice a second where nothing happens."""

    def check() -> None:
        for _ in range(50):
            place.store.check()

    assert_cheap(check, 50 * 0.0005)
