"""Lines to a file descriptor: writing never waits for the reader, and dropped lines are counted."""

import json
import os
import pty
import resource
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.cost import assert_cheap

from ai_gateway.telemetry import output as module
from ai_gateway.telemetry.output import Output, Outputs

LINE = b'{"line": "%b"}\n' % (b"x" * 200)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Its two ends; only the test reads."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def drained(end: int) -> bytes:
    """What can be read without waiting."""
    os.set_blocking(end, False)
    content = b""
    with suppress(BlockingIOError):
        while part := os.read(end, 1 << 16):
            content += part
    return content


@pytest.mark.parametrize("blocks", [True, False])
def test_a_full_pipe_is_not_waited_for_and_its_lines_come_later(pipe: tuple[int, int], blocks: bool) -> None:
    """With any flags of the pipe: another process that shares it may have changed them."""
    reader, writer = pipe
    os.set_blocking(writer, blocks)
    out = Output(writer, "standard output")
    for number in range(2000):  # 400 KB into 64 KB
        out.write(b"%d %b" % (number, LINE))
    content = b""
    for _ in range(20):
        content += drained(reader)
        out.flush()
    assert [int(line.split()[0]) for line in content.splitlines()] == list(range(2000))
    assert (out.dropped, os.get_blocking(writer)) == (0, blocks)


def test_dropped_lines_are_counted_and_reported_once_there_is_room(pipe: tuple[int, int]) -> None:
    """In whole lines."""
    reader, writer = pipe
    out = Output(writer, "standard output", most_bytes=100_000)
    for _ in range(2000):
        out.write(LINE)
    assert out.dropped > 0
    content = b""
    for _ in range(20):
        content += drained(reader)
        out.flush()
    lines = [json.loads(line) for line in content.splitlines()]
    messages = [line["message"] for line in lines if line.get("log") == "output"]
    assert messages == [f"{out.dropped} lines of standard output are missing here: the reader was too slow"]
    assert all(len(line["time"]) == len("2026-01-31T12:00:00.123Z") for line in lines if line.get("log") == "output")
    assert len(lines) == 2000 - out.dropped + 1
    assert [sample.value for sample in out.samples()] == [out.dropped]


def test_a_reader_that_is_gone_costs_its_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    out = Output(writer, "standard output")
    os.close(reader)
    for _ in range(3):
        out.write(LINE)
    assert out.dropped == 3


def test_a_descriptor_that_is_closed_costs_its_lines_and_nothing_else() -> None:
    out = Output(987, "standard output")
    out.write(LINE)
    assert (out.dropped, out.is_terminal) == (1, False)


def test_a_full_disk_keeps_its_lines_until_there_is_room(tmp_path: Path) -> None:
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    out = Output(file, "standard output")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    out.write(LINE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(LINE) + 50, limits[1]))
    try:
        out.write(LINE)
        out.write(LINE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    out.flush()
    os.close(file)
    assert (tmp_path / "log").read_bytes() == LINE * 3
    assert out.dropped == 0


def test_a_terminal_that_stands_still_is_not_waited_for() -> None:
    """As after control-S."""
    leader, follower = pty.openpty()
    out = Output(follower, "standard output", most_bytes=1 << 20)
    assert out.is_terminal
    for _ in range(500):
        out.write(LINE)
    os.close(leader)
    os.close(follower)


def test_waiting_lines_are_retried_in_the_loop(pipe: tuple[int, int]) -> None:
    """One timer, however many lines."""
    reader, writer = pipe
    out = Output(writer, "standard output")
    timers: list[object] = []
    out.later = lambda seconds, again: timers.append(again)
    for _ in range(1000):
        out.write(LINE)
    assert timers == [out.flush]
    drained(reader)
    out.flush()
    assert len(timers) == 2


def test_the_last_lines_are_waited_for_a_moment(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    outputs = Outputs(Output(writer, "standard output"), Output(writer, "standard error"))
    for _ in range(500):
        outputs.out.write(LINE)
    read: list[bytes] = []

    def slowly() -> None:
        while sum(map(len, read)) < 500 * len(LINE):
            read.append(os.read(reader, 1 << 16))

    thread = threading.Thread(target=slowly)
    thread.start()
    outputs.close(10)
    thread.join()
    assert b"".join(read) == LINE * 500


def test_close_waits_no_longer_than_its_limit(pipe: tuple[int, int]) -> None:
    out = Output(pipe[1], "standard output")
    for _ in range(1000):
        out.write(LINE)
    out.close(0.01)


def test_lines_of_several_threads_do_not_mix(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    out = Output(writer, "standard error")

    def write() -> None:
        for _ in range(50):
            out.write(LINE)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drained(reader) == LINE * 200


def test_a_line_costs_little(tmp_path: Path) -> None:
    """In the event loop, for each batch of access lines."""
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    out = Output(file, "standard output")

    def write() -> None:
        for _ in range(200):
            out.write(LINE)

    assert_cheap(write, 200 * 0.0002)
    os.close(file)
    assert module.MOST_BYTES >= 1 << 20
