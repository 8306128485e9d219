"""Where checkpoints go beside the store."""

import json
import logging
import os
from pathlib import Path

import msgspec
import pytest
from tests.audit.writing import Chain, entry

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.checkpoint_file import second_place


def made(number: int = 1) -> Checkpoint:
    """One."""
    chain = Chain()
    chain.numbered([entry()] * number)
    return chain.checkpoint(1_700_000_000 * 10**9)


def told(path: Path) -> list[int]:
    """The numbers in a file."""
    return [json.loads(line)["audit_checkpoint"]["sequence"] for line in path.read_text().splitlines()]


def test_standard_output_gets_a_line_that_says_nothing_to_a_terminal() -> None:
    lines: list[bytes] = []
    put = second_place("stdout", lines.append)
    assert put is not None
    hostile = msgspec.structs.replace(made(), writer="\x1b[2J\x7f\x9b\u202e\u6a21/1")
    put(hostile)
    assert lines[0].endswith(b"}\n")
    assert lines[0].isascii()
    assert not any(sign in lines[0] for sign in (b"\x1b", b"\x7f"))
    assert msgspec.convert(json.loads(lines[0])["audit_checkpoint"], Checkpoint) == hostile
    assert second_place("none", lines.append) is None


def test_a_file_is_followed_by_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Moved away by a program that rotates logs it is made anew."""
    path = tmp_path / "checkpoints.jsonl"
    put = second_place(str(path), print)
    assert put is not None
    put(made(1))
    put(made(2))
    path.rename(tmp_path / "old")
    put(made(3))
    assert (told(tmp_path / "old"), told(path)) == ([1, 2], [3])
    assert path.stat().st_mode & 0o777 == 0o600
    assert caplog.text == ""


@pytest.mark.parametrize("how", ["deleted", "cut"])
def test_what_was_taken_from_it_is_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str) -> None:
    caplog.set_level(logging.ERROR)
    path = tmp_path / "checkpoints.jsonl"
    put = second_place(str(path), print)
    assert put is not None
    put(made(1))
    if how == "deleted":
        path.unlink()
    else:
        os.truncate(path, 0)
    put(made(2))
    assert told(path) == [2]
    assert f"were {how}" in caplog.text


def test_a_place_where_nobody_reads_is_waited_for_by_nobody(tmp_path: Path) -> None:
    """The thread of the audit would stand with it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    put = second_place(str(path), print)
    assert put is not None
    with pytest.raises(OSError, match="No such device"):
        put(made())
