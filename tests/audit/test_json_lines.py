"""Lines of JSON in a file: whole ones, and each entry with its hash."""

import json
import os
import resource
from pathlib import Path

import pytest
from tests.audit.writing import NOON_NS, Chain, entry

from ai_gateway.audit.chain import FIRST, link
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.json_lines import JsonLinesStore
from ai_gateway.audit.store import StoreLost, StoreUnavailable


def lines(path: Path) -> list[dict[str, object]]:
    """What stands there; each line must be whole."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def opened(path: Path) -> JsonLinesStore:
    store = JsonLinesStore(path, is_synced=True)
    store.open()
    return store


def test_a_line_is_an_entry_and_its_hash(tmp_path: Path) -> None:
    """From which anybody with the key can verify the chain."""
    path, chain = tmp_path / "new" / "audit.jsonl", Chain()
    store = opened(path)
    (made,) = chain.write(store, entry(actor="\u00e9\n\x00"))
    made_checkpoint = chain.checkpoint(NOON_NS)
    store.write_checkpoint(made_checkpoint)
    store.close()
    first, second = lines(path)
    assert AuditEntry(**first["entry"]) == made  # type: ignore[arg-type]
    assert first["hash"] == link(b"a key for tests, and for them alone", FIRST, made).hex()
    assert second["checkpoint"]["seal"] == made_checkpoint.seal  # type: ignore[index]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    """As programs do that rotate logs."""
    path, chain = tmp_path / "audit.jsonl", Chain()
    store = opened(path)
    chain.write(store, entry(), entry())
    path.rename(tmp_path / "old")
    chain.write(store, entry())
    path.rename(tmp_path / "older")
    store.check()
    (tmp_path / "older").unlink()  # as soon as it is compressed
    chain.write(store, entry(), entry(), entry())
    store.close()
    assert (len(lines(tmp_path / "old")), len(lines(path))) == (2, 3)


def test_a_file_that_was_deleted_is_missed_at_a_look_and_with_the_next_entry(tmp_path: Path) -> None:
    """Whoever promised no more than best effort begins a new one."""
    path, chain = tmp_path / "audit.jsonl", Chain()
    store = opened(path)
    chain.write(store, entry())
    path.unlink()
    with pytest.raises(StoreLost, match="deleted"):
        store.check()
    with pytest.raises(StoreLost, match="deleted"):
        chain.write(store, entry())
    with pytest.raises(StoreLost, match="deleted"):
        store.open()
    store.begin_anew()
    store.open()
    chain.write(store, entry())
    store.close()
    assert len(lines(path)) == 1


def test_a_file_that_was_cut_is_written_on_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As logrotate's copytruncate does; the copy has the rest of the chain."""
    path, chain = tmp_path / "audit.jsonl", Chain()
    store = opened(path)
    chain.write(store, entry(), entry())
    os.truncate(path, 0)
    chain.write(store, entry())
    store.close()
    assert len(lines(path)) == 1
    assert "was cut while it was used" in caplog.text


def test_a_full_pipe_gets_no_half_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reader is slow, and the pipe is set not to wait: what was begun is ended before the next one."""
    monkeypatch.setattr("ai_gateway.audit.json_lines.WAIT_SECONDS", 0.01)
    path, chain = tmp_path / "pipe", Chain()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    store = opened(path)
    try:
        with pytest.raises(StoreUnavailable, match="takes nothing more"):
            chain.write(store, *[entry(actor="x" * 4000) for _ in range(50)])
        read = os.read(reader, 1 << 20)
        chain.write(store, entry(actor="later"))
        read += os.read(reader, 1 << 20)
    finally:
        os.close(reader)
        store.close()
    assert json.loads(read.splitlines()[-1])["entry"]["actor"] == "later"


def test_half_a_line_of_an_earlier_process_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"entry": {"wri')
    store = opened(path)
    Chain().write(store, entry())
    store.close()
    assert len(path.read_bytes().splitlines()) == 2
    json.loads(path.read_bytes().splitlines()[1])


def test_what_does_not_fit_is_not_written_by_half(tmp_path: Path) -> None:
    path, chain = tmp_path / "audit.jsonl", Chain()
    store = opened(path)
    chain.write(store, entry())
    size = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
    try:
        with pytest.raises(StoreUnavailable):
            chain.write(store, entry(), entry())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.stat().st_size == size
    chain.write(store, entry(), entry())
    store.close()
    assert [line["entry"]["sequence"] for line in lines(path)] == [1, 2, 3]  # type: ignore[index]


def test_a_pipe_is_written_to_as_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    store = JsonLinesStore(path, is_synced=False)
    try:
        store.open()
        Chain().write(store, entry())
        assert os.read(reader, 10) == b'{"entry":{'
    finally:
        os.close(reader)
        store.close()
