"""A followed file is taken when it is complete: at once if it was replaced, after a rest if it was written in place."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ai_gateway.config.reading import Unreadable, stamp_of
from ai_gateway.config.watched_file import (
    CHECK_SECONDS,
    CLOSE_CHECK_SECONDS,
    PATIENCE_SECONDS,
    REST_SECONDS,
    SETTLE_SECONDS,
    WatchedFile,
)


class CheckedFile:
    """A file, its own time, and what was taken of it."""

    def __init__(self, path: Path, inside: str | None = None) -> None:
        self.path = path
        self.now = 0.0
        self.steady = WatchedFile(path, 1 << 20, inside, lambda: self.now)

    def check(self, after: float = 0.0) -> bytes | None:
        """What a check takes, so many seconds later."""
        self.now += after
        return self.steady.check()

    def checks(self, seconds: float, step: float = CLOSE_CHECK_SECONDS) -> list[bytes]:
        """All that checks take in this time."""
        found = (self.check(step) for _ in range(round(seconds / step)))
        return [content for content in found if content is not None]

    def exchange(self, content: bytes, is_moved: bool = True) -> None:
        """Another file behind the name; one that `is_moved` was finished before it got it.

        Any other one gets it within the tick of its last write: another is written where the next tick came between.
        """
        while True:
            new = self.path.with_suffix(".new")
            new.write_bytes(content)
            if is_moved:
                os.utime(new, ns=(1, 1))
            new.replace(self.path)
            if stamp_of(self.path).was_moved == is_moved:
                return


@pytest.fixture
def file(tmp_path: Path) -> CheckedFile:
    """A file that was taken, and checked for some time."""
    checked = CheckedFile(tmp_path / "file")
    checked.path.write_bytes(b"first")
    assert checked.check() == b"first"
    checked.checks(3)
    return checked


def test_the_first_check_takes_the_file(tmp_path: Path) -> None:
    checked = CheckedFile(tmp_path / "file")
    checked.path.write_bytes(b"a")
    assert checked.check() == b"a"


def test_an_unchanged_file_is_read_once_more_and_then_never(tmp_path: Path) -> None:
    """Two writes within one tick of the file system's clock leave the same state: the second would never be seen."""
    checked = CheckedFile(tmp_path / "file")
    checked.path.write_bytes(b"a")
    checked.check()
    assert checked.checks(5) == [b"a"]


def test_a_file_written_in_place_is_taken_after_a_rest(file: CheckedFile) -> None:
    file.path.write_bytes(b"new")
    assert file.checks(REST_SECONDS) == []
    assert file.check(CLOSE_CHECK_SECONDS) == b"new"


@pytest.mark.parametrize("gap", [0.03, 0.25, 0.5, 0.9])
def test_it_waits_for_a_slow_writer(file: CheckedFile, gap: float) -> None:
    """Each pause between two pieces is shorter than the rest that is asked for."""
    file.path.write_bytes(b"")
    for piece in range(40):
        with file.path.open("ab") as end:
            end.write(b"%d " % piece)
        assert file.checks(gap, min(gap, CLOSE_CHECK_SECONDS)) == []
    (taken, *again) = file.checks(3)
    assert taken.endswith(b"39 ")
    assert again in ([], [taken])


@pytest.mark.parametrize("seconds", [0, 10**9, 2 * 10**9, 10**10])
def test_the_times_of_a_file_do_not_matter(file: CheckedFile, seconds: int) -> None:
    """In the past, in the future, and back again: what rests is taken, and nothing before."""
    file.path.write_bytes(b"new")
    os.utime(file.path, (seconds, seconds))
    assert file.checks(REST_SECONDS) == []
    assert file.check(CLOSE_CHECK_SECONDS) == b"new"


def test_a_replaced_file_is_taken_at_once(file: CheckedFile) -> None:
    for content in (b"one", b"two", b"", b"three"):
        file.exchange(content)
        assert file.check(CHECK_SECONDS) == content


def test_a_file_that_may_have_been_created_in_place_is_taken_when_it_settles(file: CheckedFile) -> None:
    """A file moved within a tick of its last write looks like one that is being written."""
    file.exchange(b"half", is_moved=False)
    with file.path.open("ab") as end:
        assert file.check(CHECK_SECONDS) is None
        end.write(b" and half")
        end.flush()
        assert file.check(CLOSE_CHECK_SECONDS) is None
    assert file.check(SETTLE_SECONDS) == b"half and half"


def test_files_that_are_replaced_without_a_pause_are_taken(file: CheckedFile) -> None:
    """Each of them is whole."""
    found = []
    for number in range(round(2 * PATIENCE_SECONDS / CHECK_SECONDS)):
        file.exchange(b"%d" % number, is_moved=False)
        found.append(file.check(CHECK_SECONDS))
    assert any(found)


def test_a_link_that_leads_elsewhere_is_followed_at_once(tmp_path: Path) -> None:
    """As the kubelet exchanges a ConfigMap or a Secret: each file is as old as it likes, also of the same inode."""
    for name in ("..1", "..2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yml").write_text(name)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "config.yml").symlink_to("..data/config.yml")
    checked = CheckedFile(tmp_path, "config.yml")
    assert checked.check() == b"..1"
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert checked.check(CHECK_SECONDS) == b"..2"


def test_a_file_that_appears_late_must_rest(tmp_path: Path) -> None:
    """A writer may be at work, and no config is in force yet that could expose half a file."""
    checked = CheckedFile(tmp_path / "file")
    with pytest.raises(Unreadable, match="No such file"):
        checked.check()
    checked.path.write_bytes(b"half")
    assert checked.checks(REST_SECONDS) == []
    checked.path.write_bytes(b"whole")
    assert checked.checks(REST_SECONDS) == []
    assert checked.check(CLOSE_CHECK_SECONDS) == b"whole"


def test_a_complete_file_that_appears_late_is_taken_at_once(tmp_path: Path) -> None:
    checked = CheckedFile(tmp_path / "file")
    with pytest.raises(Unreadable):
        checked.check()
    checked.exchange(b"whole")
    assert checked.check(CHECK_SECONDS) == b"whole"


def test_a_file_that_was_missing_is_taken_again(file: CheckedFile, tmp_path: Path) -> None:
    """Its content is the same, but the reader must learn that it is there again."""
    file.path.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(Unreadable):
            file.check(CHECK_SECONDS)
    (tmp_path / "away").rename(file.path)
    assert b"first" in file.checks(2 * REST_SECONDS)


def test_checks_come_more_often_while_a_change_is_pending(file: CheckedFile) -> None:
    assert file.steady.pause_seconds == CHECK_SECONDS
    file.path.write_bytes(b"new")
    file.check(CHECK_SECONDS)
    assert file.steady.pause_seconds == CLOSE_CHECK_SECONDS
    assert file.steady.changing_seconds == 0
    file.now += 7
    assert file.steady.changing_seconds == 7
    assert file.check() == b"new"
    assert file.steady.pause_seconds == CHECK_SECONDS


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _as_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("spoil", [_as_folder, _as_fifo, _as_loop, _as_device, os.unlink])
def test_a_path_that_is_no_file_any_more_is_unreadable_at_once(
    file: CheckedFile, spoil: Callable[[Path], None]
) -> None:
    spoil(file.path)
    for _ in range(3):
        with pytest.raises(Unreadable, match="cannot read"):
            file.check(CHECK_SECONDS)
