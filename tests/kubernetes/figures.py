"""Figures of a run, for its reader."""

import pytest


def tell(request: pytest.FixtureRequest, what: str) -> None:
    """Writes a line into the run's report, whatever is captured."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n    {request.node.name}: {what}")
