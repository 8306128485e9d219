"""A file that is followed is taken when it is whole: at once where it was exchanged, after a rest where it is written
in its place."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ai_gateway.config.reading import Unreadable
from ai_gateway.config.watched_file import (
    CHECK_SECONDS,
    CLOSE_CHECK_SECONDS,
    PATIENCE_SECONDS,
    REST_SECONDS,
    SETTLE_SECONDS,
    WatchedFile,
)


class Looked:
    """A file, its own time, and what was taken of it."""

    def __init__(self, path: Path, inside: str | None = None) -> None:
        self.path = path
        self.now = 0.0
        self.steady = WatchedFile(path, 1 << 20, inside, lambda: self.now)

    def check(self, after: float = 0.0) -> bytes | None:
        """What a look takes, so many seconds later."""
        self.now += after
        return self.steady.check()

    def looks(self, seconds: float, step: float = CLOSE_CHECK_SECONDS) -> list[bytes]:
        """All that is taken by looks in this time."""
        found = (self.check(step) for _ in range(round(seconds / step)))
        return [content for content in found if content is not None]

    def exchange(self, content: bytes, is_moved: bool = True) -> None:
        """Another file behind the name; one that `is_moved` was finished before it got it."""
        new = self.path.with_suffix(".new")
        new.write_bytes(content)
        if is_moved:
            os.utime(new, ns=(1, 1))
        new.replace(self.path)


@pytest.fixture
def file(tmp_path: Path) -> Looked:
    """A file that was taken, and looked at for some time."""
    looked = Looked(tmp_path / "file")
    looked.path.write_bytes(b"first")
    assert looked.check() == b"first"
    looked.looks(3)
    return looked


def test_the_first_look_takes_what_is_there(tmp_path: Path) -> None:
    looked = Looked(tmp_path / "file")
    looked.path.write_bytes(b"a")
    assert looked.check() == b"a"


def test_what_does_not_change_is_read_once_more_and_then_no_more(tmp_path: Path) -> None:
    """Two writes within one tick of the file system's clock leave the same state: the second would never be seen."""
    looked = Looked(tmp_path / "file")
    looked.path.write_bytes(b"a")
    looked.check()
    assert looked.looks(5) == [b"a"]


def test_a_file_that_is_written_in_its_place_is_taken_after_a_rest(file: Looked) -> None:
    file.path.write_bytes(b"new")
    assert file.looks(REST_SECONDS) == []
    assert file.check(CLOSE_CHECK_SECONDS) == b"new"


@pytest.mark.parametrize("gap", [0.03, 0.25, 0.5, 0.9])
def test_a_slow_writer_is_waited_for(file: Looked, gap: float) -> None:
    """Each pause between two pieces is shorter than the rest that is asked for."""
    file.path.write_bytes(b"")
    for piece in range(40):
        with file.path.open("ab") as end:
            end.write(b"%d " % piece)
        assert file.looks(gap, min(gap, CLOSE_CHECK_SECONDS)) == []
    (taken, *again) = file.looks(3)
    assert taken.endswith(b"39 ")
    assert again in ([], [taken])


@pytest.mark.parametrize("seconds", [0, 10**9, 2 * 10**9, 10**10])
def test_the_time_that_a_file_has_plays_no_part(file: Looked, seconds: int) -> None:
    """In the past, in the future, and back again: what rests is taken, and nothing before."""
    file.path.write_bytes(b"new")
    os.utime(file.path, (seconds, seconds))
    assert file.looks(REST_SECONDS) == []
    assert file.check(CLOSE_CHECK_SECONDS) == b"new"


def test_a_file_that_was_exchanged_is_taken_at_once(file: Looked) -> None:
    for content in (b"one", b"two", b"", b"three"):
        file.exchange(content)
        assert file.check(CHECK_SECONDS) == content


def test_a_file_that_may_have_been_made_in_its_place_is_taken_when_it_settles(file: Looked) -> None:
    """Nothing tells a file that was moved within a tick of its writing from one that somebody writes into now."""
    file.exchange(b"half", is_moved=False)
    with file.path.open("ab") as end:
        assert file.check(CHECK_SECONDS) is None
        end.write(b" and half")
        end.flush()
        assert file.check(CLOSE_CHECK_SECONDS) is None
    assert file.check(SETTLE_SECONDS) == b"half and half"


def test_files_that_are_exchanged_without_a_pause_are_taken_all_the_same(file: Looked) -> None:
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
    looked = Looked(tmp_path, "config.yml")
    assert looked.check() == b"..1"
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert looked.check(CHECK_SECONDS) == b"..2"


def test_a_file_that_comes_late_must_rest(tmp_path: Path) -> None:
    """Somebody may be writing it, and nothing is in force that a half of it would be measured by."""
    looked = Looked(tmp_path / "file")
    with pytest.raises(Unreadable, match="No such file"):
        looked.check()
    looked.path.write_bytes(b"half")
    assert looked.looks(REST_SECONDS) == []
    looked.path.write_bytes(b"whole")
    assert looked.looks(REST_SECONDS) == []
    assert looked.check(CLOSE_CHECK_SECONDS) == b"whole"


def test_a_file_that_comes_late_and_whole_is_taken_at_once(tmp_path: Path) -> None:
    looked = Looked(tmp_path / "file")
    with pytest.raises(Unreadable):
        looked.check()
    looked.exchange(b"whole")
    assert looked.check(CHECK_SECONDS) == b"whole"


def test_a_file_that_was_away_is_told_of_again(file: Looked, tmp_path: Path) -> None:
    """It is the same, and whoever was told that it is missing must hear it."""
    file.path.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(Unreadable):
            file.check(CHECK_SECONDS)
    (tmp_path / "away").rename(file.path)
    assert b"first" in file.looks(2 * REST_SECONDS)


def test_looks_come_closer_while_there_is_something_new(file: Looked) -> None:
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
def test_what_is_no_file_any_more_is_told_and_never_waited_for(file: Looked, spoil: Callable[[Path], None]) -> None:
    spoil(file.path)
    for _ in range(3):
        with pytest.raises(Unreadable, match="cannot read"):
            file.check(CHECK_SECONDS)
