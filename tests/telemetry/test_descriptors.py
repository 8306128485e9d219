"""A shortage of file descriptors is logged once, and so is its end."""

import logging
import resource

import pytest

from ai_gateway.telemetry.descriptors import CALM_SECONDS, Descriptors, has_one


def test_a_shortage_and_its_end_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    """Not with each check: for as long as it lasts, and a while longer."""
    caplog.set_level(logging.WARNING)
    now, there = [0.0], [True]
    looking = Descriptors(lambda: now[0], lambda: there[0])
    for has, seconds in ((True, 1), (False, 1), (False, 1), (True, 1), (False, 1), (True, 1), (True, CALM_SECONDS)):
        there[0] = has
        now[0] += seconds
        looking.check()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert [sample.value for sample in looking.samples()] == [False]


def test_the_limit_of_the_process_is_noticed() -> None:
    assert has_one()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        assert not has_one()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
