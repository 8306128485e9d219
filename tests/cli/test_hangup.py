"""What SIGHUP means to the process; none is lost while it starts."""

import signal
from collections.abc import Iterator

import pytest

from ai_gateway.cli.hangup import Hangup


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_an_early_reload_happens_once() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does: a terminal is of no account
    heard = Hangup(has_terminal=True)
    assert heard.is_reload
    read: list[str] = []
    heard.watch()
    heard.follow(lambda: read.append("none came"))
    signal.raise_signal(signal.SIGHUP)
    heard.follow(lambda: read.append("early"))
    heard.follow(lambda: read.append("again"))
    assert read == ["early"]


@pytest.mark.parametrize("has_terminal", [True, False])
def test_with_a_terminal_sighup_is_not_a_reload(has_terminal: bool) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    heard = Hangup(has_terminal)
    heard.watch()
    assert heard.is_reload is not has_terminal
    assert (signal.getsignal(signal.SIGHUP) is signal.SIG_DFL) is has_terminal
