"""The spool gives back what was put in, in order, whatever becomes of its process."""

import random
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.audit.writing import Chain, entry

from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.spool import FILE, Spool, SpoolFull
from ai_gateway.audit.store import StoreDamaged, StoreLost, StoreUnavailable

LARGE = 1 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An empty one."""
    made = opened(tmp_path)
    yield made
    made.close()


def opened(folder: Path, max_bytes: int = LARGE) -> Spool:
    made = Spool(folder / "spool", max_bytes)
    made.open()
    return made


def put(spool: Spool, count: int, chain: Chain) -> list[AuditEntry]:
    """Puts that many in, some at a time."""
    written: list[AuditEntry] = []
    while count:
        entries, hashes = chain.numbered([entry() for _ in range(min(3, count))])
        spool.append(entries, hashes)
        written += entries
        count -= len(entries)
    return written


def taken(spool: Spool, most: int = 4) -> list[AuditEntry]:
    """All that is in it."""
    found: list[AuditEntry] = []
    while (next_ones := spool.peek(most)).entries:
        found += next_ones.entries
        spool.take(next_ones)
    return found


def test_entries_come_back_in_order_with_their_hashes(spool: Spool) -> None:
    entries, hashes = Chain().numbered([entry(actor="\u00e9\x00\n"), entry(), entry()])
    spool.append(entries, hashes)
    found = spool.peek(10)
    assert (found.entries, found.hashes) == (entries, hashes)
    assert spool.peek(10) == found  # until it is taken
    spool.take(found)
    assert spool.is_empty
    assert spool.bytes_held == 0


def test_what_is_put_in_meanwhile_comes_behind(spool: Spool) -> None:
    chain = Chain()
    written = put(spool, 30, chain)
    first = spool.peek(2)
    spool.take(first)
    written += put(spool, 30, chain)
    assert [*first.entries, *taken(spool)] == written


def test_large_entries_come_a_few_at_a_time(tmp_path: Path) -> None:
    """A gateway must not have all of the spool in memory, however many entries are asked for."""
    spool = opened(tmp_path, max_bytes=64 << 20)
    entries, hashes = Chain().numbered([entry(request_content="x" * LARGE) for _ in range(12)])
    spool.append(entries, hashes)
    assert len(spool.peek(500).entries) == 4
    assert taken(spool, most=500) == entries
    spool.close()


def test_what_is_taken_takes_no_room_on_the_disk(spool: Spool, tmp_path: Path) -> None:
    put(spool, 60, Chain())
    file = tmp_path / "spool" / FILE
    assert file.stat().st_size > 30_000
    taken(spool)
    assert file.stat().st_size <= 4 * 4096


def test_another_process_finds_what_was_not_taken(spool: Spool, tmp_path: Path) -> None:
    written = put(spool, 60, Chain())
    for _ in range(10):
        spool.take(spool.peek(3))
    held = spool.bytes_held
    spool.close()
    again = opened(tmp_path)
    assert again.bytes_held == held
    assert taken(again) == written[30:]
    again.close()


def test_only_one_process_has_it(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="another gateway"):
        opened(tmp_path)
    spool.close()
    opened(tmp_path).close()


def test_it_takes_no_more_than_it_may_and_all_or_none(tmp_path: Path) -> None:
    spool, chain = opened(tmp_path, max_bytes=3000), Chain()
    with pytest.raises(SpoolFull):
        spool.append(*chain.numbered([entry() for _ in range(20)]))
    assert spool.is_empty
    with pytest.raises(SpoolFull):
        put(spool, 100, chain)
    held = spool.bytes_held
    assert 2000 < held <= 3000
    spool.append(*chain.numbered([entry()]), may_exceed=True)
    assert held < spool.bytes_held
    taken(spool)
    put(spool, 3, chain)
    spool.close()


def test_it_takes_little_more_of_the_disk_than_it_may(tmp_path: Path) -> None:
    """Also where each record leaves nearly half of its page empty."""
    spool, chain = opened(tmp_path, max_bytes=8 << 20), Chain()

    def fill() -> None:
        for _ in range(100):
            spool.append(*chain.numbered([entry(request_content="x" * 1700) for _ in range(100)]))

    with pytest.raises(SpoolFull):
        fill()
    assert (tmp_path / "spool" / FILE).stat().st_size < 12 << 20
    spool.close()


def test_a_damaged_file_is_missed_and_set_aside(spool: Spool, tmp_path: Path) -> None:
    """What waits in it was counted as kept, so it is a loss; the file stays for whoever can read it."""
    put(spool, 60, Chain())
    spool.close()
    file = tmp_path / "spool" / FILE
    content = bytearray(file.read_bytes())
    content[8192:12288] = random.Random(3).randbytes(4096)
    file.write_bytes(content)
    again = Spool(tmp_path / "spool", LARGE)
    for _ in range(2):
        with pytest.raises(StoreDamaged):
            again.open()
    again.begin_anew()
    again.open()
    (aside,) = (tmp_path / "spool").glob(f"{FILE}.damaged-*Z")
    assert aside.read_bytes()[4096:] == content[4096:]  # behind SQLite's own head
    assert put(again, 3, Chain("gateway/2")) == taken(again)
    again.close()


@pytest.mark.parametrize("seed", range(10))
def test_any_bytes_at_all_are_survived(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / FILE).write_bytes(rng.randbytes(rng.randrange(1, 9000)))
    spool = Spool(tmp_path / "spool", LARGE)
    with pytest.raises(StoreDamaged):
        spool.open()
    spool.begin_anew()
    spool.open()
    assert put(spool, 3, Chain()) == taken(spool)
    spool.close()


def test_a_full_disk_does_not_keep_entries_from_being_taken(spool: Spool) -> None:
    """They may come again after a restart, and do not come again before it."""
    written = put(spool, 6, Chain())
    assert spool._connection is not None
    spool._connection.execute("PRAGMA query_only = 1")
    spool.take(spool.peek(4))
    assert spool.peek(10).entries == written[4:]
    spool._connection.execute("PRAGMA query_only = 0")
    assert taken(spool) == written[4:]
    assert spool.is_empty


def test_a_disk_that_fills_up_is_no_loss(tmp_path: Path) -> None:
    """What was half written is taken back, and all that was there before goes on to wait."""
    spool, chain = opened(tmp_path, max_bytes=64 << 20), Chain()
    written = put(spool, 3, chain)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(StoreUnavailable, match="disk"):
            spool.append(*chain.numbered([entry(request_content="x" * 1700) for _ in range(2000)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    spool.check()
    assert taken(spool) == written
    spool.close()


def test_an_entry_that_a_newer_gateway_put_in_is_left_out_and_no_other(spool: Spool) -> None:
    chain = Chain()
    written = put(spool, 1, chain)
    spool.append(*chain.numbered([entry(outcome="a new word")]))
    written += put(spool, 2, chain)
    assert taken(spool) == written


def test_an_entry_whose_bytes_were_changed_is_left_out_and_no_other(spool: Spool, tmp_path: Path) -> None:
    """Else the entries behind it would wait for ever."""
    written = put(spool, 3, Chain())
    spool.close()
    with closing(sqlite3.connect(tmp_path / "spool" / FILE)) as connection, connection:
        (content,) = connection.execute("SELECT entry FROM entries WHERE place = 2").fetchone()
        changed = content.replace(b"anonymous", b"anonym\xffus")
        connection.execute("UPDATE entries SET entry = ? WHERE place = 2", (changed,))
    again = opened(tmp_path)
    assert taken(again) == [written[0], written[2]]
    assert again.is_empty
    again.close()


def test_a_spool_that_is_moved_says_so_and_keeps_all(spool: Spool, tmp_path: Path) -> None:
    written = put(spool, 3, Chain())
    file = tmp_path / "spool" / FILE
    file.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreLost, match="spool"):
        spool.peek(3)
    (tmp_path / "elsewhere").rename(file)
    assert taken(spool) == written


_WRITING = """
import sys
from pathlib import Path
from tests.audit.writing import Chain, entry
from tests.audit.test_spool import opened, put
spool, chain = opened(Path(sys.argv[1])), Chain()
while True:
    print(put(spool, 2, chain)[-1].sequence, flush=True)
"""


def test_what_it_has_taken_is_there_after_its_process_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
        told += [int(line) for line in process.stdout.read().split()]
    spool = opened(tmp_path)
    sequences = [one.sequence for one in taken(spool)]
    assert sequences == list(range(1, len(sequences) + 1))
    assert sequences[-1] >= told[-1]
    spool.close()


def test_a_folder_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(StoreUnavailable, match="spool"):
        opened(tmp_path)
