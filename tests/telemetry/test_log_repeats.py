"""Records with the same message are logged some times, and then counted."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from tests.telemetry.test_logs import record

from ai_gateway.telemetry.logs import MAX_REPEATS, PAUSE_SECONDS, LinesHandler, RepeatFilter
from ai_gateway.telemetry.output import Output


def test_a_repeated_message_is_logged_some_times_and_then_counted() -> None:
    """Each message is counted by its format, without its arguments."""
    now = [0.0]
    repeat_filter = RepeatFilter(lambda: now[0])
    passed = 0
    for number in range(2000):
        made = logging.LogRecord("ai_gateway.server", logging.WARNING, "", 1, "refused: %s", (number,), None)
        passed += repeat_filter.filter(made)
    assert passed == MAX_REPEATS
    assert repeat_filter.filter(record("of another kind"))
    assert list(repeat_filter.due()) == []
    assert repeat_filter.seconds() == PAUSE_SECONDS
    now[0] += PAUSE_SECONDS
    (summary,) = repeat_filter.due()
    assert summary.getMessage() == f"{2000 - MAX_REPEATS} more like this within 60 s; the last: refused: 1999"
    assert (summary.name, summary.levelno) == ("ai_gateway.server", logging.WARNING)
    assert repeat_filter.filter(made)
    assert repeat_filter.seconds() is None


def test_any_number_of_kinds_is_remembered_in_bounded_space() -> None:
    repeat_filter = RepeatFilter(lambda: 0.0)
    for number in range(5000):
        assert repeat_filter.filter(record(f"kind {number}"))
    assert len(repeat_filter._kinds) <= 1000


def test_the_count_of_suppressed_records_is_logged_without_another_record(tmp_path: Path) -> None:
    """A flood may be over."""
    now, timers = [0.0], list[tuple[float, Callable[[], None]]]()
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    out = Output(file, "standard error")
    out.later = lambda seconds, again: timers.append((seconds, again))
    handler = LinesHandler(out, RepeatFilter(lambda: now[0]))
    for _ in range(100):
        handler.handle(record("again"))
    ((seconds, tell),) = timers
    now[0] += seconds
    tell()
    os.close(file)
    lines = [json.loads(line)["message"] for line in (tmp_path / "log").read_bytes().splitlines()]
    assert lines == ["again"] * MAX_REPEATS + ["80 more like this within 60 s; the last: again"]
