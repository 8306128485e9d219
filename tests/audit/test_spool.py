"""The spool gives back what was put in, in order, whatever becomes of its process."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.audit.writing import Chain, entry

from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.spool import Spool, SpoolFull
from ai_gateway.audit.store import StoreUnavailable

LARGE = 1 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An empty one with small segments."""
    made = opened(tmp_path)
    yield made
    made.close()


def opened(folder: Path, max_bytes: int = LARGE) -> Spool:
    made = Spool(folder / "spool", max_bytes, segment_bytes=2000)
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


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "spool").glob("*.spool"))


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


def test_segments_that_are_taken_are_gone(spool: Spool, tmp_path: Path) -> None:
    put(spool, 60, Chain())
    assert len(segments(tmp_path)) > 5
    taken(spool)
    assert segments(tmp_path) == []


def test_another_process_finds_what_was_not_taken(spool: Spool, tmp_path: Path) -> None:
    """And perhaps a little of what was: no more than the rest of a segment."""
    written = put(spool, 60, Chain())
    for _ in range(10):
        spool.take(spool.peek(3))
    spool.close()
    found = taken(opened(tmp_path))
    assert found == written[-len(found) :]
    assert 30 <= len(found) <= 40


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


@pytest.mark.parametrize("cut", range(1, 400, 37))
def test_a_record_that_was_written_by_half_is_left_out(spool: Spool, tmp_path: Path, cut: int) -> None:
    written = put(spool, 3, Chain())
    spool.close()
    (file,) = segments(tmp_path)
    os.truncate(file, file.stat().st_size - cut)
    again, chain = opened(tmp_path), Chain("gateway/2")
    written = [*written[:2], *put(again, 2, chain)]
    assert taken(again) == written
    again.close()


def test_a_damaged_record_harms_no_other_segment(spool: Spool, tmp_path: Path) -> None:
    written = put(spool, 60, Chain())
    spool.close()
    file = segments(tmp_path)[2]
    content = bytearray(file.read_bytes())
    content[700] ^= 1
    file.write_bytes(content)
    found = taken(opened(tmp_path))
    assert found[:3] == written[:3]
    assert found[-1] == written[-1]
    assert 0 < len(written) - len(found) < 10


def test_any_bytes_at_all_are_survived(tmp_path: Path) -> None:
    rng = random.Random(3)
    (tmp_path / "spool").mkdir()
    for number in range(50):
        (tmp_path / "spool" / f"{number:012}.spool").write_bytes(rng.randbytes(rng.randrange(300)))
    spool = opened(tmp_path)
    assert taken(spool) == []
    assert put(spool, 3, Chain()) == taken(spool)
    spool.close()


def test_an_entry_that_a_newer_gateway_put_in_is_left_out_and_no_other(spool: Spool) -> None:
    chain = Chain()
    written = put(spool, 1, chain)
    spool.append(*chain.numbered([entry(outcome="a new word")]))
    written += put(spool, 2, chain)
    assert taken(spool) == written


def test_a_spool_that_cannot_be_read_says_so_and_keeps_all(spool: Spool, tmp_path: Path) -> None:
    written = put(spool, 3, Chain())
    (file,) = segments(tmp_path)
    file.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable, match="spool"):
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
