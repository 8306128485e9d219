"""A store that comes and goes, seen by whoever writes to it: nothing is lost, nothing waited for."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.audit.writing import KEY, NOON_NS, Chain, entry, intent

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.spool import FILE, Spool, SpoolFull
from ai_gateway.audit.spooled import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Spooled
from ai_gateway.audit.store import StoreLost, StoreTooNew, StoreUnavailable, StoreUnsure


class Fickle:
    """A shared store in memory; `failure` is its answer while it is away. `poison` is an actor that it cannot keep.

    Takes a batch before the failure where that is StoreUnsure.
    """

    def __init__(self) -> None:
        self.failure: StoreUnavailable | None = None
        self.poison: str | None = None
        self.asked = 0
        self.takes_time: Callable[[], None] = lambda: None
        self.kept: list[AuditEntry] = []
        self.checkpoints: list[Checkpoint] = []
        self.signs_of_life: list[tuple[str, int]] = []  # writers, and how many entries were there

    def _answer(self) -> None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure

    def open(self) -> None:
        self._answer()

    def check(self) -> None:
        self._answer()

    def begin_anew(self) -> None:
        self.failure = None

    def write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        self.write_spooled(entries, hashes)

    def write_spooled(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        self.takes_time()
        if any(one.actor == self.poison for one in entries):
            raise ValueError("a value that no column can hold")
        if isinstance(self.failure, StoreUnsure):
            self._keep(entries)
        self._answer()
        self._keep(entries)

    def _keep(self, entries: Sequence[AuditEntry]) -> None:
        there = {(one.writer, one.sequence) for one in self.kept}
        self.kept += [one for one in entries if (one.writer, one.sequence) not in there]

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._answer()
        self.checkpoints.append(checkpoint)

    def heartbeat(self, writer: str) -> None:
        self._answer()
        self.signs_of_life.append((writer, len(self.kept)))

    def lost_intents(self, writer: str) -> Sequence[AuditEntry]:
        self._answer()
        return [intent("lost")]

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        self._answer()
        return 1

    def close(self) -> None:
        pass


class World:
    """A store, a spool before it, and a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self._folder = folder
        self.store = Fickle()
        self.spooled = self.start()
        self.chain = Chain()
        self.written: list[AuditEntry] = []

    def start(self, max_bytes: int = 1 << 20) -> Spooled:
        """A gateway's, where none has the spool."""
        made = Spooled(self.store, Spool(self._folder / "spool", max_bytes), lambda: self.now)
        made.open()
        return made

    def restart(self, max_bytes: int = 1 << 20) -> None:
        """A new process with a new chain."""
        self.spooled.close()
        self.spooled = self.start(max_bytes)
        self.chain = Chain("gateway/2")

    def write(self, count: int = 1) -> None:
        """Some entries."""
        self.written += self.chain.write(self.spooled, *(entry() for _ in range(count)))


AWAY = StoreUnavailable("gone for lunch")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """With the store there."""
    made = World(tmp_path)
    yield made
    made.store.failure = None
    made.spooled.close()


def test_what_comes_while_the_store_is_away_comes_to_it_in_order(world: World) -> None:
    world.write(2)
    world.store.failure = AWAY
    world.write(3)
    world.write(4)
    assert (len(world.store.kept), world.spooled.is_away) == (2, True)
    assert world.spooled.bytes_waiting > 0
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    world.write()
    assert world.store.kept == world.written
    assert (world.spooled.bytes_waiting, world.spooled.is_away) == (0, False)


def test_a_sign_of_life_hands_over_what_waits(world: World) -> None:
    """Also where no new entry comes."""
    world.store.failure = AWAY
    world.write(3)
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    world.spooled.heartbeat("gateway/1")
    assert world.store.signs_of_life == [("gateway/1", 3)]


def test_a_store_that_is_away_is_asked_less_and_less(world: World) -> None:
    world.store.failure = AWAY
    world.write()
    waits = []
    for _ in range(8):
        asked, wait = world.store.asked, 0.0
        while world.store.asked == asked:
            world.write()
            wait += FIRST_PAUSE_SECONDS / 2
            world.now += FIRST_PAUSE_SECONDS / 2
        waits.append(wait)
    assert waits == sorted(waits)
    assert waits[-1] <= LONGEST_PAUSE_SECONDS + FIRST_PAUSE_SECONDS


def test_a_gateway_starts_without_its_store(world: World) -> None:
    world.store.failure = AWAY
    world.restart()
    world.spooled.heartbeat("gateway/2")
    world.write(2)
    assert world.spooled.lost_intents("gateway/2") == ()
    assert world.spooled.remove(0, 0, KEY) == 0
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    world.write()
    assert world.store.kept == world.written
    assert list(world.spooled.lost_intents("gateway/2")) == [intent("lost")]


def test_what_waits_outlives_the_gateway_and_goes_before_its_successors_sign_of_life(world: World) -> None:
    """Its intents must not count as lost while their ends are in the spool."""
    world.store.failure = AWAY
    world.write(1200)
    world.restart()
    world.write(2)
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    world.spooled.heartbeat("gateway/2")
    assert [one for one in world.store.kept if one.writer == "gateway/1"] == world.written[:1200]
    assert world.store.signs_of_life[-1][1] >= 1200
    world.write()
    assert world.store.kept == world.written


