"""What holds for every run: where commands keep their state, what Hypothesis may not measure, and, told at the end,
the seconds that each group of tests took."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_TOLD_FROM_SECONDS = 1.0


class Groups:
    """Seconds by the folder below `tests/`, set-up and tear-down included."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each phase of each test."""
        parts = Path(report.location[0]).parts
        group = parts[1] if len(parts) > 2 else parts[-1]
        self._seconds[group] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """A line at the end, the longest first."""
        told = [
            f"{group} {seconds:.0f} s" for group, seconds in sorted(self._seconds.items(), key=lambda item: -item[1])
        ]
        if sum(self._seconds.values()) >= _TOLD_FROM_SECONDS:
            terminalreporter.write_line(f"time by group: {', '.join(told)}")


@pytest.fixture(autouse=True, scope="session")
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands that tests start keep their audit here, and not in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def recording_failures() -> Iterator[list[logging.LogRecord]]:
    """What a reader of finished exchanges failed with. The gateway logs it and goes on, so a test would see nothing.

    A test that expects such failures takes them out of the list.
    """
    found: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.module == "exchange_middleware":
                found.append(record)

    logger, kept = logging.getLogger("ai_gateway.telemetry"), Kept(logging.ERROR)
    logger.addHandler(kept)
    yield found
    logger.removeHandler(kept)
    assert [record.exc_info and record.exc_info[1] for record in found] == []


def pytest_configure(config: pytest.Config) -> None:
    """Registers them. Hypothesis measures its examples by the wall clock, which tells of what else the machine does."""
    config.pluginmanager.register(Groups(), "time by group")
    settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("tests")
