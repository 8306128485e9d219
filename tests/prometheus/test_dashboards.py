"""The dashboards are files that Grafana takes as they are. What their queries find is asked in test_scraped."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tools.chart.files import CHART

from ai_gateway.telemetry import names

FILES = sorted((CHART / "files/dashboards").glob("*.json"))
HAS_NO_TRACES = {names.LOOP_LAG, names.LOAD_SECONDS}  # their values come from no request


def read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each one."""
    return read(request.param)


def shown(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels without the headings between them."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_no_two_dashboards_are_taken_for_the_same() -> None:
    """Grafana overwrites one that has another's uid."""
    for key in ("uid", "title"):
        assert len({read(file)[key] for file in FILES}) == len(FILES) == 3
    assert all(len(read(file)["uid"]) <= 40 for file in FILES)


def test_grafana_knows_its_form(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] == 39
    assert "id" not in dashboard  # Grafana's own number; one that is given clashes


def test_a_reader_chooses_where_data_comes_from(dashboard: dict[str, Any]) -> None:
    first, second = (variable["name"] for variable in dashboard["templating"]["list"][:2])
    assert (first, second) == ("datasource", "namespace")
    for panel in shown(dashboard):
        for place in (panel, *panel["targets"]):
            assert place["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def test_every_query_keeps_to_what_was_chosen(dashboard: dict[str, Any]) -> None:
    """It names the namespace in each selector, and no variable that the dashboard does not have."""
    known = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval", "__range"}
    for panel in shown(dashboard):
        for target in panel["targets"]:
            selectors = re.findall(r"\{([^}]*)\}", target["expr"])
            assert all('namespace="$namespace"' in selector for selector in selectors), panel["title"]
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= known, panel["title"]


def test_every_panel_says_its_unit_and_tells_its_queries_apart(dashboard: dict[str, Any]) -> None:
    for panel in shown(dashboard):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]


def test_every_histogram_of_requests_leads_to_traces(dashboard: dict[str, Any]) -> None:
    for panel in shown(dashboard):
        for target in panel["targets"]:
            asked = set(re.findall(r"(\w+)_bucket\b", target["expr"]))
            assert target.get("exemplar", False) == bool(asked - HAS_NO_TRACES), panel["title"]
