"""Floods: records with the same words are told some times, and then counted."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from tests.telemetry.test_logs import record

from ai_gateway.telemetry.logs import MAX_REPEATS, PAUSE_SECONDS, LinesHandler, RepeatFilter
from ai_gateway.telemetry.output import Output


def test_what_comes_by_thousands_is_told_some_times_and_then_counted() -> None:
    """Each kind by itself; the words make the kind, not what stands in them."""
    now = [0.0]
    sparing = RepeatFilter(lambda: now[0])
    passed = 0
    for number in range(2000):
        made = logging.LogRecord("ai_gateway.server", logging.WARNING, "", 1, "refused: %s", (number,), None)
        passed += sparing.filter(made)
    assert passed == MAX_REPEATS
    assert sparing.filter(record("of another kind"))
    assert list(sparing.due()) == []
    assert sparing.seconds() == PAUSE_SECONDS
    now[0] += PAUSE_SECONDS
    (told,) = sparing.due()
    assert told.getMessage() == f"{2000 - MAX_REPEATS} more like this within 60 s; the last: refused: 1999"
    assert (told.name, told.levelno) == ("ai_gateway.server", logging.WARNING)
    assert sparing.filter(made)
    assert sparing.seconds() is None


def test_any_number_of_kinds_is_remembered_in_bounded_space() -> None:
    sparing = RepeatFilter(lambda: 0.0)
    for number in range(5000):
        assert sparing.filter(record(f"kind {number}"))
    assert len(sparing._kinds) <= 1000


def test_what_was_held_back_is_told_when_it_is_time_without_another_record(tmp_path: Path) -> None:
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
