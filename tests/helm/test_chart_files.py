"""What is made from something else is up to date, and what is written twice says the same."""

import json
import re
from pathlib import Path

import pytest
import yaml
from tools.chart import readme, values_schema
from tools.chart.files import CHART, CI_FILES, ROOT, at, defaults, documented_values, metadata

from ai_gateway.cli.serve import CLUSTER_DRAIN_SECONDS
from ai_gateway.config.types import Config
from ai_gateway.telemetry.meanings import METRICS
from ai_gateway.version import __version__

TEMPLATES = [file for file in (CHART / "templates").rglob("*") if file.is_file()]
FILES = [*TEMPLATES, *(CHART / "files").rglob("*.yaml")]
GENERATE = "run: python -m tools.chart"


def test_the_table_of_values_is_the_one_that_values_yaml_makes() -> None:
    assert readme.README.read_text() == readme.as_text(), GENERATE


def test_the_schema_is_the_one_that_the_values_and_the_config_make() -> None:
    assert (CHART / "values.schema.json").read_text() == values_schema.as_text(), GENERATE


def test_the_chart_is_of_the_version_that_the_program_says() -> None:
    assert metadata()["appVersion"] == __version__
    assert metadata()["version"] == __version__


def test_the_drain_is_the_programs_own_default() -> None:
    drain = defaults()["drain"]
    assert drain["delaySeconds"] == CLUSTER_DRAIN_SECONDS
    assert drain["graceSeconds"] == Config().drain.grace


def _leaves(values: object, path: str = "") -> list[str]:
    if not isinstance(values, dict) or not values:
        return [path]
    return [leaf for name, value in values.items() for leaf in _leaves(value, f"{path}.{name}".lstrip("."))]


def test_every_value_is_documented_alone_or_as_part_of_one() -> None:
    documented = {value.path for value in documented_values()}
    parents = {leaf: {leaf.rsplit(".", n)[0] for n in range(leaf.count(".") + 1)} for leaf in _leaves(defaults())}
    assert [leaf for leaf, paths in parents.items() if not documented & paths] == []


def test_every_value_is_read_by_a_template() -> None:
    """By its name, or as a part of a section that is written as a whole."""
    text = "\n".join(file.read_text() for file in TEMPLATES)
    sections = set(Config.__struct_fields__)
    for value in documented_values():
        room, _, name = value.path.rpartition(".")
        is_written_whole = room and re.search(rf"toYaml [^|}}]*\.{room.rpartition('.')[2]}\b", text)
        is_section = value.path.startswith("config.") and name in sections and f'"{name}"' in text
        assert is_section or is_written_whole or re.search(rf"\.{name}\b", text), value.path


def test_every_path_that_a_template_reads_is_a_value() -> None:
    values = defaults()
    for file in TEMPLATES:
        for path in re.findall(r"\.Values\.([\w.]+)", file.read_text()):
            at(values, path)


@pytest.mark.parametrize("file", CI_FILES, ids=lambda file: file.name)
def test_a_ci_file_sets_only_values_that_are_there(file: Path) -> None:
    given = yaml.safe_load(file.read_text()) or {}
    assert given.keys() <= defaults().keys()


def test_alerts_and_dashboards_ask_for_metrics_that_are_there() -> None:
    """A histogram by what Prometheus makes of it."""
    kinds = ("", "_bucket", "_sum", "_count")
    histograms = {name for name, metric in METRICS.items() if metric.kind == "histogram"}
    there = {*METRICS, *(name + kind for name in histograms for kind in kinds)}
    files = [*(CHART / "files").glob("*.yaml"), *(CHART / "files" / "dashboards").iterdir()]
    assert {file.name for file in files} == {"alerts.yaml", "fleet.json", "models.json", "callers.json"}
    for file in files:
        asked = set(re.findall(r"\b(?:ai_gateway|gen_ai_server|gen_ai_client|http_server)_\w+", file.read_text()))
        assert asked - there == set(), file.name


def test_every_alert_of_the_page_has_its_rule() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    told = re.findall(r"^\| `(AIGateway\w+)` \|.*\| (\w+) \| \[.+\]\([^)]+\) \|$", page, re.MULTILINE)
    rules = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert sorted(told) == sorted((rule["alert"], rule["labels"]["severity"]) for rule in rules)


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    rules = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    for rule in rules:
        assert rule["for"], rule["alert"]
        assert len(rule["annotations"]["summary"]) > 15
        assert len(rule["annotations"]["description"]) > 40


def test_panels_have_numbers_places_and_words_of_their_own() -> None:
    """None lies over another."""
    for file in (CHART / "files" / "dashboards").glob("*.json"):
        panels = json.loads(file.read_text())["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [cell for panel in panels for cell in _cells(panel["gridPos"])]
        assert len(set(cells)) == len(cells), file.name
        assert all(panel["title"] and (panel["type"] == "row" or panel["description"]) for panel in panels)


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    assert place["x"] + place["w"] <= 24
    return [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]


def test_every_template_has_the_charts_own_prefix() -> None:
    """Under one parent all charts share the names of templates, and the last one of a name wins."""
    names = [name for file in TEMPLATES for name in re.findall(r'define "([^"]+)"', file.read_text())]
    assert names
    assert [name for name in names if not name.startswith(f"{metadata()['name']}.")] == []


def test_all_templates_share_one_config() -> None:
    """Read anew by each template, 2,000 models took ten seconds."""
    costly = re.compile(r'include "ai-gateway-ollama\.(parsedConfig|sections|contentSections|chartConfig|config)"')
    assert [file.name for file in TEMPLATES if costly.search(file.read_text())] == []


def test_no_file_of_the_chart_asks_for_an_image_called_latest() -> None:
    assert not [file for file in FILES if re.search(r"image:.*:latest", file.read_text())]
