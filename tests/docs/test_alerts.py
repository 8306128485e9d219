"""The chart's alerts send their reader to pages and panels that exist."""

import re

from tests.docs.program import ROOT
from tests.docs.test_pages import _anchors

ALERTS = ROOT / "helm" / "ai-gateway-ollama" / "files" / "alerts.yaml"


def test_the_file_of_alerts_names_pages_and_headings_that_exist() -> None:
    named = re.findall(r"\b(docs/[\w-]+\.md)(?:#([\w-]+))?", ALERTS.read_text())
    assert named
    for page, anchor in named:
        assert not anchor or anchor in _anchors(ROOT / page), f"{page}#{anchor}"


def test_an_alert_names_panels_that_a_dashboard_has() -> None:
    boards = "".join(file.read_text() for file in (ALERTS.parent / "dashboards").glob("*.json"))
    named = re.findall(r'"([A-Z][a-z ]+)"', ALERTS.read_text())
    assert named
    assert [panel for panel in named if f'"title": "{panel}"' not in boards] == []
