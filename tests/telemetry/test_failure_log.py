"""What fails again and again stands in the log once of each kind."""

import logging
from pathlib import Path
from typing import Any

import pytest

import ai_gateway
from ai_gateway.failure_log import MOST_KINDS, FailureLog

log = logging.getLogger("ai_gateway.test")


def failing(error: Exception) -> Exception:
    """The error, as raised by this line."""
    try:
        raise error
    except Exception as raised:
        return raised


def elsewhere(error: Exception) -> Exception:
    """The error, as raised by another line."""
    try:
        raise error
    except Exception as raised:
        return raised


def test_a_failure_is_logged_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Though its words differ each time, as with a number in them."""
    failures = FailureLog(log)
    for number in range(3):
        failures.note(failing(ValueError(f"odd: {number}")), "look %d failed", number)
    assert caplog.messages == ["look 0 failed (logged once)"]
    assert "ValueError: odd: 0" in caplog.text


def test_each_kind_is_logged_though_they_take_turns(caplog: pytest.LogCaptureFixture) -> None:
    """Another type is another kind, and so is the same one from another place."""
    failures = FailureLog(log)
    for _ in range(3):
        for failure in (failing(ValueError("a")), failing(KeyError("a")), elsewhere(ValueError("a"))):
            failures.note(failure, "it failed")
    assert len(caplog.messages) == 3


def test_of_a_group_its_first_part_is_the_kind() -> None:
    """Loops that run side by side fail as a group, which is always raised by the same line."""
    failures = FailureLog(log)
    groups = [ExceptionGroup("both", [failing(ValueError("a"))]) for _ in range(2)]
    assert [failures.is_new(group) for group in groups] == [True, False]
    assert failures.is_new(ExceptionGroup("both", [failing(KeyError("a"))]))


def test_one_line_of_a_library_that_two_lines_of_the_gateway_reach_makes_two_kinds() -> None:
    """They are two failures: what is wrong stands in the gateway."""
    names: dict[str, Any] = {}
    source = "def one(library):\n    library()\n\ndef other(library):\n    library()\n"
    exec(compile(source, str(Path(ai_gateway.__file__).with_name("made.py")), "exec"), names)

    def library() -> None:
        raise ValueError("a")

    def failure(place: str) -> Exception:
        try:
            names[place](library)
        except ValueError as raised:
            return raised
        raise AssertionError("it does not fail")

    failures = FailureLog(log)
    assert [failures.is_new(failure(place)) for place in ("one", "other", "one")] == [True, True, False]


def test_what_is_remembered_is_bounded() -> None:
    """Types can be made while a program runs."""
    failures = FailureLog(log)
    kinds = [type(f"Odd{number}", (Exception,), {}) for number in range(MOST_KINDS + 1)]
    assert sum(failures.is_new(failing(kind())) for kind in kinds) == MOST_KINDS
