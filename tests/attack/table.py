"""What was tried against the gateway and what held: a table at the end of a run."""

from collections import defaultdict
from dataclasses import dataclass, field

import pytest

KINDS = ("files", "bodies", "numbers", "audit", "endpoints", "http", "clients", "logs")


@dataclass
class Tried:
    """One situation. A test counts what it sent and adds what it measured; it has held when the test passes."""

    kind: str
    what: str
    times: int = 1  # how often it was tried
    figures: list[str] = field(default_factory=list)
    has_held: bool = False

    def figure(self, text: str) -> None:
        """What was measured, with its unit, such as `0.8 ms of CPU at once`."""
        self.figures.append(text)


KEY = pytest.StashKey[Tried]()


class Table:
    """Every situation of a run, in the order in which they were tried."""

    def __init__(self) -> None:
        self._rows: list[Tried] = []

    def begin(self, tried: Tried) -> Tried:
        """A row, not held yet."""
        self._rows.append(tried)
        return tried

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, if anything was tried."""
        if not self._rows:
            return
        by_kind: defaultdict[str, list[Tried]] = defaultdict(list)
        for row in self._rows:
            by_kind[row.kind].append(row)
        terminalreporter.section("attacks: tried and held")
        for kind in KINDS:
            rows = by_kind[kind]
            if rows:
                held = sum(row.has_held for row in rows)
                terminalreporter.write_line(f"{kind}: {held} of {len(rows)} situations held")
            for row in rows:
                mark = "held" if row.has_held else "BROKE"
                figures = "; ".join(row.figures)
                terminalreporter.write_line(f"  {mark:5} {row.times:>7} x  {row.what}{figures and f' ({figures})'}")
        held = sum(row.has_held for row in self._rows)
        tries = sum(row.times for row in self._rows)
        terminalreporter.write_line(f"{held} of {len(self._rows)} situations held, {tries} tries")