def test_a_slow_store_gets_all_of_it_bit_by_bit_and_in_order(world: World) -> None:
    """New entries do not wait for all that is before them, and do not overtake it."""

    def take_time() -> None:
        world.now += 3.0

    world.store.failure = AWAY
    world.write(1400)
    made = world.chain.checkpoint(NOON_NS)
    world.spooled.write_checkpoint(made)
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    world.store.takes_time = take_time
    world.write()
    assert 0 < len(world.store.kept) < 1400
    assert world.store.checkpoints == []
    assert world.spooled.lost_intents("gateway/1") == ()
    for _ in range(10):
        world.write()
    assert world.store.kept == world.written
    assert world.store.checkpoints == [made]


def test_a_sign_of_life_of_a_successor_waits_for_a_slow_store(world: World) -> None:
    def take_time() -> None:
        world.now += 3.0

    world.store.failure = AWAY
    world.write(1400)
    world.restart()
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    world.store.takes_time = take_time
    world.spooled.heartbeat("gateway/2")
    assert world.store.signs_of_life == [("gateway/2", 1400)]


def test_nobody_is_lost_while_ends_may_wait(world: World) -> None:
    world.store.failure = AWAY
    world.write()
    assert world.spooled.lost_intents("gateway/1") == ()


def test_a_full_spool_says_so(world: World) -> None:
    world.store.failure = AWAY
    world.restart(max_bytes=2000)
    with pytest.raises(SpoolFull):
        world.write(50)
    world.write()
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    world.write(50)
    assert world.store.kept == world.written


def test_a_spool_that_is_not_there_for_a_while_loses_nothing(world: World, tmp_path: Path) -> None:
    """No entry counts as kept meanwhile, and signs of life harm nobody."""
    world.store.failure = AWAY
    world.write(3)
    file = tmp_path / "spool" / FILE
    file.rename(tmp_path / "elsewhere")
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    sign_of_life = partial(world.spooled.heartbeat, "gateway/1")
    for ask in (world.write, world.spooled.check, world.spooled.open, sign_of_life):
        with pytest.raises(StoreLost, match="deleted or moved"):
            ask()
    assert (world.store.kept, world.store.signs_of_life) == ([], [])
    (tmp_path / "elsewhere").rename(file)
    world.spooled.open()
    world.write()
    assert world.store.kept == world.written


def test_what_the_store_may_have_keeps_its_place(world: World) -> None:
    """Even where the spool is full: else another entry would get its number."""
    world.restart(max_bytes=2000)
    world.store.failure = StoreUnsure("no word")
    world.write(50)
    world.store.failure = AWAY
    with pytest.raises(SpoolFull):
        world.write()
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    world.write()
    assert world.store.kept == world.written


def test_what_the_store_may_have_and_the_spool_cannot_take_may_still_be_there(world: World, tmp_path: Path) -> None:
    world.store.failure = StoreUnsure("no word")
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    with pytest.raises((StoreUnsure, StoreLost), match="spool"):
        world.write()
    (tmp_path / "elsewhere").rename(tmp_path / "spool")


@pytest.mark.parametrize("how", ["deleted", "moved", "cut", "replaced"])
def test_a_spool_that_is_gone_is_missed_and_begun_anew(world: World, tmp_path: Path, how: str) -> None:
    """What waits in it was counted as kept."""
    world.store.failure = AWAY
    world.write(3)
    folder = tmp_path / "spool"
    if how == "deleted":
        shutil.rmtree(folder)
    elif how == "cut":
        os.truncate(folder / FILE, 100)
    else:
        folder.rename(tmp_path / "elsewhere")
        if how == "replaced":
            shutil.copytree(tmp_path / "elsewhere", folder)
    with pytest.raises(StoreLost, match="spool"):
        world.spooled.check()
    with pytest.raises(StoreLost, match="spool"):
        world.spooled.open()
    world.spooled.begin_anew()
    world.spooled.open()
    world.write(2)
    world.spooled.check()


def test_a_store_that_is_too_new_is_no_store_that_is_away(world: World) -> None:
    world.store.failure = StoreTooNew("made by a newer gateway")
    with pytest.raises(StoreTooNew):
        world.spooled.heartbeat("gateway/1")
    with pytest.raises(StoreTooNew):
        world.restart()


def test_an_entry_that_cannot_be_written_holds_up_no_other(world: World) -> None:
    world.store.failure = AWAY
    world.write(3)
    world.chain.write(world.spooled, entry(actor="poison"))
    world.write(3)
    world.store.failure, world.store.poison = None, "poison"
    world.now += LONGEST_PAUSE_SECONDS
    world.write()
    assert world.store.kept == world.written


def test_checkpoints_come_behind_the_entries_that_they_are_of(world: World) -> None:
    world.store.failure = AWAY
    world.write(3)
    made = world.chain.checkpoint(NOON_NS)
    world.spooled.write_checkpoint(made)
    world.store.failure = None
    world.now += LONGEST_PAUSE_SECONDS
    world.spooled.heartbeat("gateway/1")
    assert world.store.checkpoints == [made]
    assert len(world.store.kept) == 3
